"""The processor of a vision-language model: it writes an image as tokens, and turns it into what the model reads.

Images go through Pillow whatever else is installed, so that a job sees the same pixels everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from qlora_api.spec import DatasetSpec
from qlora_trainer.fetch.families import Family, family_of
from qlora_trainer.rows.images import decode

_OWN = ("rows", "cols")
"""What image processors return for the processor only, besides what it names itself."""


def load_processor(model: str, dataset: DatasetSpec) -> Any:
    """Reads the processor from the model's folder. It makes no videos, which would need torchvision."""
    family = family_of(Path(model))
    assert family is not None, "called for a vision-language model"
    kind = (
        getattr(transformers, family.processor)
        if family.processor
        else PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(model, local_files_only=True))]
    )
    settings, _ = kind.get_processor_dict(model, local_files_only=True)
    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(model, backend="pil", local_files_only=True),
        "tokenizer": AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False),
    }
    only_images: Any = type(kind.__name__, (kind,), {"get_attributes": classmethod(lambda cls: list(parts))})
    processor = only_images.from_args_and_dict(list(parts.values()), settings)
    template = dataset.chat_template or processor.chat_template or processor.tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    processor.chat_template = processor.tokenizer.chat_template = template
    return processor


def model_inputs(processor: Any, family: Family, ids: torch.Tensor, images: list[bytes]) -> dict[str, torch.Tensor]:
    """What the model reads beside the token ids.

    Args:
        processor: of the model.
        family: of the model.
        ids: int64 of shape (sequences, length).
        images: the files of all images in the sequences, in the order of their tokens.
    """
    inputs: dict[str, torch.Tensor] = {}
    if images:
        inputs |= process(processor, [decode(image) for image in images])
    if family.type_ids:
        inputs[family.type_ids] = torch.tensor(processor.create_mm_token_type_ids(ids.tolist()))
    return inputs


def process(processor: Any, images: list[Any]) -> dict[str, torch.Tensor]:
    """The pixels of images, and what tells the model how they lie."""
    options = getattr(processor, "images_kwargs", {})
    made = processor.image_processor([images], return_tensors="pt", **options)
    left_out = {*_OWN, *processor.unused_input_names}
    return {name: value for name, value in made.items() if name not in left_out}
