"""A job is judged as the API server would judge it: `tests/integration` asks the same of a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import SPEC, job_body
from qlora_api.spec import QLoRAJobSpec
from qlora_cli.check import Refused, check_job, read_job
from support.admission import ACCEPTED, REFUSALS

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").rglob("*.yaml"))


def refusal(body: dict[str, Any], old: dict[str, Any] | None = None) -> str:
    with pytest.raises(Refused) as caught:
        check_job(body, old)
    return "\n".join(caught.value.faults)


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_with_the_api_servers_sentence(case: str) -> None:
    spec, words = REFUSALS[case]
    assert words in refusal(job_body(**spec))


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepts_what_the_api_server_accepts(case: str) -> None:
    dataset = {field: value for field, value in ACCEPTED[case].items() if value is not None}
    assert check_job(job_body(dataset=dataset)).dataset.format == dataset.get("format", "messages")


def test_fills_in_the_same_defaults_as_the_models() -> None:
    assert check_job(job_body()) == QLoRAJobSpec.model_validate(SPEC)


@pytest.mark.parametrize("name", ["a" * 46, "1st", "with.dot"])
def test_refuses_a_name_that_makes_no_host_name(name: str) -> None:
    assert "metadata.name must be at most 45 characters" in refusal(job_body(name))


def test_a_started_job_keeps_its_fields() -> None:
    started = {**job_body(), "status": {"startTime": "2026-01-01T00:00:00Z"}}
    assert "spec.nodes cannot change once the job has started" in refusal(job_body(nodes=4), started)
    assert check_job(job_body(runPolicy={"maxRestarts": 0}), started).run_policy.max_restarts == 0


def test_a_null_is_what_the_default_says_or_no_value() -> None:
    assert check_job(job_body(training={"epochs": None})).training.epochs == 3
    assert "spec.training.maxSteps in body must be of type integer" in refusal(job_body(training={"maxSteps": None}))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("four", 'spec.nodes: Invalid value: "string": spec.nodes in body must be of type integer'),
        (1.5, 'spec.nodes: Invalid value: "number": spec.nodes in body must be of type integer'),
        (True, 'spec.nodes: Invalid value: "boolean": spec.nodes in body must be of type integer'),
    ],
)
def test_refuses_another_type(value: Any, words: str) -> None:
    assert words in refusal(job_body(nodes=value))


def write(folder: Path, text: str) -> Path:
    file = folder / "job.yaml"
    file.write_text(text)
    return file


HEAD = "apiVersion: qlora.dev/v1alpha1\nkind: QLoRAJob\n"


def test_reads_numbers_as_kubectl_does(tmp_path: Path) -> None:
    job = read_job(
        write(tmp_path, HEAD + "spec: {training: {learningRate: 2e-4, warmupRatio: 1.5e-2}, day: 2026-01-01}")
    )
    assert job["spec"]["training"] == {"learningRate": 0.0002, "warmupRatio": 0.015}
    assert job["spec"]["day"] == "2026-01-01"


def test_refuses_a_key_that_stands_twice(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nodes stands twice"):
        read_job(write(tmp_path, HEAD + "spec:\n  nodes: 1\n  nodes: 2\n"))


def test_finds_the_job_among_other_documents(tmp_path: Path) -> None:
    file = write(tmp_path, f"kind: Namespace\n---\n{HEAD}metadata: {{name: a}}\n")
    assert read_job(file)["metadata"] == {"name": "a"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod", "holds none; write one document of kind: QLoRAJob"),
        (f"{HEAD}---\n{HEAD}", "holds 2 of them"),
        ("apiVersion: qlora.dev/v1\nkind: QLoRAJob", "write apiVersion: qlora.dev/v1alpha1"),
        ("a: [", "while parsing"),
    ],
)
def test_refuses_a_file_without_one_job(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        read_job(write(tmp_path, text))


def test_the_examples_are_accepted() -> None:
    jobs = [file for file in EXAMPLES if "kind: QLoRAJob" in file.read_text()]
    assert jobs
    for file in jobs:
        check_job(read_job(file))
