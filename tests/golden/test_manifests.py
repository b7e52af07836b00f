"""Spec in, manifests out. After a wanted change: `UPDATE_GOLDEN=1 pytest tests/golden`, and read the difference."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qlora_api.job import MUTABLE_FIELDS
from qlora_api.job_file import JobFile
from qlora_api.sources import parse
from qlora_api.spec import QLoRAJobSpec
from qlora_operator.builders import AttemptSpec, PodDefaults, children

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/input.yaml"))
DEFAULTS = PodDefaults(image="qlora-trainer:0.1.0", image_pull_policy="IfNotPresent", termination_grace_period=60)


class ReadableDumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


ReadableDumper.add_representer(str, _text)


def attempt(case: Path) -> AttemptSpec:
    body = yaml.safe_load((case / "input.yaml").read_text())
    metadata = body["metadata"]
    spec = QLoRAJobSpec.model_validate(body["spec"])
    return AttemptSpec(metadata["namespace"], metadata["name"], metadata["uid"], 1, spec, DEFAULTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_manifests_are_as_recorded(case: Path) -> None:
    text = yaml.dump_all(children(attempt(case)), Dumper=ReadableDumper, sort_keys=False, width=120)
    golden = case / "output.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_pods_fit_the_restricted_pod_security_standard(case: Path) -> None:
    """The fields that https://kubernetes.io/docs/concepts/security/pod-security-standards names for it."""
    pod = children(attempt(case))[-1]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] != 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
        "image",
    }
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_job_file_reads_back_as_it_was_written_but_for_what_can_change(case: Path) -> None:
    config_map = children(attempt(case))[1]
    written = attempt(case).job_file().to_json()
    written["spec"] = {field: value for field, value in written["spec"].items() if field not in MUTABLE_FIELDS}
    assert JobFile.model_validate(json.loads(config_map["data"]["job.json"])) == JobFile.model_validate(written)
    assert config_map["data"]["hostfile"].count("\n") == attempt(case).spec.nodes


def test_only_the_container_that_downloads_sees_the_token() -> None:
    pod = children(attempt(Path(__file__).parent / "eight-gpus-a-node"))[-1]["spec"]["template"]["spec"]
    assert "HF_TOKEN" in json.dumps(pod["initContainers"])
    assert "HF_TOKEN" not in json.dumps(pod["containers"])


def test_only_the_container_that_downloads_sees_the_credentials_of_the_store() -> None:
    pod = children(attempt(Path(__file__).parent / "object-storage"))[-1]["spec"]["template"]["spec"]
    assert "AWS_SECRET_ACCESS_KEY" in json.dumps(pod["initContainers"])
    assert "AWS_" not in json.dumps(pod["containers"])


def test_the_container_that_uploads_sees_the_credentials_too() -> None:
    pod = children(attempt(Path(__file__).parent / "output-to-object-storage"))[-1]["spec"]["template"]["spec"]
    assert "AWS_SECRET_ACCESS_KEY" in json.dumps(pod["containers"])
    assert "HF_PUSH_TOKEN" in json.dumps(pod["containers"])
    assert not any("persistentVolumeClaim" in volume for volume in pod["volumes"])


def test_only_the_container_that_reports_sees_the_token_for_it() -> None:
    pod = children(attempt(Path(__file__).parent / "in-a-queue"))[-1]["spec"]["template"]["spec"]
    assert "WANDB_API_KEY" in json.dumps(pod["containers"])
    assert "WANDB_API_KEY" not in json.dumps(pod["initContainers"])
    assert "MLFLOW_TRACKING_TOKEN" not in json.dumps(pod), "this server asks for none"


def test_pull_secrets_of_the_operators_settings_reach_the_pods() -> None:
    spec = attempt(Path(__file__).parent / "two-cpu-nodes")
    assert "imagePullSecrets" not in children(spec)[-1]["spec"]["template"]["spec"]
    defaults = replace(DEFAULTS, image_pull_secrets=("registry", "mirror"))
    pod = children(replace(spec, defaults=defaults))[-1]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]


def test_a_volume_that_is_only_read_is_mounted_read_only() -> None:
    pod = children(attempt(Path(__file__).parent / "two-cpu-nodes"))[-1]["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in pod["containers"][0]["volumeMounts"]}
    assert (mounts["/volumes/models"], mounts["/volumes/data"], mounts["/volumes/results"]) == (True, True, False)


def test_an_image_is_mounted_once_and_where_the_trainer_looks_for_it() -> None:
    spec = attempt(Path(__file__).parent / "model-of-an-image")
    pod = children(spec)[-1]["spec"]["template"]["spec"]
    assert len([volume for volume in pod["volumes"] if "image" in volume]) == 2
    for container in (pod["initContainers"][0], pod["containers"][0]):
        mounts = [
            mount["mountPath"] for mount in container["volumeMounts"] if mount["mountPath"].startswith("/images/")
        ]
        assert not any(":" in mount for mount in mounts), "Kubernetes refuses a colon"
        for source in (spec.spec.model.source, *(part.source for part in spec.spec.dataset.parts)):
            assert any(parse(source).mounted_path.is_relative_to(mount) for mount in mounts)


def test_the_volumes_of_all_datasets_and_of_the_held_out_rows_are_mounted() -> None:
    pod = children(attempt(Path(__file__).parent / "mixed-datasets"))[-1]["spec"]["template"]["spec"]
    mounts = {mount["mountPath"] for mount in pod["initContainers"][0]["volumeMounts"]}
    expected = {"/volumes/models", "/volumes/data", "/volumes/books", "/volumes/held-out", "/volumes/results"}
    assert expected <= mounts


def test_pods_find_each_other_before_any_of_them_is_ready() -> None:
    service = children(attempt(Path(__file__).parent / "two-cpu-nodes"))[0]
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["clusterIP"] == "None"


def test_no_pod_of_an_older_attempt_answers_to_the_name_of_a_newer_one() -> None:
    first = attempt(Path(__file__).parent / "two-cpu-nodes")
    second = replace(first, attempt=2)
    assert set(first.job_file().hosts).isdisjoint(second.job_file().hosts)
