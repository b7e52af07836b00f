"""What a terminal shows, and what a file gets."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from qlora_api.report import Progress, Restart
from qlora_cli.display import Display, figures


def told(**changes: Any) -> Progress:
    base: dict[str, Any] = {"uid": "uid", "attempt": 1, "state": "Training", "step": 3, "of": 6, "updated": 0.0}
    return Progress(**{**base, **changes})


def printed(*progress: Progress, terminal: bool = False) -> str:
    file = io.StringIO()
    with Display(Console(file=file, force_terminal=terminal, width=120)) as display:
        for figure in progress:
            display(figure)
    return file.getvalue()


def test_figures_are_shown_as_far_as_they_are_known() -> None:
    assert figures(told(of=0)) == ""
    full = told(loss=1.23456, tokens_per_second=812.4, eta_seconds=250)
    assert figures(full) == "step 3/6  loss 1.2346  812 tokens/s  ETA 4m10s"


def test_a_file_gets_a_line_when_the_state_changes_and_the_last_step() -> None:
    lines = printed(told(state="Launching", step=0, of=0), *(told(step=step) for step in (1, 2, 3, 6))).splitlines()
    assert lines == ["Launching", "Training   step 1/6", "Training   step 6/6"]


def test_a_restart_in_place_is_told_once() -> None:
    restart = Restart(number=1, time=0, reason="TrainerFailed", message="rank 1 is gone")
    lines = printed(told(restarts=[restart]), told(step=4, restarts=[restart])).splitlines()
    assert lines[0] == "restart 1 in place: TrainerFailed: rank 1 is gone"
    assert sum("restart" in line for line in lines) == 1


def test_a_terminal_shows_a_bar_and_no_lines() -> None:
    text = printed(told(step=1, loss=2.0), told(step=6, loss=1.0), terminal=True)
    assert "step 6/6  loss 1.0000" in text
    assert "━" in text
