"""Which nodes are asked after."""

from __future__ import annotations

import pytest

from builders import Body, job_body, pod_body, stored
from qlora_operator.cache import Cache
from qlora_operator.observe import silent_nodes
from qlora_operator.views import POD, QLORA_JOB

KEY = ("default", "job")


def nodes_asked(phase: str, *pods: Body) -> frozenset[str]:
    cache = Cache()
    cache.put(QLORA_JOB, QLORA_JOB.view(stored(job_body(), status={"phase": phase})))
    for pod in pods:
        cache.put(POD, POD.view(pod))
    return silent_nodes(cache, KEY)


def test_a_pod_that_trains_unready_or_leaves_has_its_node_asked() -> None:
    pods = pod_body(0, ready=False), pod_body(1, deleting=True), pod_body(2)
    assert nodes_asked("Running", *pods) == {"node-0", "node-1"}


def test_a_pod_that_was_deleted_by_force_waits_for_no_node() -> None:
    assert nodes_asked("Restarting", pod_body(0, deleting=True, forced=True)) == frozenset()


@pytest.mark.parametrize("phase", ["Suspended", "Succeeded", "Failed"])
def test_a_job_that_wants_no_pods_asks_for_no_node(phase: str) -> None:
    assert nodes_asked(phase, pod_body(0, ready=False), pod_body(1, deleting=True)) == frozenset()


def test_a_job_that_is_gone_asks_for_no_node() -> None:
    cache = Cache()
    cache.put(POD, POD.view(pod_body(0, deleting=True)))
    assert silent_nodes(cache, KEY) == frozenset()
