"""One job on two real nodes, disturbed again and again; in the end it has learnt what an undisturbed one learns.

Times are bounds for a busy machine, not aims.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import pytest
from dev.demo.cluster import OPERATOR_NAMESPACE, RELEASE

from e2e.survivor import Survivor, small_job
from support.dev_cluster import Team
from support.nodes import LAUNCHER, RANK, Node
from support.processes import wait_until

pytestmark = pytest.mark.timeout(900)

FOUND_IN_PLACE = 90.0
"""Seconds in which the ranks go on after a fault of a process."""


@pytest.fixture(scope="module")
def survivor(team: Team) -> Iterator[Survivor]:
    """A job that is still far from its end when all has been done to it."""
    team.apply(small_job("survivor", steps=10_000, runPolicy={"maxRestarts": 10}))
    yield Survivor(team, "survivor")
    team.kubectl("delete", "qlorajobs", "survivor", "undisturbed", "--ignore-not-found")


def assert_restarts_in_place(survivor: Survivor, reason: str, pods: list[str], number: int) -> None:
    restart = survivor.wait_for_restart_in_place(number, FOUND_IN_PLACE)
    assert restart["reason"] == reason
    assert survivor.pod_uids() == pods, "the pods live on"


def test_a_killed_rank_is_started_again_in_the_living_pods(survivor: Survivor) -> None:
    survivor.train_on()
    pods, number = survivor.pod_uids(), len(survivor.restarts_in_place) + 1
    os.kill(survivor.process(1, RANK), signal.SIGKILL)
    assert_restarts_in_place(survivor, "TrainerFailed", pods, number)


def test_a_killed_launcher_costs_no_pod(survivor: Survivor) -> None:
    survivor.train_on()
    pods, number = survivor.pod_uids(), len(survivor.restarts_in_place) + 1
    os.kill(survivor.process(0, LAUNCHER), signal.SIGKILL)
    assert_restarts_in_place(survivor, "LauncherVanished", pods, number)


def test_a_rank_that_hangs_is_found_within_a_minute(survivor: Survivor) -> None:
    survivor.train_on()
    pods, number = survivor.pod_uids(), len(survivor.restarts_in_place) + 1
    os.kill(survivor.process(1, RANK), signal.SIGSTOP)
    hung_at = time.monotonic()
    survivor.wait("a stall", lambda s: len(s["attempts"][-1].get("restartsInPlace") or []) == number, FOUND_IN_PLACE)
    assert time.monotonic() - hung_at < 60
    assert_restarts_in_place(survivor, "Stalled", pods, number)


def test_a_deleted_pod_is_followed_by_a_new_attempt_without_a_lost_step(survivor: Survivor) -> None:
    survivor.train_on()
    name = survivor.pods()[1]["metadata"]["name"]
    survivor.team.kubectl("delete", "pod", name, "--wait=false")
    ended = survivor.wait_for_the_next_attempt()
    assert (ended["reason"], ended["lostSteps"]) == ("PodLost", 0)  # the others may go within the same second


def test_a_drained_node_costs_no_step(survivor: Survivor) -> None:
    survivor.train_on()
    node = survivor.pods()[1]["spec"]["nodeName"]
    drain = ("drain", node, "--pod-selector=qlora.dev/job=survivor", "--ignore-daemonsets", "--delete-emptydir-data")
    try:
        survivor.team.cluster.kubectl(*drain, "--timeout=90s")
        ended = survivor.wait_for_the_next_attempt()
        assert {pod["spec"]["nodeName"] for pod in survivor.pods()}.isdisjoint({node})
        survivor.train_on()
    finally:
        survivor.team.cluster.kubectl("uncordon", node)
    assert (ended["reason"], ended["lostSteps"]) == ("Evicted", 0)


def test_a_suspended_job_gives_its_pods_back_and_goes_on_at_the_same_step(survivor: Survivor) -> None:
    survivor.train_on()
    set_suspend(survivor, True)
    survivor.wait("Suspended", lambda s: s["phase"] == "Suspended")
    wait_until("no pod", lambda: not [p for p in survivor.pods() if p["status"]["phase"] == "Running"], timeout=90)
    set_suspend(survivor, False)
    ended = survivor.wait_for_the_next_attempt()
    survivor.train_on()
    assert (ended["reason"], ended["lostSteps"]) == ("Suspended", 0)
    assert len({pod["spec"]["nodeName"] for pod in survivor.pods()}) == 2


def set_suspend(survivor: Survivor, value: bool) -> None:
    patch = f'{{"spec": {{"runPolicy": {{"suspend": {str(value).lower()}}}}}}}'
    survivor.team.kubectl("patch", "qlorajob", survivor.name, "--type=merge", "-p", patch)


def test_a_job_does_not_notice_that_the_operator_is_killed_again_and_again(survivor: Survivor, team: Team) -> None:
    before, pods = survivor.status, survivor.pod_uids()
    pauses = random.Random(1)
    for _ in range(3):
        os.kill(operator_process(team), signal.SIGKILL)
        time.sleep(pauses.uniform(0, 4))
    survivor.train_on()
    assert survivor.pod_uids() == pods
    assert survivor.status["restarts"] == before["restarts"]


def operator_process(team: Team) -> int:
    where = ("-n", OPERATOR_NAMESPACE, "get", "pods", "-l", f"app.kubernetes.io/instance={RELEASE}", "-o")
    uid, node = team.cluster.kubectl(*where, "jsonpath={.items[0].metadata.uid} {.items[0].spec.nodeName}").split()

    def find() -> int | None:
        try:
            return Node(node).process(uid, "qlora-operator")
        except AssertionError:
            return None

    found = wait_until("the operator's process", find, timeout=90)
    assert found is not None
    return found


def test_a_node_that_is_cut_off_is_replaced_and_its_pod_writes_no_more(survivor: Survivor) -> None:
    survivor.train_on()
    index = survivor.index_away_from_the_operator()
    lost = survivor.pods()[index]
    with survivor.node(index).cut_off():
        ended = survivor.wait_for_the_next_attempt()
        survivor.train_on()
    assert (ended["reason"], ended["node"]) == ("NodeLost", lost["spec"]["nodeName"])
    wait_until("the node's return", lambda: is_ready(survivor.team, lost["spec"]["nodeName"]), timeout=120)
    survivor.train_on()


def is_ready(team: Team, node: str) -> bool:
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return team.cluster.kubectl("get", "node", node, "-o", path) == "True"


def test_a_node_whose_daemons_have_died_is_replaced(survivor: Survivor) -> None:
    set_suspend(survivor, True)  # its pods may all be on one node now; they are spread again
    survivor.wait("Suspended", lambda s: s["phase"] == "Suspended")
    set_suspend(survivor, False)
    survivor.wait_for_the_next_attempt()
    survivor.train_on()
    index = survivor.index_away_from_the_operator()
    node, name = survivor.node(index), survivor.pods()[index]["metadata"]["name"]
    node.crash_daemons()
    try:
        ended = survivor.wait_for_the_next_attempt()
        survivor.train_on()
    finally:
        node.boot()
    assert (ended["reason"], ended["pod"], ended["node"]) == ("NodeLost", name, node.name)


def test_what_the_cluster_did_is_not_counted(survivor: Survivor) -> None:
    status = survivor.status
    attempts = status["attempts"]
    in_place = sum(len(attempt.get("restartsInPlace") or []) for attempt in attempts)
    failed = [attempt for attempt in attempts if attempt.get("reason") not in (None, "Suspended")]
    assert status["countedRestarts"] == in_place
    assert status["restarts"] == in_place + len(failed)
    assert [attempt["number"] for attempt in attempts] == list(range(1, len(attempts) + 1))


def test_its_loss_is_that_of_a_job_that_nothing_happens_to(survivor: Survivor) -> None:
    set_suspend(survivor, True)
    survivor.wait("Suspended", lambda s: s["phase"] == "Suspended")
    wait_until("no pod", lambda: not survivor.pods(), timeout=90)
    found = survivor.losses()
    last = max(found)
    assert sorted(found) == list(range(1, last + 1))
    survivor.team.apply(small_job("undisturbed", steps=last))
    survivor.team.wait_for_phase("undisturbed", "Succeeded", timeout=800)
    expected = Survivor(survivor.team, "undisturbed").losses()
    worst = max(abs(loss - expected[step][0]) for step, losses in found.items() for loss in losses)
    assert worst < 1e-3
