"""Says what is at a place where something was expected."""

from __future__ import annotations

from pathlib import Path


def missing(field: str, source: str, path: Path) -> str:
    """A sentence for a path of a volume that does not exist, with what lies beside it."""
    parent = path
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    try:
        there = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    except OSError:
        there = []
    listing = ", ".join(there[:12]) + (", …" if len(there) > 12 else "") if there else "nothing"
    return f"{field} {source}: {path} does not exist; {parent} holds {listing}; write the path from the volume's root"
