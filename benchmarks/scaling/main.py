"""How the training scales over GPUs: `PYTHONPATH=crds:trainer_image:. python -m benchmarks.scaling.main`.

Each number of GPUs is started by the `deepspeed` launcher from a hostfile, as the operator's pods start it: one node
with all of them, and where there are four or more also two nodes with a half each. The base has random weights of a
real shape, made and quantised on the GPU; the loop is the trainer's. Efficiency is against one GPU of the same run.

With one GPU it compares ways through the layers: `--gpus 1 --stages 1 --accumulation 1 --keep-activations --kernels
plain fused compiled`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODULE = "benchmarks.scaling.worker"
Result = dict[str, Any]


def main() -> None:
    options = parse_arguments()
    cases = [
        {
            "shape": options.shape, "rank": options.rank, "sequence_length": options.sequence_length,
            "checkpointing": not options.keep_activations, "accelerator": options.accelerator,
            "stage": stage, "accumulation": accumulation, "steps": options.steps if accumulation == 1 else 1,
            "kernels": kernels, "batch": options.batch, "targets": options.targets,
            "communication_dtype": options.communication_dtype, "overlaps": options.overlap,
        }
        for kernels in options.kernels
        for accumulation in options.accumulation
        for stage in (options.stages if accumulation == 1 else options.stages[1:2] or options.stages[:1])
    ]  # fmt: skip
    results: list[Result] = []
    for nodes, slots in layouts(options.gpus):
        begin = time.monotonic()
        chosen = (
            cases
            if nodes == 1
            else [case for case in cases if case["stage"] == (options.stages[1:] or options.stages)[0]]
        )
        found = run(nodes, slots, chosen, options.accelerator)
        results += [{**result, "nodes": nodes, "slots": slots} for result in found]
        print(table(results, len(found)), flush=True)
        print(f"{nodes} x {slots}: {time.monotonic() - begin:.0f} s", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))


def layouts(gpus: list[int]) -> list[tuple[int, int]]:
    """Nodes and slots of each."""
    return [(1, number) for number in gpus] + [(2, number // 2) for number in gpus if number >= 4]


def run(nodes: int, slots: int, cases: list[Result], accelerator: str) -> list[Result]:
    """One launcher a node; all on this machine, each with GPUs of its own."""
    with tempfile.TemporaryDirectory() as folder:
        hosts = [f"node-{number}" for number in range(nodes)]
        hostfile = Path(folder) / "hostfile"
        hostfile.write_text("".join(f"{host} slots={nodes * slots}\n" for host in hosts))
        include = "@".join(
            f"{host}:{','.join(str(number * slots + slot) for slot in range(slots))}"
            for number, host in enumerate(hosts)
        )
        launcher = shutil.which("deepspeed") or str(Path(sys.executable).with_name("deepspeed"))
        environment = {
            **os.environ, "DS_ACCELERATOR": "cpu" if accelerator == "cpu" else "cuda", "OMP_NUM_THREADS": "4",
            "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        running = []
        for number in range(nodes):
            command = [
                launcher, f"--hostfile={hostfile}", f"--include={include}", "--no_ssh", f"--node_rank={number}",
                "--master_addr=127.0.0.1", "--master_port=29533", "--no_local_rank", "--log_level=error",
                "--module", MODULE, json.dumps(cases),
            ]  # fmt: skip
            out = subprocess.PIPE if number == 0 else subprocess.DEVNULL
            running.append(subprocess.Popen(command, env=environment, stdout=out, text=True))
        text, _ = running[0].communicate()
        for process in running:
            process.wait()
    return [json.loads(line.partition("RESULT ")[2]) for line in text.splitlines() if "RESULT " in line]


def table(results: list[Result], last: int) -> str:
    lines = []
    for result in results[-last:]:
        what = (
            f"{result['nodes']} x {result['slots']} GPUs, ZeRO-{result['stage']}, accumulation "
            f"{result['accumulation']}, {result['kernels']}"
        )
        if "error" in result:
            lines.append(f"{what:<52} {result['error']}")
            continue
        alone = next(
            (
                other["tokens_per_second"]
                for other in results
                if (other.get("world_size"), other["stage"], other["accumulation"], other["kernels"])
                == (1, result["stage"], result["accumulation"], result["kernels"])
            ),
            None,
        )
        each = result["tokens_per_second"] / result["world_size"]
        share = f"{each / alone:.1%}" if alone else ""
        lines.append(
            f"{what:<52} {result['tokens_per_second']:>9.0f} tokens/s {each:>7.0f} each {share:>7} "
            f"{result['step_seconds']:>8.3f} s a step {result['peak_mebibytes']:>7} MiB "
            f"{result['load_seconds']:>5.0f} s to the first step  {result['device']} {result['took']}"
        )
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 4, 8], help="of this machine")
    parser.add_argument("--shape", default="Llama-3.1-8B")
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 1, 2, 3], help="of ZeRO")
    parser.add_argument(
        "--accumulation",
        type=int,
        nargs="+",
        default=[1, 8],
        help="micro-steps of a step; above 1 the second stage only",
    )
    parser.add_argument("--kernels", nargs="+", default=["auto"], help="training.kernels, one after the other")
    parser.add_argument(
        "--batch", choices=["packed", "full"], default="packed",
        help="packed: documents of instruction lengths; full: four sequences of a quarter of --sequence-length",
    )  # fmt: skip
    parser.add_argument("--communication-dtype", default="float32", help="deepspeed.communicationDtype")
    parser.add_argument("--overlap", action="store_true", help="DeepSpeed's overlap_comm")
    parser.add_argument("--targets", default="all-linear", help="adapter.targets")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--sequence-length", type=int, default=8192, help="tokens of a micro-step of one GPU")
    parser.add_argument("--keep-activations", action="store_true", help="no gradient checkpointing")
    parser.add_argument("--steps", type=int, default=4, help="that are measured")
    parser.add_argument("--accelerator", choices=["cpu", "nvidia.com/gpu"], default="nvidia.com/gpu")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
