"""Puts a folder into a registry as an image of one layer, with nothing but the registry's own protocol."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def push_folder(registry: str, name: str, tag: str, folder: Path, inside: str) -> str:
    """Pushes the files of a folder, readable for everybody, as those of a folder of an image.

    Returns:
        The image: `registry/name:tag`.
    """
    base = f"http://{registry}/v2/{name}"
    with tempfile.TemporaryFile() as layer:
        with tarfile.open(fileobj=layer, mode="w", dereference=True) as archive:
            archive.add(folder, inside, filter=_for_everybody)
        layer_blob = _push_blob(base, layer, LAYER)
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer_blob["digest"]]}}
    config_blob = _push_blob(base, io.BytesIO(json.dumps(config).encode()), CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config_blob, "layers": [layer_blob]}
    _send("PUT", f"{base}/manifests/{tag}", json.dumps(manifest).encode(), MANIFEST)
    return f"{registry}/{name}:{tag}"


def _for_everybody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode = 0o755 if entry.isdir() else 0o644
    entry.uid = entry.gid = 0
    return entry


def _push_blob(base: str, content: BinaryIO, media_type: str) -> dict[str, str | int]:
    size = content.seek(0, io.SEEK_END)
    content.seek(0)
    digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    content.seek(0)
    place = urljoin(base, _send("POST", f"{base}/blobs/uploads/", b"").headers["Location"])
    joint = "&" if "?" in place else "?"
    _send("PUT", f"{place}{joint}digest={digest}", content, "application/octet-stream", size)
    return {"mediaType": media_type, "digest": digest, "size": size}


def _send(
    method: str, url: str, body: bytes | BinaryIO, content_type: str = "", size: int | None = None
) -> HTTPResponse:
    headers = {"Content-Type": content_type} if content_type else {}
    length = len(body) if isinstance(body, bytes) else size
    request = urllib.request.Request(url, body, {**headers, "Content-Length": str(length)}, method=method)
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=300)
    answer.close()
    return answer
