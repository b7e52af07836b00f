"""Each thing that can be wrong with the sources, and the sentence that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.command import run_fetch
from qlora_trainer.fetch.main import fetch
from qlora_trainer.fetch.targets import unknown_targets
from qlora_trainer.paths import PodPaths
from qlora_trainer.sources import ResolvedSources
from unit.trainer.pods import Gang, Pod


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The files of a model, without a model in them."""
    folder = tmp_path / "a-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    weights = {f"model.layers.0.self_attn.{name}.weight": np.zeros((4, 4), np.float32) for name in ("q_proj", "v_proj")}
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture
def files(tmp_path: Path, model: Path) -> Gang:
    return Gang(tmp_path, model)


def fault(files: Gang, **changes: Any) -> TrainerError:
    (pod,) = files.new_pods(**changes)
    with pytest.raises(TrainerError) as error:
        fetch(pod.job, PodPaths(pod.root))
    return error.value


def one(files: Gang, **changes: Any) -> Pod:
    (pod,) = files.new_pods(**changes)
    return pod


def test_good_sources_are_resolved_for_the_ranks(files: Gang) -> None:
    pod = one(files)
    assert run_fetch(PodPaths(pod.root)) == 0
    resolved = ResolvedSources.read(PodPaths(pod.root))
    assert resolved.model == str(pod.root / "volumes/models/tiny")
    assert resolved.dataset == [[str(pod.root / "volumes/data/train.jsonl")]]
    assert not (pod.root / "dev/termination-log").exists()


def test_a_source_in_an_image_lies_where_the_pod_mounts_it(files: Gang, model: Path) -> None:
    pod = one(files, model={"source": "oci://registry.example:5000/models/tiny:1.0/llama"})
    mounted = pod.root / "images/registry.example+5000/models/tiny+1.0"
    mounted.mkdir(parents=True)
    (mounted / "llama").symlink_to(model)
    assert fetch(pod.job, PodPaths(pod.root)).model == str(mounted / "llama")


def test_a_failure_is_a_termination_message(files: Gang) -> None:
    pod = one(files, model={"source": "pvc://models/absent"})
    assert run_fetch(PodPaths(pod.root)) == 1
    termination = pod.termination()
    assert termination.reason == Reason.MODEL_INVALID
    assert "models holds tiny" in termination.message


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('{"messages": [{"role": "user"', "line 2: not JSON"),
        ("[1]", "line 2: a list instead of an object"),
        ('{"text": "a"}', "line 2: no field 'messages'; it has 'text', which is a row of dataset.format: text"),
        ('{"conversations": []}', "line 2: no field 'messages'; it has 'conversations'; a row of format messages is"),
        ('{"messages": []}', "line 2: messages is not a list with at least one message"),
        ('{"messages": [{"role": "user", "content": 3}]}', "line 2: messages[0].content is not a text"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "line 2: no message has role 'assistant'"),
    ],
)
def test_a_bad_row_is_found_by_file_and_line(files: Gang, row: str, sentence: str) -> None:
    good = '{"messages": [{"role": "assistant", "content": "a"}]}\n'
    (files.volumes / "data/train.jsonl").write_text(good + row + "\n" + good)
    error = fault(files)
    assert error.reason == Reason.DATASET_INVALID
    assert error.message.startswith("train.jsonl ")
    assert sentence in error.message


def test_blank_lines_count_as_lines_but_not_as_rows(files: Gang) -> None:
    (files.volumes / "data/train.jsonl").write_text("\n\n{}\n")
    assert "line 3" in fault(files).message


def test_an_empty_dataset_is_refused(files: Gang) -> None:
    files.write_rows([])
    error = fault(files)
    assert (error.reason, "is empty" in error.message) == (Reason.DATASET_INVALID, True)


def test_a_folder_without_rows_is_refused(files: Gang) -> None:
    (files.volumes / "data/folder").mkdir()
    assert (
        "has no .jsonl, .json, .parquet, .arrow, .csv, .txt file"
        in fault(files, dataset={"source": "pvc://data/folder"}).message
    )


def test_a_folder_of_files_is_read_in_the_order_of_names(files: Gang) -> None:
    row = json.dumps({"text": "a"}) + "\n"
    for name in ("b.jsonl", "a.jsonl", "README.md"):
        (files.volumes / "data/folder").mkdir(exist_ok=True)
        (files.volumes / "data/folder" / name).write_text(row)
    pod = one(files, dataset={"source": "pvc://data/folder", "format": "text"})
    resolved = fetch(pod.job, PodPaths(pod.root))
    assert [Path(file).name for file in resolved.dataset[0]] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    ("remove", "add", "sentence"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", "adapter_config.json", "this is an adapter; write the base model"),
        ("model.safetensors", None, "has no *.safetensors"),
        ("model.safetensors", "pytorch_model.bin", "pickle files (pytorch_model.bin), which can run code"),
        ("tokenizer.json", None, "has no tokenizer"),
        ("chat_template.jinja", None, "has no chat template, which dataset.format: messages needs"),
    ],
)
def test_a_model_with_missing_files_is_refused(
    files: Gang, model: Path, remove: str, add: str | None, sentence: str
) -> None:
    (model / remove).unlink()
    if add:
        (model / add).write_text("x")
    error = fault(files)
    assert error.reason == Reason.MODEL_INVALID
    assert sentence in error.message


def test_a_plain_text_dataset_needs_no_chat_template(files: Gang, model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    files.write_rows([{"text": "a"}])
    fetch((pod := one(files, dataset={"format": "text"})).job, PodPaths(pod.root))


def test_weights_that_were_cut_off_are_found_without_reading_them(files: Gang, model: Path) -> None:
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:-1])
    assert "model.safetensors: " in (message := fault(files).message)
    assert "the copy was cut off" in message


def test_a_missing_file_of_an_index_is_named(files: Gang, model: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors: No such file" in fault(files).message


def test_weights_that_only_their_owner_may_read_are_told(
    files: Gang, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As save_pretrained writes them: mode 0600, while the trainer runs as a user of its own."""

    def denied(file: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("qlora_trainer.fetch.weights.read_shapes", denied)
    message = fault(files).message
    assert "model.safetensors is not readable for uid" in message
    assert "chmod a+r" in message


def test_code_of_the_model_is_refused(files: Gang, model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "my-own", "auto_map": {"AutoModel": "modeling.Mine"}}')
    assert "own code (auto_map), which is never run" in fault(files).message


def test_a_quantised_model_is_refused(files: Gang, model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}')
    assert "quantised already (gptq); write the original model" in fault(files).message


def test_an_output_that_cannot_be_written_is_refused(files: Gang) -> None:
    (files.volumes / "results").rmdir()
    (files.volumes / "results").write_text("a file in the way")
    error = fault(files)
    assert error.reason == Reason.OUTPUT_NOT_WRITABLE
    assert "output.destination pvc://results/out: cannot write" in error.message


def test_a_known_target_needs_no_heavy_import(files: Gang) -> None:
    pod = one(files, adapter={"targets": "q_proj,self_attn.v_proj"})
    fetch(pod.job, PodPaths(pod.root))  # the config alone is too little to build a model of


def test_an_unknown_target_is_named_with_what_there_is(tmp_path: Path, tiny_model: Path) -> None:
    error = fault(Gang(tmp_path, tiny_model), adapter={"targets": "q_proj,query"})
    assert error.reason == Reason.USER_ERROR
    assert "no linear module 'query'" in error.message
    assert "some of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in error.message


def test_a_target_matches_whole_names_and_their_ends() -> None:
    modules = ["layers.0.q_proj", "head"]
    assert unknown_targets(["q_proj", "0.q_proj", "head", "proj", "q_pro"], modules) == ["proj", "q_pro"]


def test_the_checks_import_neither_torch_nor_transformers(files: Gang) -> None:
    import subprocess
    import sys

    pod = one(files, adapter={"targets": "q_proj"})
    code = (
        "import sys; from pathlib import Path; from qlora_trainer.paths import PodPaths;"
        "from qlora_trainer.fetch.command import run_fetch;"
        f"assert run_fetch(PodPaths(Path({str(pod.root)!r}))) == 0;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def write_rows(files: Gang, name: str, *rows: object) -> None:
    file = files.volumes / "data" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_more_wrong_rows_are_counted_and_some_of_them_named(files: Gang) -> None:
    write_rows(files, "train.jsonl", {"text": "a"}, *[{}] * 8, {"text": "b"})
    message = fault(files, dataset={"format": "text"}).message
    assert message.startswith("train.jsonl line 2: no field 'text'; it has none; a row of format text is")
    assert message.endswith(
        "; 7 more of 10 rows are wrong: train.jsonl line 3, train.jsonl line 4, train.jsonl line 5, "
        "train.jsonl line 6, train.jsonl line 7, …"
    )


def test_a_folder_with_files_of_several_kinds_needs_a_choice(files: Gang) -> None:
    write_rows(files, "folder/train/a.jsonl", {"text": "a"})
    write_rows(files, "folder/test/a.jsonl", {"text": "a"})
    (files.volumes / "data/folder/notes.txt").write_text("a")
    dataset = {"source": "pvc://data/folder", "format": "text"}
    assert "has .jsonl and .txt files; write files: '*.jsonl'" in fault(files, dataset=dataset).message

    pod = one(files, dataset={**dataset, "files": "train/*.jsonl"})
    (found,) = fetch(pod.job, PodPaths(pod.root)).dataset
    assert [Path(file).relative_to(pod.root / "volumes/data/folder").as_posix() for file in found] == ["train/a.jsonl"]

    absent = fault(files, dataset={**dataset, "files": "*.csv"})
    assert "file that fits files: *.csv" in absent.message
    assert absent.reason == Reason.DATASET_INVALID


def test_descriptions_and_hidden_files_of_a_saved_dataset_are_no_rows(files: Gang) -> None:
    write_rows(files, "folder/a.json", {"text": "a"})
    for name in ("state.json", "dataset_info.json", ".cache/b.json"):
        write_rows(files, f"folder/{name}", {})
    pod = one(files, dataset={"source": "pvc://data/folder", "format": "text"})
    assert [[Path(file).name for file in part] for part in fetch(pod.job, PodPaths(pod.root)).dataset] == [["a.json"]]


def test_a_folder_of_texts_is_no_folder_of_chats(files: Gang) -> None:
    (files.volumes / "data/folder").mkdir()
    (files.volumes / "data/folder/a.txt").write_text("a")
    assert "which are plain texts; write format: text" in fault(files, dataset={"source": "pvc://data/folder"}).message


def test_each_part_of_a_mix_is_checked_by_its_own_format(files: Gang) -> None:
    write_rows(files, "chats.jsonl", {"talk": [{"role": "assistant", "content": "a"}]})
    write_rows(files, "texts.jsonl", {"text": "a"})
    chats = {"source": "pvc://data/chats.jsonl", "columns": {"messages": "talk"}}
    texts = {"source": "pvc://data/texts.jsonl", "format": "text"}
    pod = one(files, dataset={"source": None, "mix": [chats, texts]})
    found = fetch(pod.job, PodPaths(pod.root)).dataset
    assert [[Path(file).name for file in part] for part in found] == [["chats.jsonl"], ["texts.jsonl"]]
    message = fault(files, dataset={"source": None, "mix": [chats, {**texts, "format": "instruction"}]}).message
    assert message.startswith("texts.jsonl line 1: no field 'instruction'")


def test_a_template_of_the_job_replaces_that_of_the_model(files: Gang, model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    pod = one(
        files, dataset={"chatTemplate": "{% for m in messages %}{% generation %}a{% endgeneration %}{% endfor %}"}
    )
    fetch(pod.job, PodPaths(pod.root))


def test_a_template_with_a_fault_is_told_by_its_line(files: Gang) -> None:
    error = fault(files, dataset={"chatTemplate": "{% for m in messages %}\n{{ m.role }\n{% endfor %}"})
    assert error.reason == Reason.USER_ERROR
    assert error.message.startswith("dataset.chatTemplate line 2: ")
