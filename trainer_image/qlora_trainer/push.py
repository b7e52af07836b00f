"""Uploads an adapter to a model repository of the Hugging Face hub. A program of its own, since the ranks are offline.

`python -m qlora_trainer.push FOLDER hf://organisation/name` prints the commit, or a reason and a sentence, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qlora_api import names
from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push(folder: Path, push_to: str) -> str:
    """Uploads a folder from a process that may be offline itself. What the hub has already is not uploaded again.

    Args:
        folder: of the adapter.
        push_to: `hf://organisation/name`.

    Returns:
        The commit, 40 hexadecimal digits.

    Raises:
        TrainerError: OutputNotWritable, RateLimited, or TrainerFailed if the hub cannot be reached.
    """
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(  # noqa: S603 - no shell, and every argument is ours or checked
        [sys.executable, "-m", "qlora_trainer.push", str(folder), push_to],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        answer = {"reason": Reason.TRAINER_FAILED, "message": f"output.pushTo: the upload ended with {done.returncode}"}
    if "commit" not in answer:
        raise TrainerError(Reason(answer["reason"]), answer["message"])
    return answer["commit"]


def check_repository(push_to: str) -> None:
    """Makes the repository, private, unless it is there; whoever may do that may also write.

    Raises:
        TrainerError: OutputNotWritable, RateLimited, or TrainerFailed if the hub cannot be reached.
    """
    try:
        _hub().create_repo(_repository(push_to), private=True, exist_ok=True)
        _hub().auth_check(_repository(push_to), write=True)
    except Exception as error:
        raise explain(error, push_to) from error


def explain(error: Exception, push_to: str) -> TrainerError:
    """The failure of an upload with a reason and a sentence."""
    from huggingface_hub.errors import HfHubHTTPError

    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if status in (401, 403, 404):
        return TrainerError(
            Reason.OUTPUT_NOT_WRITABLE,
            f"output.pushTo {push_to}: the hub has refused the token ({status}); "
            "let the token in output.tokenSecret write to it",
        )
    if status == 429:
        return TrainerError(Reason.RATE_LIMITED, f"output.pushTo {push_to}: the hub answers 'too many requests'")
    return TrainerError(
        Reason.TRAINER_FAILED,
        f"output.pushTo {push_to}: {type(error).__name__}: {' '.join(str(error).split())}; the pods must reach the hub",
    )


def _hub() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(token=os.environ[names.PUSH_TOKEN_VARIABLE])


def _repository(push_to: str) -> str:
    return push_to.removeprefix("hf://")


def _main(folder: str, push_to: str) -> None:
    try:
        commit = _hub().upload_folder(
            repo_id=_repository(push_to),
            folder_path=folder,
            commit_message="Upload the adapter",
            ignore_patterns=".*",  # what a download notes beside its files
        )
        answer = {"commit": commit.oid}
    except Exception as error:
        explained = explain(error, push_to)
        answer = {"reason": explained.reason, "message": explained.message}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
