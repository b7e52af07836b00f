"""The demo's set-up, once for all tests of the folder: operator, volumes, model and data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dev.demo.set_up import set_up
from dev.demo.volumes import NAMESPACE, in_loader, remove_loader

from support.dev_cluster import DevCluster, Team


@pytest.fixture(scope="session")
def team() -> Iterator[Team]:
    cluster = set_up()
    team = Team(DevCluster(), NAMESPACE)
    team.kubectl("delete", "qlorajobs", "--all")
    in_loader(cluster, "sh", "-c", "rm -rf /volumes/results/*")
    yield team
    remove_loader(cluster)
