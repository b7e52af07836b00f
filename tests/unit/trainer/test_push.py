"""An adapter on its way to a model repository of the hub, by the hub's own library."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.trainer.fake_hub import COMMIT, FakeHub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    (tmp_path / "hub").mkdir()
    hub = FakeHub(tmp_path / "hub", token="may-write")
    yield hub
    hub.close()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_text("weights")
    (folder / "README.md").write_text("An adapter")
    return folder


def run(hub: FakeHub, call: str, token: str = "may-write") -> str:
    """What `qlora_trainer.push` returns or raises, in a process as offline as a rank."""
    code = (
        "from pathlib import Path; from qlora_trainer.errors import TrainerError\n"
        "from qlora_trainer.push import check_repository, push\n"
        f"try: print({call})\n"
        "except TrainerError as error: print(error.reason, error.message)"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    hub_variables = {"HF_ENDPOINT": hub.address, "HF_HOME": str(hub.folder.parent / "home"), "HF_HUB_DISABLE_XET": "1"}
    offline = {"HF_HUB_OFFLINE": "1"} if "check" not in call else {}
    environment = {**clean, **hub_variables, **offline, "HF_PUSH_TOKEN": token}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def push(hub: FakeHub, adapter: Path, token: str = "may-write", to: str = "hf://org/name") -> str:
    return run(hub, f"push(Path({str(adapter)!r}), {to!r})", token)


def test_the_repository_is_made_private_before_the_training(hub: FakeHub) -> None:
    assert run(hub, "check_repository('hf://org/name')") == "None"
    assert [made["name"] for made in hub.made] == ["name"]
    assert "private" in str(hub.made[0].values()) or hub.made[0].get("private") is True
    assert "GET /api/models/org/name/auth-check/write" in hub.asked


@pytest.mark.parametrize("action", ["check", "push"])
def test_a_token_that_may_not_write_is_told(hub: FakeHub, adapter: Path, action: str) -> None:
    call = f"{'check_repository(' if action == 'check' else f'push(Path({str(adapter)!r}), '}'hf://org/name')"
    hub.refuse = {"/auth-check/write": 403, "/commit/": 403}
    told = run(hub, call)
    assert told.startswith("OutputNotWritable output.pushTo hf://org/name: the hub has refused the token (403); let")
    assert run(hub, call, token="wrong").startswith("OutputNotWritable")


def test_the_adapter_is_uploaded_with_one_commit(hub: FakeHub, adapter: Path) -> None:
    files = list(adapter.iterdir())
    (adapter / ".etags").mkdir()
    (adapter / ".etags/README.md.etag").write_text("a note of a download")
    assert push(hub, adapter) == COMMIT
    assert [sorted(names) for names in hub.commits] == [sorted(file.name for file in files)]
    for file in files:
        assert (hub.folder / file.name).read_bytes() == file.read_bytes()


def test_what_the_hub_has_already_makes_no_second_commit(hub: FakeHub, adapter: Path) -> None:
    assert push(hub, adapter) == COMMIT
    assert push(hub, adapter) == COMMIT
    assert len(hub.commits) == 1


def test_a_hub_that_is_away_is_no_mistake_of_the_user(hub: FakeHub, adapter: Path) -> None:
    hub.close()
    assert push(hub, adapter).startswith("TrainerFailed output.pushTo hf://org/name: ")


def test_nothing_is_visible_of_an_upload_that_was_cut_off(hub: FakeHub, adapter: Path) -> None:
    hub.refuse = {"/commit/": 400}
    assert push(hub, adapter).startswith("TrainerFailed")
    assert list(hub.folder.iterdir()) == []
    hub.refuse = {}
    assert push(hub, adapter) == COMMIT
