"""`spec.deepspeed`: what the ranks share, and the user's own configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from qlora_api.base import ApiModel


class DeepSpeedSpec(ApiModel):
    """What DeepSpeed shares out among the ranks."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 1
    """0: nothing is shared out; 1: the optimizer's state; 2: the gradients too; 3: the base's weights too, for a base
    that does not fit on one device: each layer is sent through the network whenever it is used."""
    offload_optimizer: Literal["none", "cpu"] = "none"
    """Where the optimizer's state lies and is computed. cpu: in the memory of the host."""
    offload_parameters: Literal["none", "cpu"] = "none"
    """Where the base's weights lie while they are not used, with zeroStage 3. cpu: in the memory of the host."""
    communication_dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Data type in which gradients travel between the ranks; they are float32 before and after. bfloat16: half as many
    bytes, and sums rounded to 8 bits. auto: bfloat16 where adding up the adapter's gradients takes longer than 0.1 s,
    which the ranks measure when they start."""
    config: Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] = {}
    """DeepSpeed's own configuration, such as a config.json. What it shares with the job must be the same or `auto`;
    where the job has left a default, the configuration's value counts."""
