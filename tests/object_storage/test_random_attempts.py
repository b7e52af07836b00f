"""Attempts that begin, save, break off and wake again in any order: what was published is never lost or mixed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import obstore
import pytest

from object_storage.conftest import Place
from object_storage.test_bucket_claim import content, found, keys, save
from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.bucket_claim import BucketClaim
from support.faulty_way import Request


class CutOff:
    """After a few requests nothing goes through any more, as for a pod that is killed."""

    def __init__(self, requests: int) -> None:
        self._left = requests

    def __call__(self, request: Request) -> str:
        self._left -= 1
        return "throttle" if self._left < 0 else ""


@pytest.mark.parametrize("seed", range(6))
def test_what_was_published_is_found_again_and_an_older_attempt_publishes_nothing(
    place: Place, tmp_path: Path, seed: int
) -> None:
    choose = random.Random(seed)
    attempt, step = 0, 0
    published: dict[int, float] = {}
    older: list[BucketClaim] = []
    owner: BucketClaim | None = None
    for number in range(25):
        act = choose.choice(("begin", "save", "save", "cut off", "wake"))
        if act == "begin" or owner is None:
            attempt += choose.choice((0, 1)) if attempt else 1
            older += [owner] if owner else []
            pod = tmp_path / f"pod-{number}"
            owner = BucketClaim(pod, "uid", attempt, f"s3://{place.name}/out", place.storage, keep=2)
            owner.take()
            newest = max(published, default=None)
            assert found(owner) == (None if newest is None else (newest, published[newest]))
            step = newest or 0
        elif act == "save":
            step += 1
            save(owner, step, value=float(number + 1))
            published = {known: value for known, value in published.items() if known < step} | {step: float(number + 1)}
        elif act == "cut off":
            place.way.trouble = CutOff(choose.randrange(6))
            step += 1
            try:
                save(owner, step, value=float(number + 1))
                published[step] = float(number + 1)
            except TrainerError:
                if f"step-{step}.{owner.attempt}" in content(place, "attempt.json").decode():
                    published[step] = float(number + 1)  # the swap went through, only what follows it did not
            place.way.trouble = lambda request: ""
            older.append(owner)
            owner = None
        elif older:
            with pytest.raises(TrainerError) as error:
                save(choose.choice(older), step + 1, value=-1.0)
            assert error.value.reason == Reason.STOPPED
        check_listed(place, published)


def check_listed(place: Place, published: dict[int, float]) -> None:
    """What `attempt.json` names is there, whole."""
    there = keys(place)
    for saved in json.loads(content(place, "attempt.json")).get("checkpoints", []):
        assert saved["step"] in published
        for name in ("state.safetensors", "state.json", "manifest.json"):
            assert f"{saved['prefix']}/{name}" in there
    assert obstore.head(place.owner, "out/attempt.json")["size"] > 0
