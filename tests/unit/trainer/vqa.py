"""Images and questions of the package easy-vqa, as a dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

IMAGES = "images"


def vqa_rows(number: int, folder: Path) -> list[dict[str, Any]]:
    """Rows whose images are copied into `folder`: a question about each of so many images."""
    import easy_vqa

    questions, answers, images = easy_vqa.get_train_questions()
    paths = easy_vqa.get_train_image_paths()
    (folder / IMAGES).mkdir(exist_ok=True)
    rows = []
    for question, answer, image in list(zip(questions, answers, images, strict=True))[:: max(1, 4000 // number)][
        :number
    ]:
        name = f"{IMAGES}/{image}.png"
        shutil.copyfile(paths[image], folder / name)
        rows.append(row(name, question, answer))
    return rows


def row(image: Any, question: str, answer: str) -> dict[str, Any]:
    content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]}


def write_rows(file: Path, rows: list[Any]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
