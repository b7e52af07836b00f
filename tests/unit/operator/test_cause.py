from __future__ import annotations

from builders import Body, ended, pod_body
from qlora_operator.plan.cause import cause_of, first_cause
from qlora_operator.views import pod_view


def words(reason: str, message: str = "what to do") -> dict[str, object]:
    return {"outcome": "Failed", "reason": reason, "message": message, "rank": 0}


def deleted(index: int, *, asked_at: str, ended_at: str) -> Body:
    """A pod that was deleted, had its grace period, and stopped in it."""
    trainer = ended(143, words("Stopped"), at=ended_at)
    return pod_body(index, trainer=trainer, phase="Failed", deletion_requested_at=asked_at)


def test_a_pod_that_runs_has_no_cause() -> None:
    assert cause_of(pod_view(pod_body(0))) is None


def test_the_pod_s_own_words_come_first() -> None:
    cause = cause_of(pod_view(pod_body(0, trainer=ended(1, words("LossDiverged", "NaN at step 3")))))
    assert cause is not None
    assert (cause.reason, cause.message) == ("LossDiverged", "NaN at step 3")


def test_a_container_killed_for_memory_names_the_field() -> None:
    cause = cause_of(pod_view(pod_body(0, trainer=ended(137, reason="OOMKilled"))))
    assert cause is not None
    assert cause.reason == "HostOutOfMemory"
    assert "node.resources.memory" in cause.message


def test_words_that_fit_no_schema_are_taken_as_output() -> None:
    for text in ('{"outcome": "Failed", "reason": "rm -rf"}', '{"outcome": 3}', "Traceback\nKeyError: 'x'\n"):
        cause = cause_of(pod_view(pod_body(0, trainer=ended(1, text))))
        assert cause is not None
        assert cause.reason == "TrainerFailed"
        assert text.strip().splitlines()[-1] in cause.message


def test_words_longer_than_kubernetes_keeps_are_not_parsed() -> None:
    long = words("UserError", "x" * 5000)
    cause = cause_of(pod_view(pod_body(0, trainer=ended(1, long))))
    assert cause is not None
    assert cause.reason == "TrainerFailed"
    assert len(cause.message) < 1200


def test_the_earliest_failure_is_the_first_cause() -> None:
    pods = [
        pod_view(pod_body(0, trainer=ended(1, words("TrainerFailed"), at="2026-01-01T00:00:09Z"))),
        pod_view(pod_body(1, trainer=ended(1, words("DiskFull"), at="2026-01-01T00:00:05Z"))),
    ]
    cause = first_cause(pods)
    assert cause is not None
    assert cause.reason == "DiskFull"


def test_an_echo_of_another_rank_s_death_is_never_the_first_cause() -> None:
    pods = [
        pod_view(pod_body(0, trainer=ended(1, words("CollectiveTimeout"), at="2026-01-01T00:00:01Z"))),
        pod_view(pod_body(1, trainer=ended(137, reason="OOMKilled", at="2026-01-01T00:00:02Z"))),
        pod_view(pod_body(2, trainer=ended(143, words("Stopped"), at="2026-01-01T00:00:01Z"))),
    ]
    cause = first_cause(pods)
    assert cause is not None
    assert cause.reason == "HostOutOfMemory"


def test_a_pod_that_was_deleted_and_killed_in_the_middle_of_a_word_is_lost() -> None:
    cause = cause_of(pod_view(pod_body(0, trainer=ended(137), deleting=True)))
    assert cause is not None
    assert cause.reason == "PodLost"


def test_a_pod_that_was_deleted_is_lost_before_the_others_miss_it() -> None:
    pods = [
        pod_view(pod_body(0, trainer=ended(1, words("PeerLost"), at="2026-01-01T00:00:03Z"))),
        pod_view(deleted(1, asked_at="2026-01-01T00:00:01Z", ended_at="2026-01-01T00:00:04Z")),
    ]
    cause = first_cause(pods)
    assert cause is not None
    assert (cause.reason, cause.message) == ("PodLost", f"pod {pods[1].metadata.name} was deleted")
    assert cause.report is not None, "its words tell how far it came"


def test_a_pod_that_the_job_controller_deletes_after_another_s_failure_is_not_the_cause() -> None:
    pods = [
        pod_view(pod_body(0, trainer=ended(1, words("CollectiveTimeout"), at="2026-01-01T00:00:03Z"))),
        pod_view(deleted(1, asked_at="2026-01-01T00:00:05Z", ended_at="2026-01-01T00:00:06Z")),
    ]
    cause = first_cause(pods)
    assert cause is not None
    assert cause.reason == "CollectiveTimeout"


def test_the_kubelet_knows_better_than_a_pod_that_does_not_know_why() -> None:
    trainer = ended(1, words("LauncherVanished", "deepspeed ended with exit code -9"), reason="OOMKilled")
    cause = cause_of(pod_view(pod_body(0, trainer=trainer)))
    assert cause is not None
    assert cause.reason == "HostOutOfMemory"
    assert "node.resources.memory" in cause.message


def test_a_pod_that_knows_why_is_believed_although_the_kernel_killed_something() -> None:
    trainer = ended(1, words("DatasetInvalid"), reason="OOMKilled")
    cause = cause_of(pod_view(pod_body(0, trainer=trainer)))
    assert cause is not None
    assert cause.reason == "DatasetInvalid"
