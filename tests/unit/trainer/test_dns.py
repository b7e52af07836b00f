"""Waiting for the hosts."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from qlora_api.reasons import Reason
from qlora_trainer.errors import StopRequested, TrainerError
from qlora_trainer.supervisor import dns
from unit.trainer.pods import Gang


def test_names_may_appear_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolves(host: str) -> bool:
        asked.append(host)
        return asked.count(host) >= (3 if host == "late" else 1)

    monkeypatch.setattr(dns, "_resolves", resolves)
    dns.wait_for_hosts(["early", "late"], timeout=5, is_stopping=lambda: False, poll_seconds=0.001)
    assert asked == ["early", "late", "late", "late"]


def test_the_missing_host_is_named() -> None:
    with pytest.raises(TrainerError, match=r"no DNS name for absent\.invalid after 0 s") as error:
        dns.wait_for_hosts(["127.0.0.1", "absent.invalid"], timeout=0, is_stopping=lambda: False)
    assert error.value.reason == Reason.HOSTS_UNRESOLVED


def test_a_stop_ends_the_wait() -> None:
    with pytest.raises(StopRequested):
        dns.wait_for_hosts(["absent.invalid"], timeout=60, is_stopping=lambda: True)


def test_a_pod_that_waits_for_others_answers_and_stops_at_once(tmp_path: Path) -> None:
    pod = Gang(tmp_path).new_pods(nodes=2)[0]
    job = pod.job.model_copy(update={"hosts": ["127.0.0.1", "absent.invalid"]})
    (pod.root / "job/job.json").write_text(job.model_dump_json(by_alias=True, exclude_none=True))
    (pod.root / "job/hostfile").write_text(job.hostfile())
    (pod.root / "work/sources.json").write_text("{}")
    pod.start()
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                assert b'"state":"Waiting"' in pod.get("/status")
                break
            except OSError:
                time.sleep(0.05)
        pod.process.send_signal(signal.SIGTERM)
        assert pod.wait(10) == 143
    finally:
        pod.kill_all()
    assert pod.termination().reason == Reason.STOPPED
    assert pod.events("launched") == []
