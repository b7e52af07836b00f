"""What clusters and people do to jobs, by the numbers of `docs/scenarios.md`."""

from __future__ import annotations

import json
import time
from typing import Any

import yaml

from builders import job_body
from qlora_operator.views import CONFIG_MAP, JOB, QLORA_JOB, SERVICE
from support.audit import read_audit_log
from support.control_plane import OPERATOR, ControlPlane
from support.jobs import EVENT, JobDriver
from support.operator_process import Operator
from support.processes import wait_until

DONE = {"outcome": "Succeeded", "step": 3, "of": 3, "fromStep": 0}
DENIAL = "no Job of this kind on a Sunday"


def condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next((c for c in status.get("conditions", []) if c["type"] == type_), {})


def finish(driver: JobDriver, timeout: float = 30) -> None:
    for pod in driver.wait_for_pods("job", 2):
        driver.end_pod(pod, message=DONE)
    driver.wait_for_phase("job", "Succeeded", timeout)


def writes(driver: JobDriver) -> list[Any]:
    log = read_audit_log(driver.cluster.audit_log, OPERATOR)
    return [request for request in log if request.namespace == driver.namespace and request.is_write]


def test_7_one_broken_job_does_not_hold_up_the_others(operator: Operator, driver: JobDriver) -> None:
    driver.kubectl("create", "configmap", "broken-1", "--from-literal=mine=yes")
    driver.apply(job_body(name="broken"))
    driver.wait_for("broken", "NameConflict", lambda s: condition(s, "Accepted").get("reason") == "NameConflict")
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    finish(driver)


def test_9_a_job_goes_on_when_the_api_server_was_away(
    operator: Operator, driver: JobDriver, control_plane: ControlPlane
) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    pid = operator.pid
    control_plane.restart_api_server(pause=10)
    finish(driver, timeout=90)  # Kubernetes' own controllers watch again after up to half a minute
    assert operator.pid == pid
    assert operator.healthy()


def test_19_a_right_that_was_taken_away_is_named_and_the_job_starts_when_it_is_back(
    operator: Operator, driver: JobDriver, control_plane: ControlPlane
) -> None:
    role = yaml.safe_load(control_plane.kubectl("get", "clusterrole", "qlora-operator", "-o", "yaml"))
    for key in ("resourceVersion", "uid", "creationTimestamp"):
        role["metadata"].pop(key, None)
    less = json.loads(json.dumps(role))
    for rule in less["rules"]:
        if "jobs" in rule["resources"]:
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != "create"]
    control_plane.kubectl("replace", "-f", "-", input=yaml.safe_dump(less))
    try:
        driver.apply(job_body())
        status = driver.wait_for("job", "a refusal", lambda s: condition(s, "Accepted").get("status") == "False")
        assert condition(status, "Accepted")["reason"] == "PermissionDenied"
        assert 'cannot create resource "jobs"' in condition(status, "Accepted")["message"]
    finally:
        control_plane.kubectl("replace", "-f", "-", input=yaml.safe_dump(role))
    driver.wait_for_phase("job", "Running", timeout=60)


def test_20_the_sentence_of_an_admission_policy_stands_in_the_status(
    operator: Operator, driver: JobDriver, control_plane: ControlPlane
) -> None:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": driver.namespace},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": driver.namespace}},
                "resourceRules": [
                    {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
                ],
            },
            "validations": [{"expression": "false", "message": DENIAL}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": driver.namespace},
        "spec": {"policyName": driver.namespace, "validationActions": ["Deny"]},
    }
    control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([policy, binding]))
    wait_until(
        "the policy",
        lambda: DENIAL in control_plane.run_kubectl(
            "-n", driver.namespace, "create", "job", "probe", "--image=x", "--dry-run=server"
        ).stderr,
    )  # fmt: skip
    driver.apply(job_body())
    status = driver.wait_for("job", "the denial", lambda s: DENIAL in condition(s, "Accepted").get("message", ""))
    assert condition(status, "Accepted")["status"] == "False"
    before = len(writes(driver))
    time.sleep(5)
    assert len(writes(driver)) - before <= 1, "it is not tried again and again"
    control_plane.kubectl("delete", "validatingadmissionpolicybinding", driver.namespace)
    driver.wait_for_phase("job", "Running", timeout=90)


def test_25_what_somebody_writes_into_a_child_is_not_fought_over(operator: Operator, driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    before = len(writes(driver))
    driver.kubectl("annotate", "job/job-1", "service/job", "note=mine")
    driver.kubectl("label", "service/job", "team=ours")
    time.sleep(3)
    assert writes(driver)[before:] == []
    assert driver.get(SERVICE, "job")["metadata"]["labels"]["team"] == "ours"
    finish(driver)


def test_32_of_ten_edits_in_a_second_the_last_one_counts(operator: Operator, driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    before = len(writes(driver))
    for restarts in range(1, 11):
        patch = {"spec": {"runPolicy": {"maxRestarts": restarts}}}
        driver.cluster.request("PATCH", QLORA_JOB.path(driver.namespace, "job"), patch, "application/merge-patch+json")
    generation = driver.get(QLORA_JOB, "job")["metadata"]["generation"]
    driver.wait_for("job", "the last edit", lambda s: s["observedGeneration"] == generation)
    assert {request.resource for request in writes(driver)[before:]} == {"qlorajobs/status"}
    assert len(driver.objects(JOB)) == 1


def test_35_in_a_namespace_that_is_deleted_nothing_is_created_any_more(
    operator: Operator, driver: JobDriver, control_plane: ControlPlane
) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    control_plane.kubectl("delete", "namespace", driver.namespace, "--wait=false")
    wait_until(
        "the end of the namespace",
        lambda: control_plane.run_kubectl("get", "namespace", driver.namespace).returncode != 0,
        timeout=90,
    )
    created = [request for request in writes(driver) if request.verb == "create" and request.resource != "events"]
    assert len([request for request in created if request.code == 201]) == 3
    assert len([request for request in created if request.code != 201]) <= 3


def test_36_children_that_are_orphaned_on_purpose_stay(operator: Operator, driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    driver.kubectl("delete", "qlorajob", "job", "--cascade=orphan")
    time.sleep(3)
    assert [child["metadata"]["name"] for kind in (SERVICE, CONFIG_MAP, JOB) for child in driver.objects(kind)
            if child["metadata"]["name"].startswith("job")] == ["job", "job-1", "job-1"]  # fmt: skip
    assert len(driver.wait_for_pods("job", 2)) == 2
    assert operator.healthy()


def test_40_pods_that_fail_together_make_one_restart(operator: Operator, driver: JobDriver) -> None:
    driver.apply(job_body(nodes=4))
    driver.wait_for_phase("job", "Running")
    began = time.monotonic()
    for pod in driver.wait_for_pods("job", 4):
        driver.end_pod(pod, exit_code=1, message={"outcome": "Failed", "reason": "TrainerFailed", "message": "x"})
    status = driver.wait_for(
        "job", "attempt 2", lambda s: s["phase"] == "Running" and s["attempts"][-1]["number"] == 2, timeout=60
    )
    assert (status["restarts"], status["countedRestarts"]) == (1, 1)
    assert time.monotonic() - began < 60, "the batch Job's own back-off would be minutes"
    warnings = [event for event in driver.objects(EVENT) if event.get("reason") == "TrainerFailed"]
    assert len(warnings) == 1
