"""What a user and kubelets do to a job while the operator is disturbed.

Each waits until the operator has come to rest before it goes on: the undisturbed run makes the same writes every time.
"""

from __future__ import annotations

from collections.abc import Callable

from faults.history import Body
from faults.play import Play
from qlora_operator.views import CONFIG_MAP, QLORA_JOB

DONE = {"outcome": "Succeeded", "message": "trained 9 steps", "step": 9, "of": 9, "loss": 0.5, "fromStep": 0}
CRASH = {"outcome": "Failed", "reason": "TrainerFailed", "message": "KeyError: 'x'", "step": 4, "of": 9, "fromStep": 0}


def succeed(play: Play, attempt: int = 1) -> None:
    for pod in play.wait_until_training(attempt):
        play.end_pod(pod, message=DONE)
    play.wait("phase Succeeded", lambda status: status.get("phase") == "Succeeded")


def success(play: Play) -> None:
    play.create()
    succeed(play)


def crash(play: Play) -> None:
    """An attempt fails, the next succeeds."""
    play.create()
    play.end_pod(play.wait_until_training()[1], exit_code=1, message=CRASH)
    succeed(play, attempt=2)


def too_many_crashes(play: Play) -> None:
    play.create(runPolicy={"maxRestarts": 1})
    for attempt in (1, 2):
        play.end_pod(play.wait_until_training(attempt)[0], exit_code=1, message=CRASH)
    play.wait("phase Failed", lambda status: status.get("phase") == "Failed")


def too_many_disruptions(play: Play) -> None:
    play.create(runPolicy={"maxDisruptions": 1})
    for attempt in (1, 2):
        play.evict(play.wait_until_training(attempt)[1])
    play.wait("phase Failed", lambda status: status.get("phase") == "Failed")


def suspension(play: Play) -> None:
    """The user suspends the job and lets it go on."""
    play.create()
    play.wait_until_training()
    play.change_run_policy(suspend=True)
    play.wait("phase Suspended", lambda status: status.get("phase") == "Suspended")
    play.wait_until_without_pods()
    play.change_run_policy(suspend=False)
    succeed(play, attempt=2)


def node_loss(play: Play) -> None:
    """A node stops to answer; the job goes on without it, and it comes back."""
    play.create()
    node = play.wait_until_training()[0]["spec"]["nodeName"]
    play.lose_node(node)
    try:
        play.wait_until_training(attempt=2)
    finally:
        play.bring_node_back(node)
    succeed(play, attempt=2)


def refusal(play: Play) -> None:
    """A name is taken; the user gives it free and edits the job."""
    play.create_foreign(CONFIG_MAP, f"{play.job}-1")
    play.create()
    play.wait("a refusal", _is_refused)
    play.wait_until_childless()
    play.delete(CONFIG_MAP, f"{play.job}-1")
    play.change_run_policy(maxRestarts=2)
    succeed(play)


def _is_refused(status: Body) -> bool:
    return any(
        condition["type"] == "Accepted" and condition["reason"] == "NameConflict"
        for condition in status.get("conditions", [])
    )


def deletion(play: Play) -> None:
    """The user deletes a job that trains, and creates another of the same name, which trains on."""
    play.create()
    play.wait_until_training()
    play.delete(QLORA_JOB, play.job)
    play.wait_until_gone()
    play.create()
    play.wait_until_training()


def expiry(play: Play) -> None:
    """The job is deleted some time after its end."""
    play.create(runPolicy={"ttlAfterFinished": "1s"})
    for pod in play.wait_until_training():
        play.end_pod(pod, message=DONE)
    play.wait_until_gone()


WORKLOADS: dict[str, Callable[[Play], None]] = {
    workload.__name__: workload
    for workload in (
        success,
        crash,
        too_many_crashes,
        too_many_disruptions,
        suspension,
        node_loss,
        refusal,
        deletion,
        expiry,
    )
}
