"""Who may publish below a prefix, and what a later attempt finds there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
import torch

from object_storage.conftest import Place
from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.files import write_json
from qlora_trainer.rank.bucket_claim import BucketClaim
from qlora_trainer.rank.checkpoint import checkpoint_of, newest_checkpoint, write_checkpoint
from support.faulty_way import Request, Times

Claims = Callable[..., BucketClaim]


@pytest.fixture
def claims(place: Place, tmp_path: Path) -> Claims:
    """Makes the claim of a pod of its own."""
    made: list[BucketClaim] = []

    def claim(attempt: int = 1, uid: str = "uid", keep: int = 2) -> BucketClaim:
        destination = f"s3://{place.name}/out"
        made.append(BucketClaim(tmp_path / f"pod-{len(made)}", uid, attempt, destination, place.storage, keep))
        return made[-1]

    return claim


def save(claim: BucketClaim, step: int, value: float = 0.0, best_step: int | None = None) -> None:
    """What the saver does."""
    facts = {"uid": claim.uid, "attempt": claim.attempt, "loss": 1.0, "datasetSha256": ""}
    (claim.output / "log.jsonl").open("a").write(f"{step}\n")
    state = {"a": torch.full((1000,), value or float(step))}
    folder = write_checkpoint(claim.output / "checkpoints", step, state, facts, keep=2, best_step=best_step)
    claim.publish_checkpoint(folder, best_step)


def finish(claim: BucketClaim, content: str = "weights") -> None:
    """What the end of the training does."""
    folder = claim.output / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text(content)
    write_json(folder / "provenance.json", {"uid": claim.uid, "attempt": claim.attempt, "training": {"step": 6}})
    claim.publish_adapter()


def found(claim: BucketClaim) -> tuple[int, float] | None:
    """Step and content of the checkpoint that a claim has found."""
    checkpoint = newest_checkpoint(claim.output / "checkpoints", claim.uid)
    return None if checkpoint is None else (checkpoint.step, float(checkpoint.load()["a"][0]))


def keys(place: Place) -> list[str]:
    return sorted(meta["path"].removeprefix("out/") for page in obstore.list(place.owner, "out") for meta in page)


def content(place: Place, key: str) -> bytes:
    return bytes(obstore.get(place.owner, f"out/{key}").bytes())


def stopped(action: Callable[[], Any], words: str) -> None:
    with pytest.raises(TrainerError, match=words) as error:
        action()
    assert error.value.reason == Reason.STOPPED


def test_a_new_attempt_on_another_node_finds_the_newest_checkpoint_and_the_log(claims: Claims) -> None:
    old, new, third = claims(1), claims(2), claims(2)
    old.take()
    assert found(old) is None
    save(old, 10)
    save(old, 20)
    new.take()
    assert found(new) == (20, 20.0)
    assert (new.output / "log.jsonl").read_text() == "10\n20\n"
    third.bring(20)
    assert found(third) == (20, 20.0), "so do the other pods of the attempt"


def test_the_best_checkpoint_outlives_newer_ones_and_is_brought_when_it_is_asked_for(
    place: Place, claims: Claims
) -> None:
    old, new = claims(1), claims(2)
    old.take()
    for step in (10, 20, 30, 40):
        save(old, step, best_step=10)
    assert {key.split("/")[1] for key in keys(place) if key.startswith("checkpoints/")} == {
        f"step-{step}.1.1" for step in (10, 30, 40)
    }
    new.take()
    assert found(new) == (40, 40.0)
    new.bring(10)
    assert checkpoint_of(new.output / "checkpoints", 10, "uid") is not None
    save(new, 50, best_step=50)
    save(new, 60, best_step=50)
    assert not any(key.startswith("checkpoints/step-10.") for key in keys(place)), "another step is better now"


def test_figures_are_found_beside_the_checkpoints(place: Place, claims: Claims) -> None:
    old, new = claims(1), claims(2)
    old.take()
    (old.output / "tensorboard").mkdir()
    (old.output / "tensorboard/events.1").write_text("a")
    (old.output / "evaluation.jsonl").write_text("b")
    save(old, 10)
    assert content(place, "evaluation.jsonl") == b"b"
    new.take()
    assert (new.output / "tensorboard/events.1").read_text() == "a"
    assert (new.output / "evaluation.jsonl").read_text() == "b"


def test_a_figure_that_has_not_changed_is_not_uploaded_again(place: Place, claims: Claims) -> None:
    claim = claims()
    claim.take()
    (claim.output / "loss.png").write_text("a")
    save(claim, 10)
    obstore.put(place.owner, "out/loss.png", b"as it was")
    save(claim, 20)
    assert content(place, "loss.png") == b"as it was"
    assert content(place, "log.jsonl") == b"10\n20\n"
    (claim.output / "loss.png").write_text("bc")
    save(claim, 30)
    assert content(place, "loss.png") == b"bc"


def test_an_older_attempt_publishes_nothing_once_a_newer_one_has_begun(place: Place, claims: Claims) -> None:
    old, new = claims(1), claims(2)
    old.take()
    save(old, 10)
    new.take()
    stopped(lambda: save(old, 20), "attempt 2 of this job has taken over")
    stopped(lambda: finish(old, "old weights"), "attempt 2 of this job has taken over")
    stopped(old.take, "attempt 2 of this job has taken over")
    assert not any(key.startswith("adapter/") for key in keys(place))
    late = claims(3)
    late.take()
    assert found(late) == (10, 10.0)


def test_both_may_write_the_same_step_and_the_newer_one_counts(claims: Claims) -> None:
    old, new, after = claims(1), claims(2), claims(3)
    old.take()
    save(old, 10)
    new.take()
    save(new, 20, value=2.0)
    stopped(lambda: save(old, 20, value=1.0), "has taken over")
    after.take()
    assert found(after) == (20, 2.0)


def test_pods_of_the_same_attempt_publish_nothing_once_new_ones_have_begun(claims: Claims) -> None:
    interrupted, resumed = claims(2), claims(2)
    interrupted.take()
    save(interrupted, 10)
    resumed.take()
    stopped(lambda: save(interrupted, 20), "new pods of attempt 2")
    save(resumed, 20)


def test_an_attempt_that_begins_while_a_checkpoint_is_uploaded_keeps_it_from_counting(
    place: Place, claims: Claims
) -> None:
    old, new, after = claims(1), claims(2), claims(3)
    old.take()
    save(old, 10)

    def take_over(request: Request) -> str:
        if request.method == "PUT" and "/checkpoints/step-20.1.1/manifest.json" in request.path:
            place.way.trouble = lambda request: ""
            new.take()
        return ""

    place.way.trouble = take_over
    stopped(lambda: save(old, 20), "attempt 2 of this job has taken over")
    assert found(new) == (10, 10.0)
    after.take()
    assert found(after) == (10, 10.0)
    assert not any("step-20" in key for key in keys(place)), "what was uploaded in vain is removed"


@pytest.mark.parametrize("trouble", ["throttle", "lose", "reset"])
def test_trouble_on_the_way_loses_no_checkpoint_and_no_claim(place: Place, claims: Claims, trouble: str) -> None:
    claim, after = claims(1), claims(2)
    for method in ("PUT", "GET", "DELETE"):
        place.way.trouble = Times(trouble, 2, method=method)
        claim.take()
        for step in (1, 2, 3):
            save(claim, step)
        after = claims(1)
        after.take()
        assert found(after) == (3, 3.0)
        claim = claims(1)


def test_only_the_newest_checkpoints_are_kept(place: Place, claims: Claims) -> None:
    claim = claims()
    claim.take()
    for step in (1, 2, 3, 4):
        save(claim, step)
    kept = {key.split("/")[1] for key in keys(place) if key.startswith("checkpoints/")}
    assert kept == {"step-3.1.1", "step-4.1.1"}


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(place: Place, claims: Claims) -> None:
    old, new, after = claims(1), claims(2), claims(3)
    old.take()
    save(old, 10)
    save(old, 20)
    whole = content(place, "checkpoints/step-20.1.1/state.safetensors")
    obstore.put(place.owner, "out/checkpoints/step-20.1.1/state.safetensors", whole[:-1] + b"x")
    new.take()
    assert found(new) == (10, 10.0)
    save(new, 15)
    after.take()
    assert found(after) == (15, 15.0)


def test_a_finished_job_is_known_to_a_later_attempt(place: Place, claims: Claims) -> None:
    first, second = claims(1), claims(2)
    first.take()
    finish(first)
    second.take()
    assert json.loads((second.output / "adapter/provenance.json").read_bytes())["training"] == {"step": 6}
    assert content(place, "adapter/adapter_model.safetensors") == b"weights"


@pytest.mark.parametrize("fails", ["adapter_model.safetensors", "provenance.json", "attempt.json"])
def test_an_adapter_that_was_not_wholly_uploaded_is_uploaded_by_the_next_attempt(
    place: Place, claims: Claims, fails: str
) -> None:
    first, second, third = claims(1), claims(2), claims(3)
    first.take()
    save(first, 6)
    seen: list[str] = []

    def cut(request: Request) -> str:
        seen.extend([request.path] if request.method == "PUT" else [])
        is_last_swap = fails != "attempt.json" or sum("attempt.json" in path for path in seen) > 1
        return "throttle" if request.method == "PUT" and fails in request.path and is_last_swap else ""

    place.way.trouble = cut
    with pytest.raises(TrainerError) as error:
        finish(first)
    assert error.value.reason == Reason.RATE_LIMITED
    place.way.trouble = lambda request: ""
    assert ("adapter/provenance.json" in keys(place)) == (fails == "attempt.json")
    second.take()
    assert not (second.output / "adapter").exists()
    assert found(second) == (6, 6.0)
    finish(second, "whole")
    third.take()
    assert (third.output / "adapter/provenance.json").exists()
    assert content(place, "adapter/adapter_model.safetensors") == b"whole"


def test_the_results_of_another_job_are_moved_away(place: Place, claims: Claims) -> None:
    other, mine = claims(uid="other"), claims(uid="mine")
    other.take()
    save(other, 10)
    finish(other, "of another")
    mine.take()
    assert found(mine) is None
    assert content(place, "previous/other/adapter/adapter_model.safetensors") == b"of another"
    assert "previous/other/checkpoints/step-10.1.1/state.safetensors" in keys(place)
    assert [key for key in keys(place) if not key.startswith("previous/")] == ["attempt.json"]
    with pytest.raises(TrainerError, match=r"now belongs to another job \(UID mine\)") as error:
        save(other, 20)
    assert error.value.reason == Reason.OUTPUT_NOT_WRITABLE


def test_moving_away_goes_on_after_an_interruption(place: Place, claims: Claims) -> None:
    other, mine, again = claims(uid="other"), claims(1, uid="mine"), claims(2, uid="mine")
    other.take()
    save(other, 10)
    finish(other)
    place.way.trouble = lambda request: "throttle" if "/previous/other/checkpoints" in request.path else ""
    with pytest.raises(TrainerError):
        mine.take()
    place.way.trouble = lambda request: ""
    again.take()
    assert [key for key in keys(place) if not key.startswith("previous/")] == ["attempt.json"]
    assert "previous/other/checkpoints/step-10.1.1/manifest.json" in keys(place)
