"""The status that a job on one machine has, from one command to the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from qlora_api.report import Progress, Termination
from qlora_api.status import Phase, QLoRAJobStatus
from qlora_cli import record

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def told(step: int) -> Progress:
    return Progress(uid="uid", attempt=1, state="Training", step=step, of=9, updated=0.0)


def test_attempts_are_counted_and_keep_what_they_did() -> None:
    status = record.begun(QLoRAJobStatus(), BEGIN)
    stopped = Termination(outcome="Failed", reason="Stopped", message="saved", step=4, from_step=0)
    status = record.finished(
        record.ended(status, record.SUSPENDED, stopped, told(3), after(60)), Phase.SUSPENDED, after(60)
    )
    status = record.begun(status, after(100))
    first, second = status.attempts
    assert (first.number, first.reason, first.from_step, first.to_step) == (1, "Suspended", 0, 4)
    assert (second.number, second.completion_time) == (2, None)
    assert (status.phase, status.start_time) == (Phase.RUNNING, "2026-01-01T00:00:00Z")


def test_only_the_time_of_attempts_is_active() -> None:
    status = record.begun(QLoRAJobStatus(), BEGIN)
    done = Termination(outcome="Failed", reason="Stopped")
    status = record.begun(record.ended(status, record.SUSPENDED, done, told(7), after(60)), after(1000))
    assert record.active_seconds(status.attempts) == 60
    assert status.attempts[0].to_step == 7, "a pod that has left no word has left its figures"


def test_an_attempt_without_an_end_is_closed_by_the_next_command() -> None:
    status = record.with_progress(record.begun(QLoRAJobStatus(), BEGIN), told(5))
    closed = record.closed(status, after(10))
    assert (closed.attempts[0].reason, closed.attempts[0].to_step) == ("Stopped", 5)
    assert record.closed(closed, after(20)) == closed
    assert record.closed(QLoRAJobStatus(), BEGIN) == QLoRAJobStatus()


def test_a_job_has_trained_once_a_step_is_done_and_does_not_forget_it() -> None:
    status = record.begun(QLoRAJobStatus(), BEGIN)
    assert not record.has_trained(record.with_progress(status, told(0)))
    trained = record.with_progress(status, told(1))
    assert record.has_trained(trained)
    assert record.with_progress(trained, told(0)) == trained
