"""How far the gradients of each way through the layers are from those of a float32 model with the same weights.

    PYTHONPATH=crds:trainer_image:. python -m benchmarks.gradients [--shape Llama-3.1-8B] [--layers 2]

Each LoRA tensor's relative error may be at most 1.15 times that of PEFT and bitsandbytes on it. A line for each way,
with ok or FAILED; 1 if any has failed. The base has random weights in NF4, the sequence is packed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import bitsandbytes
import torch
from benchmarks.random_model import loading, random_base
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.fused import router
from qlora_trainer.fused.attention import choose_flash
from qlora_trainer.fused.decoder import Decoder
from qlora_trainer.fused.generic import Generic
from qlora_trainer.rank import model as model_module
from qlora_trainer.rank.likelihood import IGNORED
from qlora_trainer.rank.loss import MicroBatch, loss_sum

MOST = 1.15
DOCUMENTS = {"cuda": (700, 300, 1048), "cpu": (7, 3, 22)}
Gradients = dict[str, Tensor]


def load(shape: str, layers: int, rank: int, device: torch.device) -> Any:
    spec = {
        "model": {"source": "pvc://models/random"},
        "dataset": {"source": "pvc://data/none.jsonl"},
        "output": {"destination": "pvc://results/none"},
        "quantization": {"computeDtype": "bfloat16"},
        "adapter": {"rank": rank},
        "training": {"gradientCheckpointing": False},
    }
    base = random_base(shape, device, layers=layers)
    for name, value in base.named_parameters():
        if "norm" in name:
            value.data.normal_(1.0, 0.1)
    with loading(base):
        model = model_module.load_model("random", QLoRAJobSpec.model_validate(spec), device)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.normal_(0.0, 0.02)
    return model


def batch_of(vocabulary: int, device: torch.device) -> MicroBatch:
    lengths = DOCUMENTS[device.type]
    ids = torch.randint(0, vocabulary, (1, sum(lengths)), device=device)
    positions = torch.cat([torch.arange(length, device=device) for length in lengths])[None]
    labels = ids.roll(-1, 1)
    labels[positions.roll(-1, 1) == 0] = IGNORED
    return MicroBatch(ids, labels, None, positions)


def gradients(model: Any, batch: MicroBatch, loss_of: router.LossOfModel) -> tuple[float, Gradients]:
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    loss = loss_of(model, batch)
    found = torch.autograd.grad(loss, list(trained.values()))
    return float(loss.detach()), dict(zip(trained, found, strict=True))


def in_float32(model: Any) -> Any:
    """The same model, with its weights whole and all of it in float32."""
    for module in list(model.modules()):
        base = getattr(module, "base_layer", None)
        if isinstance(base, bitsandbytes.nn.Linear4bit):
            weight = bitsandbytes.functional.dequantize_4bit(base.weight.data, base.weight.quant_state)
            with torch.device("meta"):
                whole = torch.nn.Linear(base.in_features, base.out_features, bias=False)
            whole.weight = torch.nn.Parameter(weight.float(), requires_grad=False)
            whole.bias = base.bias
            module.base_layer = whole
    return model.float()


def errors(found: Gradients, right: Gradients) -> dict[str, float]:
    return {
        name: float((found[name].double() - each.double()).norm() / each.double().norm())
        for name, each in right.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="Llama-3.1-8B")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {options.shape}, {options.layers} layers", flush=True)
    torch.manual_seed(0)
    model = load(options.shape, options.layers, options.rank, device)
    base = model.get_base_model()
    batch = batch_of(base.config.vocab_size, device)
    is_gpu = device.type == "cuda"
    found = {"plain": gradients(model, batch, loss_sum)}
    if is_gpu:
        print("attention", choose_flash(device))
    for recomputes in (False, True):
        router.route(model, Decoder(base, torch.bfloat16, recomputes, is_gpu).loss_sum)
        text = "compiled, computed again" if recomputes else "compiled"
        found[text] = gradients(model, batch, router.loss_sum)
    generic = Generic(base, torch.bfloat16)
    router.route(model, generic.loss_sum)
    found["fused"] = gradients(model, batch, router.loss_sum)
    generic.restore()
    router.unroute(model)
    with sdpa_kernel(SDPBackend.MATH):
        loss, right = gradients(in_float32(model), batch, loss_sum)
    of_plain = errors(found["plain"][1], right)
    has_failed, told = False, {}
    for way, (own_loss, own) in found.items():
        of_way = errors(own, right)
        ratios = {each: of_way[each] / of_plain[each] for each in of_way}
        worst = max(ratios, key=ratios.__getitem__)
        is_right = ratios[worst] <= MOST and abs(own_loss / loss - 1) < 1e-2
        has_failed |= not is_right
        ordered = sorted(of_way.values())
        told[way] = {"loss": own_loss, "errors": of_way}
        print(
            f"{'ok' if is_right else 'FAILED':<7} gradients, {way}: relative error median "
            f"{ordered[len(ordered) // 2]:.4f}, most {ordered[-1]:.4f}; at most {ratios[worst]:.3f} times PEFT's, of "
            f"{worst}; loss {own_loss / loss - 1:+.2e}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    sys.exit(1 if has_failed else 0)


if __name__ == "__main__":
    main()
