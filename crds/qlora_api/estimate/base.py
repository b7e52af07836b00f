"""What the frozen base takes: the shapes of its weights, and what lies in memory in which form."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, prod

from qlora_api.spec import QLoRAJobSpec

Shapes = Mapping[str, tuple[int, ...]]
"""Name of each weight to its shape, as safetensors headers have it."""

EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "lm_head", "embed_out", "output")
"""Usual names of embeddings and output layers, which are neither quantised nor adapted."""
HEADS = ("lm_head", "embed_out", "output")
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "uint8": 1}
GRAIN = 512
"""The CUDA allocator hands out multiples of so many bytes (c10/cuda/CUDACachingAllocator.cpp, kMinBlockSize)."""
BLOCK, BLOCK_OF_BLOCKS = 64, 256
"""Weights that share a constant, and constants that share one in turn (bitsandbytes, `quantize_4bit`)."""

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class Linear:
    """A linear module, without its name's way to it."""

    module: str
    """Its whole name."""
    outputs: int
    inputs: int

    @property
    def name(self) -> str:
        """Its last name, such as q_proj."""
        return self.module.rpartition(".")[2]

    @property
    def numel(self) -> int:
        """Weights."""
        return self.outputs * self.inputs


@dataclass
class Layer:
    """The weights of one decoder layer."""

    linears: list[Linear] = field(default_factory=list)
    norms: dict[str, int] = field(default_factory=dict)
    """Width of each weight of one dimension that is no bias."""


@dataclass(frozen=True)
class BaseBytes:
    """The base in memory, in bytes."""

    weights: int
    """Of linear modules, quantised or not."""
    constants: int
    """By which the quantised weights are scaled."""
    unquantised: int
    """Embeddings, norms, biases, the output layer."""


def linears(shapes: Shapes) -> list[Linear]:
    """The modules that are quantised and that `all-linear` adapts.

    Experts are left out: transformers holds those of a layer as one tensor of three dimensions.
    """
    return [
        Linear(name.removesuffix(".weight"), *_sides(name, shape))
        for name, shape in shapes.items()
        if len(shape) == 2
        and name.endswith(".weight")
        and name.split(".")[-2] not in EMBEDDINGS
        and ".experts." not in name
    ]


def layers(shapes: Shapes) -> list[Layer]:
    """The decoder layers in their order."""
    found: defaultdict[int, Layer] = defaultdict(Layer)
    for linear in linears(shapes):
        if match := _LAYER.search(linear.module):
            found[int(match[1])].linears.append(linear)
    for name, shape in shapes.items():
        match = _LAYER.search(name)
        if match and len(shape) == 1 and name.endswith(".weight"):
            found[int(match[1])].norms[match[2].removesuffix(".weight")] = shape[0]
    return [found[number] for number in sorted(found)]


def base_bytes(shapes: Shapes, spec: QLoRAJobSpec, is_tied: bool) -> BaseBytes:
    """The base on one device, whole.

    4 bits: half a byte a weight, and for each 64 a constant of 4 bytes; or with double quantisation of one byte, and
    4 bytes for each 256 constants. int8: one byte a weight, and 4 for each output.

    Args:
        shapes: of the weights.
        spec: the job's.
        is_tied: whether the output layer is the embedding, of which there is one copy then.
    """
    quantization, size = spec.quantization, BYTES[spec.compute_dtype]
    quantised = {f"{linear.module}.weight" for linear in linears(shapes)}
    weights = constants = unquantised = 0
    for name, shape in shapes.items():
        numel = prod(shape)
        if name not in quantised:
            is_copy = is_tied and name.split(".")[-2:-1] == ["lm_head"]
            unquantised += 0 if is_copy else rounded(numel * size)
        elif quantization.type == "none":
            weights += rounded(numel * size)
        elif quantization.type == "int8":
            weights += rounded(numel)
            constants += rounded(4 * shape[0])
        else:
            weights += rounded(ceil(numel / 2))
            blocks = ceil(numel / BLOCK)
            if quantization.double_quant is False:
                constants += rounded(4 * blocks)
            else:
                constants += rounded(blocks) + rounded(4 * ceil(blocks / BLOCK_OF_BLOCKS)) + 2 * GRAIN
    return BaseBytes(weights, constants, unquantised)


def has_head(shapes: Shapes) -> bool:
    """Whether the output layer has a weight of its own."""
    return any(name.split(".")[-2:-1] == [head] for name in shapes for head in HEADS)


def rounded(size: float) -> int:
    """A size in bytes as the allocator rounds it up."""
    return ceil(size / GRAIN) * GRAIN


def _sides(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Outputs and inputs. GPT-2 stores its weights turned round (transformers' Conv1D)."""
    is_turned = bool(re.search(r"(^|\.)h\.\d+\.(attn|mlp)\.c_(attn|proj|fc)\.weight$", name))
    return (shape[1], shape[0]) if is_turned else (shape[0], shape[1])
