"""`spec.model`: the base."""

from __future__ import annotations

from pydantic import ConfigDict

from qlora_api.base import ApiModel, rules
from qlora_api.spec.texts import NO_CLIMBING, ObjectName, Revision, SourceText


class ModelSpec(ApiModel):
    """The base model whose weights are quantised and stay frozen."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            NO_CLIMBING,
            (
                "!has(self.revision) || self.source.startsWith('hf://')",
                "revision is for hf:// sources; remove it, or write source: hf://organisation/name",
            ),
            (
                "!has(self.tokenSecret) || self.source.startsWith('hf://')",
                "tokenSecret is for hf:// sources; remove it, or write source: hf://organisation/name",
            ),
        )
    )

    source: SourceText
    """Folder with config.json, a tokenizer and safetensors: pvc://claim/path, hf://organisation/name,
    s3://bucket/prefix, or a folder of an image, oci://registry/name:tag/path, which needs Kubernetes 1.35."""
    revision: Revision | None = None
    """Commit of an hf:// source, 40 hexadecimal digits. Without it each pod takes the newest when it starts."""
    token_secret: ObjectName | None = None
    """Secret of this namespace whose key `token` opens a gated hf:// source."""
