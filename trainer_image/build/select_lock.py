"""Prints a part of a lock file (requirements.txt with hashes): select_lock.py LOCK [--only NAME] [--without NAME...].

NAME may end in `*`. A torch that runs on the CPU needs none of the NVIDIA packages that its lock names.
"""

import argparse
import fnmatch
import re
from pathlib import Path


def entries(text: str) -> dict[str, str]:
    """Package name to its lines: the pin, the hashes that follow, the comments."""
    found = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {entry.partition("==")[0]: entry for entry in found if "==" in entry}


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--only", nargs="+", default=["*"])
    parser.add_argument("--without", nargs="+", default=[])
    options = parser.parse_args()
    for name, entry in entries(options.lock.read_text()).items():
        if matches(name, options.only) and not matches(name, options.without):
            print(entry, end="")


if __name__ == "__main__":
    main()
