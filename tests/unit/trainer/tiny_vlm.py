"""Vision-language models of several families that train in milliseconds: their real architectures and processors,
random weights, and the tokenizer of single bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from unit.trainer.tiny_model import make_tokenizer

SIDE = 28
"""Pixels of an image's side."""
VLM_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ IMAGE }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 14,
}


def save_vlm(folder: Path, family: str = "llava") -> None:
    """Saves model and processor of a family."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    config, save_processor = _FAMILIES[family]
    tokenizer = _tokenizer(family)
    torch.manual_seed(0)
    built = AutoConfig.for_model(family, **config(tokenizer))
    model = AutoModelForImageTextToText.from_config(built, dtype=torch.float32)
    if not built.tie_word_embeddings:  # else the logits of random weights, which are frozen, are all about the same
        model.lm_head.weight.data *= 10
    model.save_pretrained(folder)
    save_processor(folder, tokenizer)


def _tokenizer(family: str) -> Any:
    image = {"gemma3": "<start_of_image>"}.get(family, "<image>")
    if family.startswith("qwen"):
        image = "<|vision_start|><|image_pad|><|vision_end|>"
    tokenizer = make_tokenizer(VLM_CHATML.replace("IMAGE", repr(image)))
    if family.startswith("qwen"):
        names = {"extra": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]}
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *names["extra"]]})
    elif family == "gemma3":
        names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *names.values()]})
        tokenizer.init_kwargs["extra_special_tokens"] = names
        tokenizer._set_model_specific_special_tokens(special_tokens=names)
    elif family in ("idefics3", "smolvlm"):
        extra = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<row_1_col_1>"]
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *extra]})
    else:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<image>"]})
    return tokenizer


def _of(tokenizer: Any, token: str) -> int:
    number: int = tokenizer.convert_tokens_to_ids(token)
    return number


def _llava(tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "llama", "vocab_size": len(tokenizer), **_TEXT},
        "vision_config": {"model_type": "clip_vision_model", "projection_dim": 32, **_VISION},
        "image_token_index": _of(tokenizer, "<image>"),
        "image_seq_length": 4,
    }


def _save_llava(folder: Path, tokenizer: Any) -> None:
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)


def _idefics3(tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0, **_TEXT},
        "vision_config": {**_VISION, "image_size": 2 * SIDE},
        "image_token_id": _of(tokenizer, "<image>"),
        "scale_factor": 2,
        "pad_token_id": 0,
    }


def _save_idefics3(folder: Path, tokenizer: Any) -> None:
    from transformers import Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    edge = {"longest_edge": 2 * SIDE}
    images = Idefics3ImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template)
    processor.save_pretrained(folder)


def _qwen(tokenizer: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    return {
        "text_config": {"vocab_size": len(tokenizer), "rope_parameters": rope, **_TEXT},
        "vision_config": {
            "depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        "image_token_id": _of(tokenizer, "<|image_pad|>"),
        "video_token_id": _of(tokenizer, "<|video_pad|>"),
        "vision_start_token_id": _of(tokenizer, "<|vision_start|>"),
        "vision_end_token_id": _of(tokenizer, "<|vision_end|>"),
    }  # fmt: skip


def _qwen2_5(tokenizer: Any) -> dict[str, Any]:
    vision = {
        "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 64, "num_heads": 2,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56,
        "fullatt_block_indexes": [1],
    }  # fmt: skip
    return {**_qwen(tokenizer), "vision_config": vision}


def _qwen3(tokenizer: Any) -> dict[str, Any]:
    config = _qwen(tokenizer)
    vision = {
        "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 64, "num_heads": 2,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }  # fmt: skip
    return {**config, "text_config": {**config["text_config"], "head_dim": 16}, "vision_config": vision}


def _save_qwen(folder: Path, tokenizer: Any) -> None:
    """As Qwen's own folders are: a preprocessor_config.json, and the template with the tokenizer."""
    import json

    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    size = {"shortest_edge": SIDE * SIDE, "longest_edge": 4 * SIDE * SIDE}
    Qwen2VLImageProcessorPil(size=size, patch_size=14).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    family = json.loads((folder / "config.json").read_text())["architectures"][0].removesuffix(
        "ForConditionalGeneration"
    )
    file.write_text(json.dumps({**json.loads(file.read_text()), "processor_class": f"{family}Processor"}))


def _gemma3(tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": {"vocab_size": len(tokenizer), "head_dim": 16, "sliding_window": 64, **_TEXT},
        "vision_config": {"model_type": "siglip_vision_model", **_VISION, "vision_use_head": False},
        "image_token_index": _of(tokenizer, "<image_soft_token>"),
        "boi_token_index": _of(tokenizer, "<start_of_image>"),
        "eoi_token_index": _of(tokenizer, "<end_of_image>"),
        "mm_tokens_per_image": 4,
    }


def _save_gemma3(folder: Path, tokenizer: Any) -> None:
    from transformers import Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    images = Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE})
    processor = Gemma3Processor(images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=4)
    processor.save_pretrained(folder)


_FAMILIES: dict[str, tuple[Callable[[Any], dict[str, Any]], Callable[[Path, Any], None]]] = {
    "llava": (_llava, _save_llava),
    "idefics3": (_idefics3, _save_idefics3),
    "smolvlm": (_idefics3, _save_idefics3),
    "qwen2_vl": (_qwen, _save_qwen),
    "qwen2_5_vl": (_qwen2_5, _save_qwen),
    "qwen3_vl": (_qwen3, _save_qwen),
    "gemma3": (_gemma3, _save_gemma3),
}
FAMILIES = tuple(_FAMILIES)
