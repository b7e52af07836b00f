from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.trainer import tiny_vlm
from unit.trainer.pods import Gang
from unit.trainer.tiny_model import save_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    return folder


@pytest.fixture(scope="session")
def vlms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision-language model of each family, in a folder of its name."""
    folder = tmp_path_factory.mktemp("vlms")
    for family in tiny_vlm.FAMILIES:
        tiny_vlm.save_vlm(folder / family, family)
    return folder


@pytest.fixture
def gang(tmp_path: Path, tiny_model: Path) -> Iterator[Gang]:
    """Pods that are gone, whatever happens, when the test is over."""
    gang = Gang(tmp_path, tiny_model)
    yield gang
    for pod in gang.pods:
        pod.kill_all()
