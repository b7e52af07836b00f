"""A missing or wrong hostfile never lets a pod train alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.supervisor.hostfile import check_hostfile, completion_index
from unit.trainer.pods import Gang, Pod


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Gang(tmp_path).new_pods(nodes=2, slots=2)[0]


def test_the_operators_own_hostfile_is_good(pod: Pod) -> None:
    check_hostfile(pod.root / "job/hostfile", pod.job)


def test_comments_and_blank_lines_are_as_for_deepspeed(pod: Pod) -> None:
    file = pod.root / "job/hostfile"
    file.write_text("# the hosts\n\n" + file.read_text())
    check_hostfile(file, pod.job)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file"),
        ("", "0 hosts instead of 2"),
        ("127.0.0.1 slots=2\n", "1 hosts instead of 2"),
        ("127.0.0.2 slots=2\n127.0.0.1 slots=2\n", "host 0 is '127.0.0.2 slots=2' instead of '127.0.0.1 slots=2'"),
        ("127.0.0.1 slots=2\n127.0.0.2 slots=1\n", "host 1 is '127.0.0.2 slots=1'"),
        ("127.0.0.1 slots=2\n127.0.0.2\n", "line 2 is '127.0.0.2'; a line is 'HOST slots=NUMBER'"),
        ("127.0.0.1 slots = 2\n", "line 1 is"),
    ],
)
def test_any_difference_is_told(pod: Pod, content: str | None, sentence: str) -> None:
    file = pod.root / "job/hostfile"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(TrainerError) as error:
        check_hostfile(file, pod.job)
    assert error.value.reason == Reason.HOSTFILE_INVALID
    assert sentence in error.value.message


@pytest.mark.parametrize("variable", [None, "", "-1", "2", "x"])
def test_the_pod_has_to_know_its_place(pod: Pod, variable: str | None) -> None:
    with pytest.raises(TrainerError, match="must be 0 to 1"):
        completion_index(variable, pod.job)


def test_the_supervisor_starts_nothing_without_a_hostfile(pod: Pod) -> None:
    (pod.root / "job/hostfile").unlink()
    pod.start()
    assert pod.wait(20) == 1
    assert pod.termination().reason == Reason.HOSTFILE_INVALID
    assert pod.events("launched") == []
