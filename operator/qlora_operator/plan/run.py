"""Follows pods that start and train."""

from __future__ import annotations

from qlora_api import names
from qlora_api.status import Phase
from qlora_operator.plan.blocked import SLOW_START
from qlora_operator.plan.start import PODS_REQUESTED, waiting_message
from qlora_operator.plan.types import Decision, Observation
from qlora_operator.views import PodView


def follow_pods(observation: Observation) -> Decision:
    """Running once every pod's trainer runs, and until the attempt ends; Starting before."""
    assert observation.spec is not None
    nodes = observation.spec.nodes
    up = sum(_trainer_is_up(pod) for pod in observation.pods if not pod.metadata.deleting)
    if up == nodes or observation.status.phase == Phase.RUNNING:
        what = "training on" if _has_begun(observation) else "starting the ranks of"
        return Decision(Phase.RUNNING, "Training", f"{what} {nodes} node{'s' if nodes > 1 else ''}")
    return Decision(Phase.STARTING, PODS_REQUESTED, waiting_message(nodes), requeue_after=SLOW_START)


def _has_begun(observation: Observation) -> bool:
    """Whether the attempt is known to train: an operator that began anew has it in the status."""
    record, progress = observation.record, observation.progress
    told = progress is not None and progress.of > 0
    return told or (record is not None and record.from_step is not None)


def _trainer_is_up(pod: PodView) -> bool:
    container = pod.container(names.TRAINER_CONTAINER)
    if container is None:
        return False
    succeeded = container.terminated is not None and container.terminated.exit_code == 0
    return container.running or succeeded
