"""The same figures for TensorBoard: `tensorboard --logdir` on the output folder, or on one that holds several.

Written at once and in order, not by tensorboardX's own queue, which a process that is killed would take with it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from qlora_trainer.rank.journal import Line, Reporter

FOLDER = "tensorboard"
_OF_STEP = ("loss", "learning_rate", "gradient_norm", "tokens_per_second")
_OF_EVALUATION = ("loss", "perplexity")


class TensorBoard(Reporter):
    """Event files, a new one for each start of the ranks.

    Args:
        output: the output folder.
        from_step: step at which this attempt goes on: what an older file has beyond it is not shown any more.
    """

    def __init__(self, output: Path, from_step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        folder = output / FOLDER
        folder.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"), f".from-{from_step}")
        self._write(from_step + 1, session_log=SessionLog(status=SessionLog.START))

    def step(self, line: Line) -> None:
        """Writes the figures under `training/`."""
        self._scalars("training", _OF_STEP, line)

    def evaluation(self, line: Line) -> None:
        """Writes the figures under `evaluation/`."""
        self._scalars("evaluation", _OF_EVALUATION, line)

    def sample(self, line: Line) -> None:
        """Writes the text under its prompt."""
        from tensorboardX.summary import text

        expected = f"\n\nexpected: {line['expected']}" if "expected" in line else ""
        shown = f"{line['prompt']}\n\n**{line['text']}**{expected}"
        self._write(line["step"], summary=text(f"samples/{line['number']}", shown))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _scalars(self, group: str, names: tuple[str, ...], line: Line) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=f"{group}/{name}", simple_value=line[name]) for name in names]
        self._write(line["step"], summary=Summary(value=values))

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))
        self._writer.flush()
