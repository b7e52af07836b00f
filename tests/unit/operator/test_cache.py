from __future__ import annotations

from dataclasses import replace

from builders import child_body, job_body, pod_body, stored
from qlora_operator.cache import Cache
from qlora_operator.views import JOB, POD, QLORA_JOB, SERVICE, job_view, pod_view, resource_view

KEY = ("default", "job")


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = Cache()
    cache.put(QLORA_JOB, resource_view(stored(job_body(nodes=4), version=7)))
    cache.put(QLORA_JOB, resource_view(stored(job_body(nodes=2), version=6)))
    resource = cache.resource(KEY)
    assert resource is not None
    assert resource.spec["nodes"] == 4


def test_a_newer_version_that_says_the_same_is_kept_and_needs_no_look() -> None:
    cache = Cache()
    assert cache.put(POD, pod_view(pod_body(0, version=3))) == KEY
    assert cache.put(POD, pod_view(pod_body(0, version=3))) is None
    assert cache.put(POD, pod_view(pod_body(0, version=4))) is None
    assert [pod.metadata.resource_version for pod in cache.pods(KEY)] == [4]
    assert cache.put(POD, pod_view(pod_body(0, version=5, ready=False))) == KEY


def test_children_are_found_by_the_job_s_label() -> None:
    cache = Cache()
    assert cache.put(JOB, job_view(child_body("Job", "job-1"))) == KEY
    assert cache.put(POD, pod_view(pod_body(0))) == KEY
    assert [job.metadata.name for job in cache.jobs(KEY)] == ["job-1"]
    assert [pod.metadata.name for pod in cache.pods(KEY)] == ["job-1-0-abcde"]


def test_an_object_without_the_label_is_not_kept() -> None:
    cache = Cache()
    body = child_body("Service", "job")
    body["metadata"]["labels"] = {}
    assert cache.put(SERVICE, SERVICE.view(body)) is None
    assert cache.known_jobs() == []


def test_only_children_of_the_same_uid_count() -> None:
    cache = Cache()
    cache.put(SERVICE, SERVICE.view(child_body("Service", "job", owner_uid="old")))
    assert cache.children(KEY, "uid") == frozenset()
    assert cache.children(KEY, "old") == {("Service", "job")}


def test_the_late_deletion_of_an_earlier_object_leaves_its_successor() -> None:
    cache = Cache()
    cache.put(SERVICE, SERVICE.view(child_body("Service", "job", uid="new", version=9)))
    cache.remove(SERVICE, SERVICE.view(child_body("Service", "job", uid="old", version=8)))
    assert cache.children(KEY, "uid") == {("Service", "job")}


def test_a_list_heals_what_a_watch_has_lost() -> None:
    cache = Cache()
    cache.put(SERVICE, SERVICE.view(child_body("Service", "job", version=3)))
    cache.put(POD, pod_view(pod_body(0, version=4)))
    changed = cache.replace_all(SERVICE, [], before=10)
    assert changed == {KEY}
    assert cache.children(KEY, "uid") == frozenset()
    assert len(cache.pods(KEY)) == 1, "other kinds stay"


def test_what_was_created_after_the_list_was_made_stays() -> None:
    cache = Cache()
    cache.put(SERVICE, SERVICE.view(child_body("Service", "job", version=11)))
    assert cache.replace_all(SERVICE, [], before=10) == set()
    assert cache.children(KEY, "uid") == {("Service", "job")}


def test_an_unchanged_list_changes_nothing() -> None:
    cache = Cache()
    view = SERVICE.view(child_body("Service", "job", version=3))
    cache.put(SERVICE, view)
    assert cache.replace_all(SERVICE, [view], before=10) == set()


def test_a_better_knowledge_replaces_a_view_of_the_same_version() -> None:
    cache = Cache()
    pod = pod_view(pod_body(0))
    cache.put(POD, pod)
    cache.replace(POD, replace(pod, forced=True))
    assert [pod.forced for pod in cache.pods(KEY)] == [True]


def test_an_object_that_has_gone_is_not_brought_back_by_better_knowledge() -> None:
    cache = Cache()
    pod = pod_view(pod_body(0))
    cache.put(POD, pod)
    cache.remove(POD, pod)
    cache.replace(POD, replace(pod, forced=True))
    assert cache.pods(KEY) == []


def test_the_newest_version_of_a_kind_is_remembered_beyond_its_objects() -> None:
    cache = Cache()
    cache.put(SERVICE, SERVICE.view(child_body("Service", "job", version=3)))
    cache.remove(SERVICE, SERVICE.view(child_body("Service", "job", version=8)))
    assert (cache.newest(SERVICE), cache.newest(POD)) == (8, 0)


def test_a_pod_that_went_is_remembered_until_a_pod_of_a_later_attempt_goes() -> None:
    cache = Cache()
    first, second = (pod_view(pod_body(0, attempt=number, deleting=True)) for number in (1, 2))
    for pod in (first, second):
        cache.put(POD, pod)
    cache.remove(POD, first)
    assert cache.departed_pods(KEY) == [first]
    cache.put(POD, pod_view(pod_body(1, attempt=2)))
    cache.remove(POD, second)
    assert cache.departed_pods(KEY) == [second]


def test_nothing_is_remembered_of_a_job_that_is_gone() -> None:
    cache = Cache()
    pod = pod_view(pod_body(0, deleting=True))
    cache.put(POD, pod)
    cache.remove(POD, pod)
    assert cache.departed_pods(KEY) == []
