"""Triton kernels of what is no matrix product. Imported only where there is a GPU, or Triton's interpreter.

Each reads its inputs once, computes in float32 and writes the type of its output. Rows are 64-bit, since a tensor of
tokens x vocabulary has more elements than 32 bits count.
"""

import triton
import triton.language as tl


@triton.jit
def dequantise_nf4(
    words,
    constants,
    code,
    outer,
    outer_code,
    offset,
    out,
    number,
    IS_NESTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Weights from words of 8 in 32 bits, the earlier weight in the high half of each byte.

    A block of 64 weights (8 words) has a constant. Nested, it is itself quantised: one byte that stands for an entry of
    `outer_code`, in blocks of 256 that share an entry of `outer`, and `offset` added to all.
    """
    word = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = word < number
    packed = tl.load(words + word, mask=mask, other=0)
    block = word // 8
    if IS_NESTED:
        entry = tl.load(constants + block, mask=mask, other=0).to(tl.int32)
        scale = tl.load(outer_code + entry) * tl.load(outer + block // 256, mask=mask, other=0.0) + tl.load(offset)
    else:
        scale = tl.load(constants + block, mask=mask, other=0.0)
    place = tl.arange(0, 8)
    shift = (place // 2) * 8 + (1 - place % 2) * 4
    entry = (packed[:, None] >> shift[None, :]) & 0xF
    value = tl.load(code + entry) * scale[:, None]
    tl.store(out + word[:, None] * 8 + place[None, :], value.to(out.dtype.element_ty), mask=mask[:, None])


@triton.jit
def gate_forward(both, out, width, stride, IS_GELU: tl.constexpr, BLOCK: tl.constexpr):
    """act(gate) * up, of rows [gate | up]."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < width
    gate = tl.load(both + row * stride + column, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(both + row * stride + width + column, mask=mask, other=0.0).to(tl.float32)
    if IS_GELU:
        active = gate * tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
    else:
        active = gate * tl.sigmoid(gate)
    tl.store(out + row * width + column, (active * up).to(out.dtype.element_ty), mask=mask)


@triton.jit
def gate_backward(both, gradient, out, width, stride, IS_GELU: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of [gate | up]. GELU by tanh is gate * sigmoid(2 u), u its inner cubic."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < width
    gate = tl.load(both + row * stride + column, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(both + row * stride + width + column, mask=mask, other=0.0).to(tl.float32)
    given = tl.load(gradient + row * width + column, mask=mask, other=0.0).to(tl.float32)
    if IS_GELU:
        part = tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
        slope = part + gate * part * (1 - part) * 1.5957691216057308 * (1 + 0.134145 * gate * gate)
    else:
        part = tl.sigmoid(gate)
        slope = part * (1 + gate * (1 - part))
    own = out + row * 2 * width
    tl.store(own + width + column, (given * gate * part).to(out.dtype.element_ty), mask=mask)
    tl.store(own + column, (given * up * slope).to(out.dtype.element_ty), mask=mask)


@triton.jit
def norm_forward(values, weight, out, inverse, width, epsilon, one, BLOCK: tl.constexpr):
    """RMSNorm of rows, times `one` + weight; keeps the inverse root mean square of each row."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    mask = column < width
    value = tl.load(values + row * width + column, mask=mask, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(value * value, 0) / width + epsilon)
    tl.store(inverse + row, scale)
    factor = tl.load(weight + column, mask=mask, other=0.0).to(tl.float32) + one
    tl.store(out + row * width + column, (value * scale * factor).to(out.dtype.element_ty), mask=mask)


@triton.jit
def norm_backward(gradient, values, weight, inverse, out, width, one, BLOCK: tl.constexpr):
    """The gradient of RMSNorm's input; its weight is frozen."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    mask = column < width
    factor = tl.load(weight + column, mask=mask, other=0.0).to(tl.float32) + one
    given = tl.load(gradient + row * width + column, mask=mask, other=0.0).to(tl.float32) * factor
    value = tl.load(values + row * width + column, mask=mask, other=0.0).to(tl.float32)
    scale = tl.load(inverse + row)
    mean = tl.sum(given * value, 0) / width * scale * scale
    tl.store(out + row * width + column, ((given - value * mean) * scale).to(out.dtype.element_ty), mask=mask)


@triton.jit
def turn(values, cosine, sine, out, heads, of_token, of_head, sign, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Rotary positions of one head of one token, forwards with `sign` 1 and backwards with -1."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    column = tl.arange(0, BLOCK)
    half = WIDTH // 2
    mask = column < half
    begin = values + token * of_token + head * of_head
    left = tl.load(begin + column, mask=mask, other=0.0).to(tl.float32)
    right = tl.load(begin + half + column, mask=mask, other=0.0).to(tl.float32)
    cos = tl.load(cosine + token * WIDTH + column, mask=mask, other=0.0).to(tl.float32)
    sin = tl.load(sine + token * WIDTH + column, mask=mask, other=0.0).to(tl.float32) * sign
    end = out + (token * heads + head) * WIDTH
    tl.store(end + column, (left * cos - right * sin).to(out.dtype.element_ty), mask=mask)
    tl.store(end + half + column, (right * cos + left * sin).to(out.dtype.element_ty), mask=mask)


@triton.jit
def likelihood(logits, labels, losses, stride, scale, cap, size, IS_CAPPED: tl.constexpr, BLOCK: tl.constexpr):
    """Of each row of logits the negative log-likelihood of its label; the logits become its gradient.

    Before, they are multiplied by `scale` and, capped, become cap * tanh(logit / cap).
    """
    row = tl.program_id(0).to(tl.int64)
    begin = logits + row * stride
    label = tl.load(labels + row)
    own = tl.load(begin + label).to(tl.float32) * scale  # before any thread writes, which follows the sums below
    if IS_CAPPED:
        own = cap * (2 * tl.sigmoid(2 * own / cap) - 1)
    column = tl.arange(0, BLOCK)
    highest = tl.full((BLOCK,), -1e30, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, size, BLOCK):
        mask = first + column < size
        value = tl.load(begin + first + column, mask=mask, other=0.0).to(tl.float32) * scale
        if IS_CAPPED:
            value = cap * (2 * tl.sigmoid(2 * value / cap) - 1)
        value = tl.where(mask, value, -1e30)
        higher = tl.maximum(highest, value)
        total = total * tl.exp(highest - higher) + tl.exp(value - higher)
        highest = higher
    top = tl.max(highest, 0)
    total = tl.sum(total * tl.exp(highest - top), 0)
    tl.store(losses + row, top + tl.log(total) - own)
    for first in range(0, size, BLOCK):
        mask = first + column < size
        value = tl.load(begin + first + column, mask=mask, other=0.0).to(tl.float32) * scale
        slope = scale
        if IS_CAPPED:
            bounded = 2 * tl.sigmoid(2 * value / cap) - 1
            value = cap * bounded
            slope = scale * (1 - bounded * bounded)
        gradient = (tl.exp(value - top) / total - tl.where(first + column == label, 1.0, 0.0)) * slope
        tl.store(begin + first + column, gradient.to(logits.dtype.element_ty), mask=mask)
