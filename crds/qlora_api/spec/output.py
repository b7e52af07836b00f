"""`spec.output`: where the results go."""

from __future__ import annotations

from pydantic import ConfigDict

from qlora_api.base import ApiModel, rules
from qlora_api.spec.texts import PvcText


class OutputSpec(ApiModel):
    """Where the results go."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                r"!self.destination.matches('/\\.\\.(/|$)')",
                "destination must not contain '..'; write the path from the volume's root",
            ),
        )
    )

    destination: PvcText
    """Folder for the adapter, checkpoints and logs: pvc://claim/path. It must be writable from every node. What another
    job has left there is moved to previous/ in it."""
    merge: bool = False
    """Write the base with the adapter merged into it too, as merged/: bfloat16 safetensors that need no PEFT. It takes
    the size of the base in bfloat16 on the volume."""
