"""Which rows of a dataset are held out for evaluation: decided row by row, from the seed and what the row says.

So the choice depends neither on the order of rows and files nor on what other rows there are, and equal rows are on one
side: a row that is learned is never also among those that are to show what was learned.
"""

from __future__ import annotations

import json
from hashlib import blake2b

from qlora_trainer.rows.content import Content


def is_held_out(content: Content, fraction: float, seed: int) -> bool:
    """Whether the row is among a fraction of all that differ."""
    text = json.dumps(vars(content), sort_keys=True, default=lambda picture: picture.identity)
    digest = blake2b(text.encode(), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64
