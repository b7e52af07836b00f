"""What `kubectl apply` refuses, and with which words."""

from __future__ import annotations

from typing import Any

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


def test_apply_accepts_object_storage(driver: JobDriver) -> None:
    driver.apply(
        job_body(
            model={"source": "s3://models/tiny/"},
            dataset={"mix": [{"source": "s3://data"}, {"source": "s3://results/a.jsonl"}]},
            output={"destination": "s3://results/out"},
            objectStorage={"endpoint": "http://minio.storage:9000", "credentialsSecret": "store"},
        )
    )


EVALUATIONS: dict[str, dict[str, Any]] = {
    "a fraction": {"fraction": 0.02},
    "rows of their own": {
        "source": "hf://org/held-out",
        "files": "validation.jsonl",
        "format": "instruction",
        "columns": {"instruction": "task"},
        "everySteps": 10,
        "samples": {"prompts": ["Hello"], "rows": 3, "maxNewTokens": 64},
        "export": "best",
        "earlyStopping": {"minDelta": 0.01},
    },
}


@pytest.mark.parametrize("case", EVALUATIONS)
def test_apply_accepts_an_evaluation(driver: JobDriver, case: str) -> None:
    driver.apply(job_body(evaluation=EVALUATIONS[case]))
    stored = driver.get(QLORA_JOB, "job")["spec"]["evaluation"]
    assert stored["samples"]["maxNewTokens"] == EVALUATIONS[case].get("samples", {}).get("maxNewTokens", 128)


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
    result = driver.try_apply(job_body(evaluation={"fraction": 0.1}))
    assert "spec.evaluation cannot change once the job has started" in result.stderr
    result = driver.try_apply(job_body(deepspeed={"config": {"wall_clock_breakdown": True}}))
    assert "spec.deepspeed cannot change once the job has started" in result.stderr
    result = driver.try_apply(job_body(queueName="team-a"))
    assert "spec.queueName cannot change while pods run; set runPolicy.suspend: true" in result.stderr


def test_explain_names_unit_and_default(control_plane: ControlPlane) -> None:
    text = " ".join(control_plane.kubectl("explain", "qlorajob.spec.training").split())
    assert "Sequences of one optimizer step, over all nodes" in text
    assert "Default: 16." in text
