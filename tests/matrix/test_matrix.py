"""The whole matrix: what is not refused trains, and what is refused does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix.gang import Trial, try_all
from qlora_api.methods import METHODS, QUANTIZATIONS, REFUSALS, Refusal, cells, refusal
from unit.trainer.tiny_model import save_model

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    return folder


def failures(trials: list[Trial], model: Path, folder: Path) -> dict[str, str]:
    outcomes = try_all(trials, model, folder)
    return {str(trial): outcome["error"] for trial, outcome in zip(trials, outcomes, strict=True) if "error" in outcome}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_what_is_not_refused_trains(quantization: str, dtype: str, model: Path, tmp_path: Path) -> None:
    changes = {"quantization": {"computeDtype": dtype}}
    trials: list[Trial] = [
        (cell, changes) for cell in cells() if cell.quantization == quantization and refusal(cell) is None
    ]
    assert {cell.method for cell, _ in trials} >= set(METHODS) - {"loftq"}
    assert failures(trials, model, tmp_path) == {}


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.because.partition(";")[0])
def test_what_is_refused_does_not_train_unless_it_is_only_useless(row: Refusal, model: Path, tmp_path: Path) -> None:
    """A newer version of a library may make a refusal unnecessary."""
    trials: list[Trial] = [(next(cell for cell in cells() if row.covers(cell)), {})]
    assert len(failures(trials, model, tmp_path)) == (0 if row.is_useless else 1)
