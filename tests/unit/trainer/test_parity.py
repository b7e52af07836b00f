"""The same training in TRL's SFTTrainer, in short; `make parity` does it with a real model and more steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.parity.recipe import Recipe, largest_difference, train_here, train_in_trl

from unit.trainer.pods import ROWS
from unit.trainer.tiny_model import WITH_GENERATION

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_losses_and_adapter_are_those_of_another_trainer(tiny_model: Path, tmp_path: Path) -> None:
    recipe = Recipe(tiny_model, ROWS, WITH_GENERATION, steps=12, learning_rate=0.01)
    here, there = train_here(recipe, tmp_path / "here"), train_in_trl(recipe, tmp_path / "there")
    assert here.losses[-1] < here.losses[0] - 0.1, "nothing was learned"
    assert here.losses == pytest.approx(there.losses, abs=1e-4)
    assert largest_difference(here, there) < 1e-3
