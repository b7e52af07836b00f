"""What the pod serves."""

from __future__ import annotations

import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlora_api.reasons import Reason
from qlora_api.report import Progress, Restart
from qlora_trainer import termination
from qlora_trainer.paths import PodPaths
from qlora_trainer.supervisor.gang.member import HttpLink
from qlora_trainer.supervisor.gang.messages import GangState, MemberReport, MemberState, Order
from qlora_trainer.supervisor.server import serve
from qlora_trainer.supervisor.status import Status
from unit.trainer.pods import Gang, Pod


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Gang(tmp_path).new_pods()[0]


@pytest.fixture
def status(pod: Pod) -> Status:
    return Status(pod.job, PodPaths(pod.root))


@pytest.fixture
def address(status: Status) -> Iterator[str]:
    server = serve(status, port=0)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def tell(pod: Pod, attempt: int = 1, resumed_step: int = 0) -> None:
    figures = {"step": 3, "of": 9, "loss": 1.5, "updated": 5.0, "from_step": resumed_step, "resumed_step": resumed_step}
    figures["gpu_memory_bytes"] = 7 * 2**30
    progress = Progress.model_validate({"uid": "uid", "attempt": attempt, "state": "Training", **figures})
    (pod.root / "work/progress.json").write_text(progress.model_dump_json(by_alias=True))


def test_before_training_there_is_a_state_and_no_figure(address: str) -> None:
    progress = Progress.model_validate_json(get(f"{address}/status"))
    assert (progress.state, progress.step, progress.of, progress.loss) == ("Waiting", 0, 0, None)


def test_the_figures_are_the_ranks_and_the_state_the_supervisors(pod: Pod, status: Status, address: str) -> None:
    tell(pod)
    status.state = "Launching"
    assert Progress.model_validate_json(get(f"{address}/status")).state == "Training"
    status.state = "Stopping"
    progress = Progress.model_validate_json(get(f"{address}/status"))
    assert (progress.state, progress.step, progress.loss) == ("Stopping", 3, 1.5)


def test_figures_of_another_attempt_are_not_told(pod: Pod, address: str) -> None:
    tell(pod, attempt=2)
    assert Progress.model_validate_json(get(f"{address}/status")).step == 0


def test_a_restart_in_place_keeps_the_figures_and_learns_where_it_went_on(
    pod: Pod, status: Status, address: str
) -> None:
    tell(pod, resumed_step=0)
    assert Progress.model_validate_json(get(f"{address}/status")).step == 3
    status.state = "Restarting"
    status.restarted(Restart(number=1, time=5.0, reason="TrainerFailed", to_step=3))
    told = Progress.model_validate_json(get(f"{address}/status"))
    assert (told.state, told.step, told.from_step, told.restarts[0].from_step) == ("Restarting", 3, 0, None)
    status.state = "Launching"
    tell(pod, resumed_step=2)
    told = Progress.model_validate_json(get(f"{address}/status"))
    assert (told.state, told.from_step, told.resumed_step, told.restarts[0].from_step) == ("Training", 0, 2, 2)


def test_prometheus_finds_the_same_figures(pod: Pod, status: Status, address: str) -> None:
    tell(pod)
    status.state = "Stopping"
    lines = get(f"{address}/metrics").splitlines()
    assert "qlora_trainer_step 3.0" in lines
    assert "qlora_trainer_steps 9.0" in lines
    assert "qlora_trainer_loss 1.5" in lines
    assert "qlora_trainer_gpu_memory_bytes 7.516192768e+09" in lines
    assert not [line for line in lines if line.startswith("qlora_trainer_resident_memory_bytes")], "no rank runs"
    assert 'qlora_trainer_state{state="Stopping"} 1.0' in lines


def test_a_client_that_goes_away_leaves_no_traceback(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = int(address.rpartition(":")[2])
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, no farewell
            connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert get(f"{address}/healthz") == "ok\n"
    time.sleep(0.5)
    assert "Traceback" not in capsys.readouterr().err


def test_a_report_arrives_whatever_letters_its_message_has(status: Status) -> None:
    """Gloo ends its own with an emoji."""
    received: list[MemberReport] = []

    def receive(report: MemberReport) -> Order:
        received.append(report)
        return Order(epoch=0, state=GangState.HALT, why=report.outcome.message if report.outcome else "")

    server = serve(status, port=0, address="127.0.0.1", receive=receive)
    lost = termination.failed(Reason.PEER_LOST, "Connection closed by peer. GLHF! 🏖️")
    report = MemberReport(uid="uid", attempt=1, completion_index=1, epoch=0, state=MemberState.ENDED, outcome=lost)
    order = HttpLink("127.0.0.1", int(server.server_address[1]))(report)
    server.shutdown()
    server.server_close()
    assert received == [report]
    assert order is not None
    assert order.why == lost.message


def test_health_and_unknown_pages(address: str) -> None:
    assert get(f"{address}/healthz") == "ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{address}/secrets")
