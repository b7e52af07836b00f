"""What the API server makes of pods whose sources are not claims."""

from __future__ import annotations

from typing import Any

import pytest

from builders import job_body
from qlora_operator.views import JOB
from support.jobs import JobDriver

pytestmark = pytest.mark.usefixtures("operator")


def pod_spec(driver: JobDriver, **spec: Any) -> dict[str, Any]:
    """The pods of a job that runs, as the API server keeps them."""
    driver.apply(job_body(**spec))
    driver.wait_for_phase("job", "Running")
    kept: dict[str, Any] = driver.get(JOB, "job-1")["spec"]["template"]["spec"]
    return kept


def test_an_image_is_mounted_read_only(driver: JobDriver) -> None:
    pod = pod_spec(driver, model={"source": "oci://registry.example:5000/models/tiny:1.0/llama"})
    (volume,) = [volume for volume in pod["volumes"] if "image" in volume]
    assert volume["image"]["reference"] == "registry.example:5000/models/tiny:1.0"
    for container in (*pod["initContainers"], *pod["containers"]):
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
        assert (mount["mountPath"], mount["readOnly"]) == ("/images/registry.example+5000/models/tiny+1.0", True)


def test_a_job_in_object_storage_needs_no_volume(driver: JobDriver) -> None:
    pod = pod_spec(
        driver,
        model={"source": "s3://models/tiny"},
        dataset={"source": "s3://data/train.jsonl"},
        output={"destination": "s3://results/out"},
        objectStorage={"endpoint": "https://store.example", "credentialsSecret": "store"},
    )
    assert not [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    variables = {variable["name"]: variable.get("valueFrom") for variable in pod["containers"][0]["env"]}
    reference = variables["AWS_ACCESS_KEY_ID"]["secretKeyRef"]
    assert (reference["name"], reference["key"]) == ("store", "AWS_ACCESS_KEY_ID")
