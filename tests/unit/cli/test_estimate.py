"""`qlora estimate`, as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import yaml

from builders import job_body
from qlora_cli.main import main
from unit.api.test_estimate import LLAMA_8B, Model


def save_headers(folder: Path, model: Model) -> None:
    """A model's folder in which the weights are a hole of the right size."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(model.config))
    header, end = {}, 0
    for name, shape in model.shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)


def job_file(folder: Path, **changes: Any) -> str:
    body = job_body("support-bot", model={"source": "pvc://models/llama"}, **changes)
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(body))
    return str(file)


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    save_headers(tmp_path / "volume/llama", LLAMA_8B)
    return tmp_path / "volume"


def test_shows_parts_alternatives_and_which_gpus_fit(
    tmp_path: Path, volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = job_file(tmp_path, node={"accelerator": "nvidia.com/gpu"}, training={"microBatchSize": 2})
    assert main(["estimate", "-f", file, "--volume", f"models={volumes}"]) == 0
    text = capsys.readouterr().out
    assert "support-bot: memory of one GPU" in text
    assert "logits and loss" in text
    assert "<- this job" in text
    assert "24 GB fits" in text
    assert len(max(text.splitlines(), key=len)) <= 110


def test_shows_what_fit_would_choose(tmp_path: Path, volumes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = job_file(tmp_path, node={"accelerator": "nvidia.com/gpu"}, training={"fit": "auto", "kernels": "plain"})
    assert main(["estimate", "-f", file, "--volume", f"models={volumes}"]) == 0
    text = capsys.readouterr().out
    assert "fit: auto on 24 GB: microBatchSize 8, with checkpointing" in text
    assert "fit: auto on 80 GB: microBatchSize 2, without checkpointing" in text


def test_a_job_for_cpus_is_shown_as_it_would_be_on_a_gpu(
    tmp_path: Path, volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = job_file(tmp_path, node={"accelerator": "cpu"})
    assert main(["estimate", "-f", file, "--volume", f"models={volumes}"]) == 0
    assert "figures of the same job on a GPU" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "given", "sentence"),
    [
        ("pvc://models/llama", "other", "write --volume models=FOLDER"),
        ("pvc://models/none", "models", "has no config.json"),
        ("s3://models/llama", "models", "only pvc:// and hf:// are read here"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, volumes: Path, source: str, given: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(job_file(tmp_path))
    body = yaml.safe_load(file.read_text())
    body["spec"]["model"]["source"] = source
    file.write_text(yaml.safe_dump(body))
    assert main(["estimate", "-f", str(file), "--volume", f"{given}={volumes}"]) == 2
    assert sentence in capsys.readouterr().err


def test_of_a_model_on_the_hub_only_headers_are_read(
    tmp_path: Path, volumes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def metadata(repository: str, **_: Any) -> Any:
        assert repository == "meta/llama"
        tensors = {name: SimpleNamespace(shape=list(shape)) for name, shape in LLAMA_8B.shapes.items()}
        return SimpleNamespace(files_metadata={"model.safetensors": SimpleNamespace(tensors=tensors)})

    monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(volumes / "llama/config.json"))
    file = Path(job_file(tmp_path))
    file.write_text(file.read_text().replace("pvc://models/llama", "hf://meta/llama"))
    assert main(["estimate", "-f", str(file)]) == 0
    assert "weights (nf4)                               3.25" in capsys.readouterr().out


def test_needs_no_torch(tmp_path: Path, volumes: Path) -> None:
    program = (
        "import sys; from qlora_cli.main import main; code = main(sys.argv[1:]); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'deepspeed')))"
    )
    command = ["estimate", "-f", job_file(tmp_path), "--volume", f"models={volumes}"]
    assert subprocess.run([sys.executable, "-c", program, *command], stdout=subprocess.DEVNULL).returncode == 0
