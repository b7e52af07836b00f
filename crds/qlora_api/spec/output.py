"""`spec.output`: where the results go."""

from __future__ import annotations

from pydantic import ConfigDict

from qlora_api.base import ApiModel, rules
from qlora_api.spec.texts import DestinationText


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

    destination: DestinationText
    """Folder for the adapter, checkpoints and logs: pvc://claim/path, writable from every node, or s3://bucket/prefix
    in a store with conditional writes. What another job has left there is moved to previous/ in it."""
