"""Reads the file of a job as `kubectl` does: YAML in which `2e-4` is a number and no key stands twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from qlora_api import names
from qlora_cli.check.refused import Refused


class _Loader(yaml.SafeLoader):
    """PyYAML takes `2e-4` for a text, a date for a date, and the last of two equal keys for the only one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are all different."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_job(file: Path) -> dict[str, Any]:
    """The only QLoRAJob of a file; documents of other kinds are passed over.

    Raises:
        Refused: the file cannot be read, is no YAML, or holds no QLoRAJob or several.
    """
    try:
        documents = list(yaml.load_all(file.read_text(), _Loader))
    except OSError as error:
        raise Refused([f"{file}: {error.strerror}; write the file of a QLoRAJob"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused([f"{file}: {error}"]) from error
    jobs = [body for body in documents if isinstance(body, dict) and body.get("kind") == names.KIND]
    if len(jobs) != 1:
        found = f"{len(jobs)} of them" if jobs else "none"
        raise Refused([f"{file}: holds {found}; write one document of kind: {names.KIND}"])
    if jobs[0].get("apiVersion") != names.API_VERSION:
        raise Refused([f"{file}: apiVersion is {jobs[0].get('apiVersion')}; write apiVersion: {names.API_VERSION}"])
    return jobs[0]
