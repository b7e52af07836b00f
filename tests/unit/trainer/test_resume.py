"""A run that was stopped goes on as if it had not been: dropout, learning rate, data order and moments included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from unit.trainer.pods import Gang, Pod, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STAGES = (0, 1, 2)
STOP_AFTER = 3


def job(gang: Gang, stage: int, attempt: int, nodes: int = 2, **training: Any) -> list[Pod]:
    pods = gang.new_pods(
        nodes=nodes,
        attempt=attempt,
        quantization={"type": "nf4"},
        adapter={"dropout": 0.2},
        deepspeed={"zeroStage": stage},
        training=training,
    )
    for pod in pods:
        fetch(pod.job, PodPaths(pod.root))
    return pods


def run(*jobs: tuple[list[Pod], int | None]) -> None:
    """Runs jobs one after another in one process a rank."""
    world_size = len(jobs[0][0])
    port = free_port()
    workers = []
    for rank in range(world_size):
        roots = [f"{pods[rank].root}" + (f":{stop}" if stop else "") for pods, stop in jobs]
        environment = {
            "RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": 0, "LOCAL_SIZE": 1, "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": 1, "TQDM_DISABLE": 1,
        }  # fmt: skip
        workers.append(
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("resume_worker.py")), *roots],
                env=os.environ | {key: str(value) for key, value in environment.items()},
            )
        )
    try:
        assert [worker.wait(150) for worker in workers] == [0] * world_size
    finally:
        for worker in workers:
            worker.kill()


def adapter(gang: Gang) -> dict[str, object]:
    weights: dict[str, object] = {
        name: value.tolist() for name, value in load_file(gang.output / "adapter/adapter_model.safetensors").items()
    }
    return weights


def test_it_resumes_exactly_at_every_stage_and_at_another_world_size(tmp_path: Path, tiny_model: Path) -> None:
    whole = {stage: Gang(tmp_path / f"whole-{stage}", tiny_model) for stage in STAGES}
    parts = {stage: Gang(tmp_path / f"parts-{stage}", tiny_model) for stage in STAGES}
    moved = Gang(tmp_path / "moved", tiny_model)
    run(
        *((job(whole[stage], stage, 1), None) for stage in STAGES),
        *((job(parts[stage], stage, 1), STOP_AFTER) for stage in STAGES),
        *((job(parts[stage], stage, 2), None) for stage in STAGES),
        (job(moved, 2, 1), STOP_AFTER),
    )
    for stage in STAGES:
        assert parts[stage].losses() == whole[stage].losses(), f"stage {stage}"
        assert adapter(parts[stage]) == adapter(whole[stage]), f"stage {stage}"
        assert whole[stage].losses() == pytest.approx(whole[0].losses(), abs=1e-5)
        steps = [line.split(",")[0] for line in (parts[stage].output / "log.jsonl").read_text().splitlines()]
        assert len(steps) == len(set(steps)) == 6, "no step was done twice"

    run((job(moved, 0, 2, nodes=1), None))
    assert moved.losses() == pytest.approx(whole[2].losses(), abs=1e-5)


def test_packed_sequences_are_resumed_exactly_and_shared_out_over_any_number_of_ranks(
    tmp_path: Path, tiny_model: Path
) -> None:
    packed = {"packing": True, "sequenceLength": 128, "epochs": 8}
    whole, parts, alone = (Gang(tmp_path / name, tiny_model) for name in ("whole", "parts", "alone"))
    run(
        (job(whole, 1, 1, **packed), None),
        (job(parts, 1, 1, **packed), STOP_AFTER),
        (job(parts, 1, 2, **packed), None),
    )
    assert list(whole.losses()) == [1, 2, 3, 4, 5, 6]
    assert parts.losses() == whole.losses()
    assert adapter(parts) == adapter(whole)

    run((job(alone, 0, 1, nodes=1, **packed), None))
    assert alone.losses() == pytest.approx(whole.losses(), abs=1e-5)
