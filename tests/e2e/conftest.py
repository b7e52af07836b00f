"""The demo's set-up, once for all tests of the folder: operator, volumes, model and data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dev.demo.cluster import find_cluster, install_operator
from dev.demo.prepare import MODEL, TRAINING_DATA, prepare
from dev.demo.volumes import NAMESPACE, create_volumes, in_loader, load, remove_loader, start_loader

from support.dev_cluster import DevCluster, Team


@pytest.fixture(scope="session")
def team() -> Iterator[Team]:
    cluster = find_cluster()
    prepare()
    install_operator(cluster)
    create_volumes(cluster)
    start_loader(cluster)
    load(cluster, MODEL, "models")
    load(cluster, TRAINING_DATA, "data")
    team = Team(DevCluster(), NAMESPACE)
    team.kubectl("delete", "qlorajobs", "--all")
    in_loader(cluster, "sh", "-c", "rm -rf /volumes/results/*")
    yield team
    remove_loader(cluster)
