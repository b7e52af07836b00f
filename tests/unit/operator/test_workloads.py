"""What Kueue's Workloads say of a wait, and how often they are asked."""

from __future__ import annotations

from typing import Any, cast

import pytest

from builders import batch_job_body
from qlora_operator.cluster import ApiError, Cluster
from qlora_operator.views import WORKLOAD, JobView, Kind, job_view
from qlora_operator.workloads import BURST, REMEMBERED, Workloads, sentence

Body = dict[str, Any]
KEY = ("default", "job")


def workload(reserved: tuple[str, str] | None = None, evicted: str | None = None, **status: Any) -> Body:
    conditions = []
    if reserved is not None:
        conditions.append({"type": "QuotaReserved", "status": reserved[0], "message": reserved[1]})
    if evicted is not None:
        conditions.append({"type": "Evicted", "status": "True", "message": evicted})
    return {"status": {"conditions": conditions, **status}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, None),
        (workload(), None),
        (workload(("False", "insufficient quota")), "insufficient quota"),
        (workload(("True", "reserved"), evicted="Preempted to accommodate"), "Preempted to accommodate"),
        (workload(("False", "insufficient quota"), evicted="Preempted"), "insufficient quota"),
        (workload(("True", "reserved")), "its quota is reserved"),
        (
            workload(("True", "reserved"), admissionChecks=[{"name": "budget", "message": "asks for approval"}]),
            "its quota is reserved; asks for approval",
        ),
    ],
)
def test_the_newest_reason_of_a_wait_is_told(body: Body, words: str | None) -> None:
    assert sentence(body) == words


class Answers:
    """Stands for the API server: what it has been asked, and what it answers."""

    def __init__(self, *answers: Body | ApiError) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def list(self, kind: Kind, namespace: str | None, selector: str) -> tuple[list[Body], int]:
        assert kind is WORKLOAD
        self.asked.append(selector)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, ApiError):
            raise answer
        return [answer], 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def job(number: int = 1) -> JobView:
    body = batch_job_body(suspended=True, queue="team-a")
    body["metadata"]["uid"] = f"uid-{number}"
    return job_view(body)


def reader(answers: Answers) -> tuple[Workloads, Clock]:
    clock = Clock()
    return Workloads(cast(Cluster, answers), clock), clock


async def test_an_answer_is_remembered_and_asked_for_again_later() -> None:
    answers = Answers(workload(("False", "first")), workload(("False", "second")))
    workloads, clock = reader(answers)
    assert [await workloads.words(KEY, job()), await workloads.words(KEY, job())] == ["first", "first"]
    clock.now += REMEMBERED
    assert await workloads.words(KEY, job()) == "second"
    assert answers.asked == ["kueue.x-k8s.io/job-uid=uid-1"] * 2


async def test_what_was_said_of_an_earlier_wait_counts_no_more() -> None:
    answers = Answers(workload(("True", "reserved")), workload(("True", "reserved"), evicted="Preempted"))
    workloads, _ = reader(answers)
    told = [await workloads.words(KEY, waits) for waits in (job(), None, job())]
    assert told == ["its quota is reserved", None, "Preempted"]


async def test_many_jobs_that_wait_do_not_keep_the_api_server_busy() -> None:
    answers = Answers(workload(("False", "no quota")))
    workloads, clock = reader(answers)
    told = [await workloads.words(("default", f"job-{number}"), job(number)) for number in range(100)]
    assert len(answers.asked) == BURST
    assert told.count(None) == 100 - BURST
    clock.now += 1
    later = [await workloads.words(("default", f"job-{number}"), job(number)) for number in range(90, 100)]
    assert later.count("no quota") == 5


async def test_a_cluster_without_kueue_is_told() -> None:
    workloads, _ = reader(Answers(ApiError(404, "NotFound", "the server could not find the requested resource")))
    words = await workloads.words(KEY, job())
    assert words is not None
    assert "install Kueue 0.15 or newer, or remove queueName" in words


async def test_an_operator_that_may_not_read_workloads_says_nothing() -> None:
    workloads, _ = reader(Answers(ApiError(403, "Forbidden", "no")))
    assert await workloads.words(KEY, job()) is None


async def test_a_busy_api_server_is_not_hidden() -> None:
    workloads, _ = reader(Answers(ApiError(503, "Unavailable", "later")))
    with pytest.raises(ApiError):
        await workloads.words(KEY, job())
