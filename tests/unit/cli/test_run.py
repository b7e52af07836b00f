"""`qlora run` as its user meets it: a job's file, two pods of processes, Ctrl-C, and the same command again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from qlora_cli.pod import SECRETS_OF_SOURCES
from unit.trainer.fake_hub import COMMIT, FakeHub
from unit.trainer.pods import ROWS, spec
from unit.trainer.tiny_model import save_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LONG = {"maxSteps": 1_000_000, "epochs": 1000, "schedule": "constant"}
ALONE = {"nodes": 1, "training": LONG}


class Desk:
    """A folder with a job's file and its volumes."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root = root
        self.work = root / ".qlora/job"
        self.running: list[subprocess.Popen[str]] = []
        self.environment: dict[str, str] = {}
        for name in ("models", "data", "results"):
            (root / name).mkdir()
        (root / "models/tiny").symlink_to(model)
        self.write_rows(ROWS * 4)

    def write_rows(self, rows: list[Any]) -> None:
        (self.root / "data/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def start(self, *arguments: str, **changes: Any) -> subprocess.Popen[str]:
        body = {"apiVersion": "qlora.dev/v1alpha1", "kind": "QLoRAJob", "metadata": {"name": "job"}}
        (self.root / "job.yaml").write_text(yaml.safe_dump({**body, "spec": spec(**{"nodes": 2, **changes})}))
        volumes = [
            word for name in ("models", "data", "results") for word in ("--volume", f"{name}={self.root / name}")
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "qlora_cli", "run", "-f", "job.yaml", *volumes, *arguments],
            cwd=self.root,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        return process

    def run(self, *arguments: str, **changes: Any) -> tuple[int, str]:
        return self.end(self.start(*arguments, **changes))

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        text, _ = process.communicate(timeout=600)
        return process.returncode, text

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.work / "job.json").read_text())
        return state

    def steps(self) -> list[int]:
        lines = (self.root / "results/out/log.jsonl").read_text().splitlines()
        return [json.loads(line)["step"] for line in lines]

    def wait_for(self, process: subprocess.Popen[str], holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 600
        while not _quietly(holds):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def pods(self) -> list[int]:
        """Pids of all processes of the pods."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdecimal() and _quietly(lambda entry=entry: f"{self.work}/attempt-" in _environment(entry))
        ]


def _environment(entry: Path) -> str:
    return (entry / "environ").read_text()


def _quietly(holds: Callable[[], object]) -> object:
    try:
        return holds()
    except (OSError, ValueError):
        return None


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    return folder


@pytest.fixture
def hub(model: Path) -> Iterator[FakeHub]:
    hub = FakeHub(model, "a-token")
    yield hub
    hub.close()


@pytest.fixture
def desk(tmp_path: Path, model: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, model)
    yield desk
    for pid in [*(process.pid for process in desk.running if process.poll() is None), *desk.pods()]:
        os.kill(pid, signal.SIGKILL)


def test_trains_on_two_pods_and_says_where_the_adapter_is(desk: Desk) -> None:
    code, text = desk.run(training={"maxSteps": 6})
    assert code == 0, text
    adapter = desk.root / "results/out/adapter"
    assert (adapter / "adapter_model.safetensors").exists()
    assert "Succeeded: step 6/6, loss" in text
    assert str(adapter) in text
    assert "step 6/6  loss" in text
    status = desk.state()["status"]
    assert (status["phase"], status["output"]["adapter"]) == ("Succeeded", str(adapter))
    assert desk.pods() == []
    logs = [(desk.work / f"attempt-1/pod-{index}/log").read_text() for index in range(2)]
    assert all('"event": "ended", ' in log and '"Succeeded"' in log for log in logs)

    code, text = desk.run(training={"maxSteps": 6})
    assert (code, "has succeeded already" in text) == (0, True)


def test_ctrl_c_checkpoints_and_the_same_command_goes_on(desk: Desk) -> None:
    running = desk.start(**ALONE)
    desk.wait_for(running, lambda: desk.steps()[-1] >= 3)
    running.send_signal(signal.SIGINT)
    code, text = desk.end(running)
    assert code == 130, text
    assert "is complete. To go on, run the same command again." in text
    assert desk.pods() == []
    status = desk.state()["status"]
    assert (status["phase"], status["attempts"][0]["reason"]) == ("Suspended", "Suspended")
    stopped_at = desk.steps()[-1]
    assert status["attempts"][0]["toStep"] == stopped_at

    code, text = desk.run(nodes=1, training={"maxSteps": 6})
    assert code == 2
    assert "spec.training cannot change once the job has started; delete the job and create it again" in text
    assert "write --new" in text

    again = desk.start(**ALONE)
    desk.wait_for(again, lambda: desk.steps()[-1] >= stopped_at + 2)
    again.send_signal(signal.SIGTERM)
    code, text = desk.end(again)
    assert code == 143, text
    assert desk.steps() == list(range(1, desk.steps()[-1] + 1)), "a step was lost or done twice"
    assert desk.state()["status"]["attempts"][1]["fromStep"] == stopped_at


def test_a_pod_that_dies_is_followed_by_another_attempt(desk: Desk) -> None:
    running = desk.start(training={**LONG, "maxSteps": 200}, checkpoint={"every": "1s"})
    desk.wait_for(running, lambda: desk.steps()[-1] >= 3)
    supervisor = next(pid for pid in desk.pods() if _argument(pid) == "qlora_trainer" and _is_pod(pid, 1))
    os.kill(supervisor, signal.SIGKILL)
    code, text = desk.end(running)
    assert code == 0, text
    assert "PodLost: pod 1 ended with exit code -9 and left no word; next attempt in 1s" in text
    assert [attempt["reason"] for attempt in desk.state()["status"]["attempts"]] == ["PodLost", "Succeeded"]


def test_the_pods_see_no_secret_while_they_train_and_stop_when_the_command_is_killed(desk: Desk) -> None:
    desk.environment = dict.fromkeys(SECRETS_OF_SOURCES, "secret")
    running = desk.start(**ALONE)
    desk.wait_for(running, lambda: desk.steps()[-1] >= 1)
    assert not any("=secret\0" in _environment(Path(f"/proc/{pid}")) for pid in desk.pods())
    running.kill()
    running.wait()
    deadline = time.monotonic() + 120
    while desk.pods():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert list((desk.root / "results/out/checkpoints").iterdir())


def test_a_failure_says_why_and_what_to_do_and_what_the_hub_gave_is_kept(desk: Desk, hub: FakeHub) -> None:
    desk.environment = {"HF_ENDPOINT": hub.address, "HF_TOKEN": hub.token}
    model = {"source": "hf://org/name"}
    desk.write_rows([{"text": "no messages"}])
    code, text = desk.run(model=model)
    assert code == 1
    assert "Failed: DatasetInvalid: train.jsonl" in text
    assert "What to do: correct the dataset; then run the same command again" in text
    assert f"Log: {desk.work}/attempt-1/pod-0/log" in text
    desk.write_rows(ROWS)
    code, text = desk.run(model=model, training={"maxSteps": 2}, output={"merge": True})
    assert code == 0, text
    assert {"model.safetensors", "tokenizer.json", "README.md"} <= {
        file.name for file in (desk.root / "results/out/merged").iterdir()
    }
    weights = [request for request in hub.asked if request.startswith("GET") and "model.safetensors" in request]
    assert len(weights) == 1, "each pod or each attempt has downloaded the model"
    provenance = json.loads((desk.root / "results/out/adapter/provenance.json").read_text())
    assert provenance["base"]["revision"] == COMMIT


def test_a_wrong_job_is_refused_before_anything_runs(desk: Desk) -> None:
    code, text = desk.run(nodes=3, bogus=1)
    assert code == 2
    assert 'unknown field "spec.bogus"' in text
    code, text = desk.run(nodes=3)
    assert "training.globalBatchSize must be a multiple of nodes x node.slots x training.microBatchSize" in text
    assert not desk.work.exists()


def test_a_claim_without_a_folder_is_refused(desk: Desk) -> None:
    code, text = desk.run(dataset={"source": "pvc://chats/train.jsonl"})
    assert code == 2
    assert "no folder stands for the claim chats; write --volume chats=FOLDER" in text


def test_one_command_at_a_time_uses_a_work_folder_and_new_begins_again(desk: Desk) -> None:
    running = desk.start(**ALONE)
    desk.wait_for(running, lambda: desk.steps()[-1] >= 1)
    code, text = desk.run(**ALONE)
    assert (code, "is in use by another qlora run" in text) == (2, True)
    for _ in range(2):
        running.send_signal(signal.SIGINT)
        time.sleep(0.01)
    code, text = desk.end(running)
    assert code == 130, text
    assert desk.pods() == []

    code, text = desk.run("--new", nodes=1, training={"maxSteps": 2})
    assert code == 0, text
    assert desk.steps() == [1, 2]
    assert list((desk.root / "results/out/previous").iterdir())


def _argument(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[2].decode() if len(words) > 2 else ""


def _is_pod(pid: int, index: int) -> bool:
    return f"JOB_COMPLETION_INDEX={index}\0" in _environment(Path(f"/proc/{pid}"))
