"""`spec.output`: where the results go."""

from __future__ import annotations

from pydantic import ConfigDict

from qlora_api.base import ApiModel, rules
from qlora_api.spec.texts import DestinationText, ObjectName, RepositoryText


class OutputSpec(ApiModel):
    """Where the results go."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                r"!self.destination.matches('/\\.\\.(/|$)')",
                "destination must not contain '..'; write the path from the volume's root",
            ),
            (
                "has(self.pushTo) == has(self.tokenSecret)",
                "pushTo and tokenSecret belong together; write both, or neither",
            ),
        )
    )

    destination: DestinationText
    """Folder for the adapter, checkpoints and logs: pvc://claim/path, writable from every node, or s3://bucket/prefix
    in a store with conditional writes. What another job has left there is moved to previous/ in it."""
    push_to: RepositoryText | None = None
    """Model repository of the hub to which the adapter is uploaded as well when the job ends: hf://organisation/name.
    It is made, private, unless it is there."""
    token_secret: ObjectName | None = None
    """Secret of this namespace whose key `token` may write to pushTo."""
    merge: bool = False
    """Write the base with the adapter merged into it too, as merged/: bfloat16 safetensors that need no PEFT. It takes
    the size of the base in bfloat16 there."""
