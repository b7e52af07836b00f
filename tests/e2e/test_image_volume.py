"""A model that comes as an image: pulled by the nodes, mounted by Kubernetes, downloaded by nobody."""

from __future__ import annotations

import pytest

from support.dev_cluster import RESULTS, VOLUMES, Team, example_job
from support.kubectl import ROOT
from support.oci_image import push_folder

NAME = "model-of-an-image"
MODEL = "SmolLM2-135M-Instruct"


def registry() -> str:
    """The registry from which the nodes pull the trainer's image."""
    lines = (ROOT / ".cluster/images.env").read_text().splitlines()
    images = dict(line.split("=", 1) for line in lines)
    return images["TRAINER_IMAGE"].partition("/")[0]


@pytest.mark.timeout(900)
def test_a_model_of_an_image_is_trained_on(team: Team) -> None:
    image = push_folder(registry(), "models/smollm2", "135m", VOLUMES / "models" / MODEL, f"models/{MODEL}")
    job = example_job(
        NAME,
        model={"source": f"oci://{image}/models/{MODEL}"},
        output={"destination": f"pvc://results/{NAME}"},
    )
    job["spec"]["training"]["maxSteps"] = 3
    team.apply(job)
    team.wait_for_phase(NAME, "Succeeded", timeout=600)
    assert (RESULTS / NAME / "adapter/adapter_model.safetensors").exists()


@pytest.mark.timeout(300)
def test_a_folder_that_the_image_does_not_have_fails_the_job(team: Team) -> None:
    image = push_folder(registry(), "models/nothing", "1", ROOT / "examples/kueue", "models")
    job = example_job("no-model-in-image", model={"source": f"oci://{image}/models/other"})
    job["spec"]["output"] = {"destination": "pvc://results/no-model-in-image"}
    team.apply(job)
    (condition,) = [
        condition
        for condition in team.wait_for_phase("no-model-in-image", "Failed", timeout=240)["conditions"]
        if condition["type"] == "Failed"
    ]
    assert condition["reason"] == "ModelInvalid"
