"""The order of what a rank does."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from qlora_trainer.rank import run as run_module
from qlora_trainer.rank.data import wait_for_dataset
from qlora_trainer.rank.stop import StopSignal
from unit.trainer.pods import Gang


def test_trap_slow_preprocessing_meets_no_timeout_of_the_ranks(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10: ranks that wait in a collective while the dataset is tokenised give up after ten minutes."""
    (pod,) = Gang(tmp_path, tiny_model).new_pods()
    paths = PodPaths(pod.root)
    fetch(pod.job, paths)
    monkeypatch.setenv("LOCAL_RANK", "0")

    def meet(**_: Any) -> None:
        assert paths.tokens.exists(), "the ranks meet only when the dataset is there"
        raise InterruptedError

    monkeypatch.setattr(run_module.deepspeed, "init_distributed", meet)
    with pytest.raises(InterruptedError):
        run_module.run(paths, 0, StopSignal())


def test_the_other_ranks_of_a_pod_wait_for_the_dataset_without_a_limit(tmp_path: Path) -> None:
    waiting = threading.Thread(target=wait_for_dataset, args=(tmp_path / "tokens", 0.01))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    (tmp_path / "tokens").mkdir()
    waiting.join(5)
    assert not waiting.is_alive()
