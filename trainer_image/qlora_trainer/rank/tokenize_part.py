"""One part of a dataset, from rows to tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import TemplateError

from qlora_api.reasons import Reason
from qlora_api.spec import Loss
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.store import TokenWriter
from qlora_trainer.rank.tokenize import Sequence, tokenize_row
from qlora_trainer.rows.content import Row, Text


def tokenize_part(
    rows: Iterable[Row], source: str, loss: Loss, length: int, tokenizer: Any, writer: TokenWriter
) -> int:
    """Writes rows as documents of at most `length` tokens. Rows that have nothing to learn are left out.

    Returns:
        How many were left out.

    Raises:
        TrainerError: DatasetInvalid: a row cannot be used.
    """
    used = dropped = cut = tokens = learned = 0
    for row in rows:
        whole = _tokenized(row, tokenizer, loss)
        kept = [piece for piece in _documents(row, whole, length) if piece.targets]
        used += bool(kept)
        dropped += not kept
        cut += bool(kept) and len(whole.ids) > length
        for document in kept:
            writer.append(document.ids, document.learned)
            tokens += len(document.ids)
            learned += document.targets
    log.event("tokenized", source=source, rows=used, tokens=tokens, learned=learned, cut=cut, dropped=dropped)
    return dropped


def _documents(row: Row, whole: Sequence, length: int) -> Iterator[Sequence]:
    """A text in pieces, anything else cut to the length."""
    if isinstance(row.content, Text):
        yield from whole.pieces(length)
    else:
        yield whole.cut(length)


def _tokenized(row: Row, tokenizer: Any, loss: Loss) -> Sequence:
    try:
        return tokenize_row(row.content, tokenizer, loss)
    except TemplateError as error:
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"{row.where}: the chat template refuses it ({error}); correct the row, or write dataset.chatTemplate",
        ) from error
