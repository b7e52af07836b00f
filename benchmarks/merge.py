"""How long an adapter takes to merge, and how much memory, beside a plain copy of the same files.

PYTHONPATH=tests:. .venv/bin/python benchmarks/merge.py [LAYERS]
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

LLAMA_1B = {
    "vocab_size": 32_000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
}
"""Shapes of TinyLlama 1.1B, which has 22 layers."""


def main() -> None:
    layers = int(sys.argv[1]) if len(sys.argv) > 1 else 22
    with TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run([sys.executable, __file__, "make", folder, str(layers)], check=True)
        size = sum(file.stat().st_size for file in (root / "base").glob("*.safetensors"))
        begin = time.monotonic()
        shutil.copytree(root / "base", root / "copy")
        copied = time.monotonic() - begin
        begin = time.monotonic()
        subprocess.run([sys.executable, __file__, "merge", folder, "0"], check=True)
        merged = time.monotonic() - begin
        print(f"model {size / 1e9:.2f} GB, copied in {copied:.1f} s, merged in {merged:.1f} s with imports")


def make(root: Path, layers: int) -> None:
    import torch
    from peft import get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from qlora_api.spec import AdapterSpec
    from qlora_trainer.rank.adapter import adapter_config

    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):  # values do not matter, and random ones take long
        model = LlamaForCausalLM(LlamaConfig(**LLAMA_1B, num_hidden_layers=layers))
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(0.01)
    model.save_pretrained(root / "base")
    get_peft_model(model, adapter_config(AdapterSpec(), 42, [])).save_pretrained(root / "adapter")


def merge(root: Path) -> None:
    from qlora_trainer.rank.merge import merge_adapter

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    merge_adapter(root / "base", root / "adapter", root / "merged")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"merge alone {time.monotonic() - begin:.1f} s, {grown:.0f} MiB of memory more than the imports")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder, layers]:
            make(Path(folder), int(layers))
        case ["merge", folder, _]:
            merge(Path(folder))
        case _:
            main()
