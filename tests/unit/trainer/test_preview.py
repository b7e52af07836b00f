"""What `qlora-trainer preview` prints."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from builders import job_body
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from qlora_trainer.preview import preview
from qlora_trainer.rank.batches import global_batch
from qlora_trainer.rank.data import load_dataset
from qlora_trainer.rank.make_data import make_dataset
from qlora_trainer.rank.tokenizer import load_tokenizer
from unit.trainer.pods import Gang, spec
from unit.trainer.tiny_model import make_tokenizer

PACKED = {"packing": True, "sequenceLength": 128, "microBatchSize": 2}


def printed(gang: Gang, job: Path | None, root: Path, *, colour: bool = False, step: int = 1, rows: int = 100) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=colour, color_system="standard" if colour else None)
    preview(PodPaths(root), job, step, rows, console)
    return out.getvalue()


def job_file(gang: Gang, **changes: Any) -> Path:
    file = gang.folder / "job.yaml"
    file.write_text(yaml.safe_dump(job_body(**spec(**changes))))
    return file


@pytest.fixture
def gang(tmp_path: Path, tiny_model: Path) -> Gang:
    return Gang(tmp_path, tiny_model)


def test_a_packed_batch_is_shown_with_what_is_learned_in_brackets(gang: Gang) -> None:
    text = printed(gang, job_file(gang, training=PACKED), gang.folder)
    assert text.count(" of 128 tokens") == 2, "a micro-batch of two sequences"
    assert re.match(r"9 documents in 3 sequences, \d+ tokens, \d\d% of them learned, \d+ steps\n", text)
    assert re.search(r"user\nSay \w+<\|im_end\|>\n<\|im_start\|>assistant\n⟦\w+<\|im_end\|>\n⟧", text)
    assert text.count("└ ") >= 4


def test_on_a_terminal_what_is_learned_is_green_and_what_is_read_is_dim(gang: Gang) -> None:
    text = printed(gang, job_file(gang, training=PACKED), gang.folder, colour=True)
    assert "⟦" not in text
    assert re.search(r"\x1b\[1;32m\w+<\|im_end\|>", text)
    assert "\x1b[2m<|im_start|>user" in text


def test_only_the_first_rows_are_read(gang: Gang) -> None:
    assert printed(gang, job_file(gang), gang.folder, rows=4).startswith("4 documents in 4 sequences")


def test_in_a_pod_it_is_the_batch_that_the_step_trains_on(gang: Gang, capsys: pytest.CaptureFixture[str]) -> None:
    (pod,) = gang.new_pods(training={"sequenceLength": 64, "globalBatchSize": 1})
    paths = PodPaths(pod.root)
    files = [[Path(file) for file in part] for part in fetch(pod.job, paths).dataset]
    make_dataset(
        paths.tokens, files, pod.job.spec, load_tokenizer(str(gang.volumes / "models/tiny"), pod.job.spec.dataset)
    )
    data = load_dataset(paths.tokens)
    (number,) = global_batch(4, data.mix, pod.job.spec.training)
    (document,) = data.sequence(number)
    text = printed(gang, None, pod.root, step=5)
    assert f"step 5, sequence 1: {len(document.ids)} of 64 tokens" in text
    assert make_tokenizer().decode(document.ids) in text.replace("⟦", "").replace("⟧", "")
    assert capsys.readouterr().out.count("tokenized") == 1, "it was not tokenised again"


def test_what_is_not_on_a_volume_is_told(gang: Gang) -> None:
    with pytest.raises(TrainerError, match="hf://org/name: is not on a volume; run this in a pod of the job instead"):
        printed(gang, job_file(gang, dataset={"source": "hf://org/name"}), gang.folder)


@pytest.mark.parametrize(("text", "sentence"), [("a: 1", "'spec'; write the file"), ("spec: {}", "spec.model: Field")])
def test_a_file_that_is_no_job_is_told(gang: Gang, text: str, sentence: str) -> None:
    (gang.folder / "job.yaml").write_text(text)
    with pytest.raises(TrainerError, match=re.escape(sentence)):
        printed(gang, gang.folder / "job.yaml", gang.folder)
