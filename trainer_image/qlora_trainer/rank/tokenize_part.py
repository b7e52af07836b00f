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
from qlora_trainer.rank.tokenize_images import ImageSequence, ImageTokenizer
from qlora_trainer.rank.tokenizer import is_processor
from qlora_trainer.rows.content import ImageChat, Row, Text


def tokenize_part(
    rows: Iterable[Row], source: str, loss: Loss, length: int, tokenizer: Any, writer: TokenWriter
) -> int:
    """Writes rows as documents of at most `length` tokens. Left out are rows that have nothing to learn, and those
    whose images do not fit.

    Args:
        rows: of the part.
        source: where they come from.
        loss: what is learned.
        length: tokens of a document at most.
        tokenizer: of the model; the processor of one that sees.
        writer: takes the documents.

    Returns:
        How many were left out.

    Raises:
        TrainerError: DatasetInvalid: a row cannot be used.
    """
    used = dropped = cut = tokens = learned = without_image = 0
    sees = ImageTokenizer(tokenizer) if is_processor(tokenizer) else None
    for row in rows:
        whole = _tokenized(row, sees or tokenizer, loss)
        images = whole.images if isinstance(whole, ImageSequence) else None
        kept = [piece for piece in _documents(row, whole, length) if piece.targets]
        used += bool(kept)
        dropped += not kept
        cut += bool(kept) and len(whole.ids) > length
        without_image += isinstance(whole, ImageSequence) and whole.end > length
        for document in kept:
            writer.append(document.ids, document.learned, images)
            tokens += len(document.ids)
            learned += document.targets
    more = {} if sees is None else {"images_cut": without_image}
    log.event("tokenized", source=source, rows=used, tokens=tokens, learned=learned, cut=cut, dropped=dropped, **more)
    return dropped


def _documents(row: Row, whole: Sequence | ImageSequence, length: int) -> Iterator[Sequence]:
    """A text in pieces, anything else cut to the length."""
    if isinstance(row.content, Text):
        yield from Sequence(whole.ids, whole.learned).pieces(length)
    else:
        yield whole.cut(length)


def _tokenized(row: Row, tokenizer: Any, loss: Loss) -> Sequence | ImageSequence:
    try:
        if isinstance(tokenizer, ImageTokenizer):
            return tokenizer(row.content, loss, row.where)
        assert not isinstance(row.content, ImageChat), "only read for a model that sees"
        return tokenize_row(row.content, tokenizer, loss)
    except TemplateError as error:
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"{row.where}: the chat template refuses it ({error}); correct the row, or write dataset.chatTemplate",
        ) from error
