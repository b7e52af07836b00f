"""The same fine-tuning here and in TRL's SFTTrainer: `make parity`.

Model, rows and their order, first values of the adapter and hyper-parameters are the same; rendering, masking,
batching, loss, gradients and optimizer are each side's own. In float32 the two curves must lie on each other. With an
NF4 base in bfloat16 no two programs round alike: there the distance from TRL is to be seen beside that of two TRL runs
with different first values of the adapter.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.parity.recipe import Recipe, Run, largest_difference, train_here, train_in_trl
from dev.demo.prepare import MODEL, TRAINING_DATA, prepare

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a Llama with ChatML tokens; the demo's without")
    parser.add_argument("--rows", type=Path, help="chats as JSONL; the demo's without")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path, help="file for the curves")
    options = parser.parse_args()
    if options.model is None or options.rows is None:
        prepare()
    rows = [json.loads(line) for line in (options.rows or TRAINING_DATA).read_text().splitlines()]
    recipe = Recipe((options.model or MODEL).absolute(), rows, TEMPLATE, options.steps, device=options.device)
    with tempfile.TemporaryDirectory() as folder:
        curves = measure(recipe, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(curves))


def measure(recipe: Recipe, folder: Path) -> dict[str, list[float]]:
    here, there = train_here(recipe, folder / "here"), train_in_trl(recipe, folder / "there")
    print(f"float32, {recipe.steps} steps, loss {here.losses[0]:.4f} to {here.losses[-1]:.4f}")
    print(f"  largest difference of a loss from TRL's: {farthest(here, there):.1e} (aim: 1e-4)")
    print(f"  largest difference of a number of the adapter: {largest_difference(here, there):.1e} of the largest")
    rough = replace(recipe, quantization="nf4", dtype="bfloat16")
    here_rough, there_rough = train_here(rough, folder / "here-nf4"), train_in_trl(rough, folder / "there-nf4")
    seeds = [train_in_trl(replace(rough, seed=seed), folder / f"seed-{seed}", own_first_values=True) for seed in (1, 2)]
    ours, noise = distance(here_rough, there_rough), distance(*seeds)
    print(f"NF4, bfloat16, {recipe.steps} steps, loss {here_rough.losses[0]:.4f} to {here_rough.losses[-1]:.4f}")
    print(f"  mean difference of a loss from TRL's: {ours:.4f}; of two seeds of TRL: {noise:.4f}; {ours / noise:.2f} x")
    return {
        "float32, here": here.losses, "float32, TRL": there.losses,
        "nf4, here": here_rough.losses, "nf4, TRL": there_rough.losses,
        "nf4, TRL, seed 1": seeds[0].losses, "nf4, TRL, seed 2": seeds[1].losses,
    }  # fmt: skip


def farthest(one: Run, other: Run) -> float:
    return max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))


def distance(one: Run, other: Run) -> float:
    return sum(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True)) / len(one.losses)


if __name__ == "__main__":
    main()
