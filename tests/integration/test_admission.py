"""What `kubectl apply` refuses, and with which words."""

from __future__ import annotations

import pytest

from builders import job_body
from qlora_operator.views import QLORA_JOB
from support.admission import ACCEPTED, REFUSALS
from support.control_plane import ControlPlane
from support.jobs import JobDriver


@pytest.mark.parametrize("case", REFUSALS)
def test_apply_refuses_with_a_sentence(driver: JobDriver, case: str) -> None:
    spec, words = REFUSALS[case]
    result = driver.try_apply(job_body(**spec))
    assert result.returncode != 0
    assert words in result.stderr


def test_a_deepspeed_configuration_is_kept_as_it_is(driver: JobDriver) -> None:
    config = {"zero_optimization": {"stage": 2, "reduce_bucket_size": 5e8}, "train_batch_size": "auto"}
    driver.apply(job_body(deepspeed={"config": config}))
    assert driver.get(QLORA_JOB, "job")["spec"]["deepspeed"]["config"] == config


@pytest.mark.parametrize("case", ACCEPTED)
def test_apply_accepts(driver: JobDriver, case: str) -> None:
    dataset = {field: value for field, value in ACCEPTED[case].items() if value is not None}
    driver.apply(job_body(dataset=dataset))


@pytest.mark.parametrize("name", ["a" * 46, "1st", "with.dot"])
def test_apply_refuses_a_name_that_makes_no_host_name(driver: JobDriver, name: str) -> None:
    assert "metadata.name must be at most 45 characters" in driver.try_apply(job_body(name)).stderr


@pytest.mark.usefixtures("operator")
def test_a_started_job_keeps_its_fields(driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    result = driver.try_apply(job_body(nodes=4))
    assert "spec.nodes cannot change once the job has started; delete the job and create it again" in result.stderr
    result = driver.try_apply(job_body(training={"epochs": 9}))
    assert "spec.training cannot change once the job has started" in result.stderr
    result = driver.try_apply(job_body(deepspeed={"config": {"wall_clock_breakdown": True}}))
    assert "spec.deepspeed cannot change once the job has started" in result.stderr
    result = driver.try_apply(job_body(queueName="team-a"))
    assert "spec.queueName cannot change while pods run; set runPolicy.suspend: true" in result.stderr


def test_explain_names_unit_and_default(control_plane: ControlPlane) -> None:
    text = " ".join(control_plane.kubectl("explain", "qlorajob.spec.training").split())
    assert "Sequences of one optimizer step, over all nodes" in text
    assert "Default: 16." in text
