"""What of a cluster a command cannot stand for."""

from __future__ import annotations

import pytest

from qlora_api.spec import QLoRAJobSpec
from qlora_cli.check import Refused
from qlora_cli.cluster_fields import check_place
from unit.trainer.pods import spec

STORE = {"endpoint": "http://127.0.0.1:9000", "credentialsSecret": "store"}


def faults(**changes: object) -> list[str]:
    with pytest.raises(Refused) as refused:
        check_place(QLoRAJobSpec.model_validate(spec(**changes)))
    return refused.value.faults


def test_images_and_results_in_a_bucket_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    found = faults(
        model={"source": "oci://host/base:1"}, output={"destination": "s3://bucket/out"}, objectStorage=STORE
    )
    assert [fault.partition(":")[0] for fault in found] == ["oci", "spec.output.destination"]


@pytest.mark.parametrize(
    ("variable", "changes"),
    [
        ("HF_TOKEN", {"model": {"source": "hf://org/base", "tokenSecret": "hub"}}),
        ("HF_PUSH_TOKEN", {"output": {"pushTo": "hf://org/adapter", "tokenSecret": "hub"}}),
        ("AWS_ACCESS_KEY_ID", {"model": {"source": "s3://models/base"}, "objectStorage": STORE}),
    ],
)
def test_a_secret_is_a_variable_here(
    monkeypatch: pytest.MonkeyPatch, variable: str, changes: dict[str, object]
) -> None:
    monkeypatch.delenv(variable, raising=False)
    (fault,) = faults(**changes)
    assert variable in fault
    monkeypatch.setenv(variable, "secret")
    check_place(QLoRAJobSpec.model_validate(spec(**changes)))
