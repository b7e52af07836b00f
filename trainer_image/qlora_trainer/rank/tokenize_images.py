"""A chat with images as token ids: the same as the model's processor makes of it, with what is learned marked."""

from __future__ import annotations

from typing import Any, NamedTuple

from transformers.utils.chat_template_utils import render_jinja_template

from qlora_api.reasons import Reason
from qlora_api.spec import Loss
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.spans import Span, assistant_spans
from qlora_trainer.rank.tokenize import Sequence, tokenize_row
from qlora_trainer.rows.content import Chat, Content, ImageChat, ImageMessage
from qlora_trainer.rows.images import decode

_NOTHING = Sequence([], [])


class ImageSequence(NamedTuple):
    """A row for a model that sees."""

    ids: list[int]
    learned: list[bool]
    images: list[bytes]
    """The files of its images, in the order of their tokens."""
    end: int
    """Where the tokens of the last image end; 0 without one."""

    def cut(self, length: int) -> Sequence:
        """At most `length` tokens, which have all images whole and something to learn; none if there are no such."""
        whole = Sequence(self.ids, self.learned)
        if not self.images:
            return whole.cut(length)
        return Sequence(self.ids[:length], self.learned[:length]) if self.end <= length else _NOTHING


class ImageTokenizer:
    """Tokenises rows by a processor. How an image is written depends on its size alone, and is remembered for it."""

    def __init__(self, processor: Any) -> None:
        self._processor, self._tokenizer = processor, processor.tokenizer
        self._written: dict[tuple[int, int], str] = {}

    def __call__(self, content: Content, loss: Loss, where: str) -> ImageSequence:
        """Tokenises one row.

        Raises:
            TrainerError: DatasetInvalid: an image cannot be read, or a text has what stands for one.
        """
        match content:
            case ImageChat():
                return self._chat(content, loss, where)
            case Chat(messages):
                return self._chat(ImageChat(_in_parts(messages), []), loss, where)
            case _:
                ids, learned = tokenize_row(content, self._tokenizer, loss)
                self._check_places(self._tokenizer.decode(ids), 0, where)
                return ImageSequence(ids, learned, [], 0)

    def _chat(self, content: ImageChat, loss: Loss, where: str) -> ImageSequence:
        text, marked = self._render_with_marks(content.messages)
        self._check_places(text, len(content.images), where)
        spans = [(0, len(text))]
        if loss != "all":
            spans = marked or assistant_spans(content.messages, text, self._render)
        if loss == "completion":
            spans = spans[-1:]
        files = [_read(picture, where) for picture in content.images]
        written = [self._write(file, where) for file in files]
        (expanded,), (places,) = self._processor.get_text_with_replacements([text], written)
        images = [place["new_span"] for place in places]
        learned_spans = [_moved(span, places) for span in spans]
        encoded = self._tokenizer(
            expanded, add_special_tokens=self._adds_special_tokens(text), return_offsets_mapping=True
        )
        offsets = encoded["offset_mapping"]
        learned = [_is_in(span, learned_spans) and not _is_in(span, images) for span in offsets]
        end = max((number + 1 for number, span in enumerate(offsets) if _is_in(span, images)), default=0)
        return ImageSequence(list(encoded["input_ids"]), learned, files, end)

    def _render(self, messages: list[ImageMessage], prompt: bool = False) -> str:
        text: str = self._processor.apply_chat_template(
            _in_parts(messages), tokenize=False, add_generation_prompt=prompt
        )
        return text

    def _render_with_marks(self, messages: list[ImageMessage]) -> tuple[str, list[Span]]:
        """The text, and what the template itself says is the assistant's."""
        template = self._processor.chat_template
        if "{% generation" not in template.replace("{%-", "{%"):
            return self._render(messages), []
        texts, spans = render_jinja_template(
            [messages],
            chat_template=template,
            return_assistant_tokens_mask=True,
            **self._tokenizer.special_tokens_map,
        )
        return texts[0], [(begin, end) for begin, end in spans[0]]

    def _adds_special_tokens(self, text: str) -> bool:
        """As the processor does it, where the template has not begun the text."""
        begin = self._tokenizer.bos_token
        return not (begin is not None and text.startswith(begin))

    def _check_places(self, text: str, images: int, where: str) -> None:
        token = self._processor.image_token
        if text.count(token) != images:
            raise TrainerError(
                Reason.DATASET_INVALID,
                f"{where}: rendered, it has {text.count(token)} times {token}, which stands for an image, and {images} "
                "images; remove it from the texts, or write dataset.chatTemplate",
            )

    def _write(self, file: bytes, where: str) -> str:
        """What the processor puts in an image's place."""
        try:
            image = decode(file)
        except (OSError, SyntaxError) as error:  # Pillow has both for damaged files
            raise TrainerError(
                Reason.DATASET_INVALID, f"{where}: an image is damaged ({error}); copy it again"
            ) from error
        if image.size not in self._written:
            options = getattr(self._processor, "images_kwargs", {})
            made = self._processor.image_processor([[image]], return_tensors="pt", **options)
            self._written[image.size] = self._processor.replace_image_token(made, image_idx=0)
        return self._written[image.size]


def _in_parts(messages: list[Any]) -> list[ImageMessage]:
    """Messages whose contents are lists of parts, as templates of these models want them."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message["content"], str)
        else message
        for message in messages
    ]


def _read(picture: Any, where: str) -> bytes:
    try:
        content: bytes = picture.read()
    except OSError as error:
        raise TrainerError(
            Reason.DATASET_INVALID, f"{where}: image {picture.name}: {error.strerror}; put it back"
        ) from error
    return content


def _moved(span: Span, places: list[dict[str, Any]]) -> Span:
    """A span of the text without tokens of images as one of the text with them. It holds no image."""

    def moved(position: int) -> int:
        return position + sum(
            len(place["replacement"]) - len(place["text"]) for place in places if place["span"][1] <= position
        )

    return moved(span[0]), moved(span[1])


def _is_in(token: tuple[int, int], spans: list[Span]) -> bool:
    """Whether a token begins within a span; special tokens that stand for no text are in none."""
    begin, end = token
    return end > begin and any(first <= begin < last for first, last in spans)
