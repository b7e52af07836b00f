"""What the loop does with a loss, without a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank import loop
from qlora_trainer.rank.order import Mix
from qlora_trainer.rank.stop import StopSignal
from unit.trainer.pods import Gang


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_before_it_reaches_a_checkpoint(
    loss: float, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pod,) = Gang(tmp_path).new_pods()
    engine = MagicMock(device=torch.device("cpu"))
    engine.optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}])
    dataset = MagicMock(targets=torch.ones(4, dtype=torch.int64), lengths=torch.ones(4, dtype=torch.int64))
    dataset.mix = Mix((4,), (1.0,))
    saver, progress = MagicMock(is_due=False), MagicMock()
    monkeypatch.setattr(loop, "comm", MagicMock(get_rank=lambda: 0, get_world_size=lambda: 1))
    monkeypatch.setattr(loop, "collate", lambda *_: None)
    monkeypatch.setattr(loop, "loss_sum", lambda *_: torch.tensor(loss, requires_grad=True))

    with pytest.raises(TrainerError, match=r"at step 1; write a smaller training\.learningRate than 0\.01") as error:
        loop.train(engine, dataset, pod.job, 0, 6, saver, progress, StopSignal())
    assert error.value.reason == Reason.LOSS_DIVERGED
    saver.save.assert_not_called()
    progress.step.assert_not_called()
