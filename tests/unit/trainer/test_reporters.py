"""What a training leaves for people in the output folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qlora_trainer.rank import chart
from qlora_trainer.rank.chart import CHART, Chart, draw_losses, read_losses
from qlora_trainer.rank.journal import EVALUATIONS, STEPS, Journal
from qlora_trainer.rank.tensorboard import FOLDER, TensorBoard


def step(number: int, loss: float = 1.5) -> dict[str, Any]:
    return {"step": number, "loss": loss, "learning_rate": 1e-4, "gradient_norm": 0.5, "tokens_per_second": 9.0}


def evaluation(number: int, loss: float) -> dict[str, Any]:
    return {"step": number, "loss": loss, "perplexity": 2.0}


def scalars(output: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows: of several files the newest, which hides what the older ones have from its first step."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: dict[str, dict[int, float]] = {}
    for file in sorted((output / FOLDER).iterdir()):
        for record in records(file):
            event = Event.FromString(record)
            if event.session_log.status == SessionLog.START:
                found = {tag: {n: v for n, v in points.items() if n < event.step} for tag, points in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = round(value.simple_value, 6)
    return found


def records(file: Path) -> list[bytes]:
    """The records of a TFRecord file: length in 8 bytes, its checksum in 4, the data, its checksum in 4."""
    data, found, place = file.read_bytes(), [], 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        found.append(data[place + 12 : place + 12 + length])
        place += 16 + length
    return found


def test_tensorboard_shows_each_step_once_after_a_restart(tmp_path: Path) -> None:
    first = TensorBoard(tmp_path, from_step=0)
    for number in (1, 2, 3):
        first.step(step(number, loss=number))
    first.evaluation(evaluation(2, loss=0.5))
    first.close()
    second = TensorBoard(tmp_path, from_step=2)
    second.step(step(3, loss=30))
    second.close()
    found = scalars(tmp_path)
    assert found["training/loss"] == {1: 1.0, 2: 2.0, 3: 30.0}
    assert found["evaluation/loss"] == {2: 0.5}
    assert {"training/learning_rate", "training/gradient_norm", "evaluation/perplexity"} < set(found)


def test_what_was_told_is_in_the_file_although_the_process_dies(tmp_path: Path) -> None:
    TensorBoard(tmp_path, from_step=0).step(step(1))
    assert scalars(tmp_path)["training/loss"] == {1: 1.5}


def test_a_chart_shows_the_steps_before_a_restart_and_of_a_repeated_step_the_newest(tmp_path: Path) -> None:
    for attempt in (1, 2):
        journal = Journal(tmp_path)
        for number in range(attempt, 4):
            journal.step(step(number, loss=10 * attempt + number))
    with (tmp_path / STEPS).open("a") as file:
        file.write('{"step": 4, "lo')  # a process that was killed
    losses = read_losses(tmp_path / STEPS)
    assert losses.steps.tolist() == [1, 2, 3]
    assert losses.losses.tolist() == [11, 22, 23]


@pytest.mark.parametrize("evaluations", [0, 3])
def test_a_chart_is_a_picture_with_a_curve_for_each(tmp_path: Path, evaluations: int) -> None:
    journal = Journal(tmp_path)
    for number in range(1, 100):
        journal.step(step(number, loss=3 / number))
    for number in range(1, evaluations + 1):
        journal.evaluation(evaluation(30 * number, loss=2 / number))
    draw_losses(tmp_path)
    with Image.open(tmp_path / CHART) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    assert image.size == (960, 540)
    blue, orange = (31, 119, 180), (255, 127, 14)
    assert (np.abs(pixels - blue).sum(axis=1) < 20).sum() > 200
    assert ((np.abs(pixels - orange).sum(axis=1) < 20).sum() > 100) == (evaluations > 0)


def test_without_a_step_there_is_no_chart(tmp_path: Path) -> None:
    draw_losses(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_smoothed_curve_is_a_mean_of_neighbours_and_keeps_a_constant(tmp_path: Path) -> None:
    (tmp_path / STEPS).write_text("".join(json.dumps(step(number)) + "\n" for number in range(1, 601)))
    assert np.allclose(read_losses(tmp_path / STEPS).smoothed.losses, 1.5)
    assert len(read_losses(tmp_path / EVALUATIONS).smoothed.losses) == 0


def test_a_chart_that_cannot_be_drawn_ends_no_training_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / CHART).mkdir()
    Journal(tmp_path).step(step(1))
    Chart(tmp_path).saved()
    assert "no_chart" in capsys.readouterr().out


def test_a_chart_that_takes_long_is_put_off_but_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, drawn = [0.0], []
    monkeypatch.setattr(chart.time, "monotonic", lambda: now[0])

    def draw(_: Path) -> None:
        drawn.append(now[0])
        now[0] += 2

    monkeypatch.setattr(chart, "draw_losses", draw)
    writer = Chart(tmp_path)
    for seconds in (10, 50, 130):
        now[0] = seconds
        writer.saved()
    assert drawn == [10, 130]
    now[0] = 140
    writer.saved()
    writer.close()
    assert drawn == [10, 130, 140]
