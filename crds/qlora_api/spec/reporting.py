"""`spec.reporting`: servers that are told of the training, besides the files in the output."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from qlora_api.base import ApiModel, matching
from qlora_api.spec.texts import ObjectName

ServerAddress = Annotated[
    str, matching(r"^https?://[^\s]+$", "write an address such as https://mlflow.example.org", 512)
]
ShownName = Annotated[str, Field(min_length=1, max_length=256)]


class MLflowSpec(ApiModel):
    """A run of an MLflow tracking server. The trainer image must have the Python package mlflow-skinny."""

    tracking_uri: ServerAddress
    """Address of the server."""
    experiment: ShownName = "qlora"
    """Experiment that the run belongs to; it is made if there is none."""
    token_secret: ObjectName | None = None
    """Secret whose key token the server asks for. Default: none."""


class WandbSpec(ApiModel):
    """A run of Weights & Biases. The trainer image must have the Python package wandb."""

    project: ShownName
    """Project that the run belongs to."""
    entity: ShownName | None = None
    """User or team that the project belongs to. Default: the token's own."""
    base_url: ServerAddress | None = None
    """Address of a server of one's own. Default: the public one."""
    token_secret: ObjectName
    """Secret whose key token is the API key."""


class ReportingSpec(ApiModel):
    """Servers that are told the figures of each step and evaluation. A server that does not answer holds up no step."""

    mlflow: MLflowSpec | None = None
    """MLflow. Default: not told."""
    wandb: WandbSpec | None = None
    """Weights & Biases. Default: not told."""
