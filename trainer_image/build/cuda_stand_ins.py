"""Lets PyPI's torch for Linux x86-64, which is linked with CUDA, run on a CPU without NVIDIA's packages (4 to 5 GB).

usage: cuda_stand_ins.py SITE-PACKAGES    (with torch in it; needs gcc and readelf)

Each NVIDIA library that torch is linked with is replaced by a small one of the same name, whose functions all answer
"no device"; torch.cuda.is_available() is then False. The GPU code inside libtorch_cuda.so is cut out of the file.
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cut_section import cut_section

NO_DEVICE = 100  # cudaErrorNoDevice

Symbols = dict[str, dict[str, list[str]]]  # library → symbol version → names


def run(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def missing_libraries(binaries: list[Path], library_folder: Path) -> set[str]:
    """The libraries that torch is linked with and that neither it nor the system has."""
    needed = {name for binary in binaries for name in re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-dW", binary))}
    system = run("/sbin/ldconfig", "-p")
    return {name for name in needed if not (library_folder / name).exists() and f"\t{name} " not in system}


def dynamic_symbols(binary: Path) -> Iterator[tuple[str, str, bool, bool]]:
    """Name, version, whether it is defined here, whether it must be found elsewhere (weak ones need not)."""
    for line in run("readelf", "--dyn-syms", "-W", binary).splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
            continue
        name, _, version = fields[7].partition("@")
        defined = fields[6] != "UND"
        yield name, version.lstrip("@"), defined, not defined and fields[4] == "GLOBAL"


def version_owners(binary: Path) -> Iterator[tuple[str, str]]:
    """Symbol version and the library it is expected from."""
    library = None
    for line in run("readelf", "-VW", binary).splitlines():
        if found := re.search(r"File: (\S+)", line):
            library = found[1]
        elif library and (found := re.search(r"Name: (\S+)", line)):
            yield found[1], library


def wanted_symbols(binaries: list[Path], missing: set[str]) -> Symbols:
    """What torch expects of each missing library."""
    wanted: set[tuple[str, str]] = set()
    defined: set[str] = set()
    owners: dict[str, str] = {}
    for binary in binaries:
        owners.update(version_owners(binary))
        for name, version, is_defined, is_wanted in dynamic_symbols(binary):
            if is_defined:
                defined.add(name)
            elif is_wanted:
                wanted.add((name, version))
    # Some of NVIDIA's libraries have no symbol versions. Any stand-in can serve those, since lookup is global.
    runtime = next(library for library in missing if library.startswith("libcudart"))
    symbols: Symbols = defaultdict(lambda: defaultdict(list))
    for name, version in sorted(wanted):
        if version and owners.get(version) in missing:
            symbols[owners[version]][version].append(name)
        elif not version and name not in defined and re.match(r"_*(cu|nccl|nv)", name):
            symbols[runtime][""].append(name)
    return symbols


def assembly(names: list[str]) -> str:
    lines = [".text", 'none: .asciz "no CUDA here"']
    for name in names:
        returns_text = re.search(r"Error(String|Name)$", name)
        answer = "lea none(%rip), %rax" if returns_text else f"movl ${NO_DEVICE}, %eax"
        lines += [f".globl {name}", f".type {name},@function", f"{name}:", answer, "ret"]
    return "\n".join([*lines, '.section .note.GNU-stack,"",@progbits', ""])


def version_script(versions: dict[str, list[str]]) -> str:
    return "".join(
        f"{version} {{ global: {' '.join(name + ';' for name in names)} }};\n"
        for version, names in versions.items()
        if version
    )


def build_stand_in(target: Path, versions: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder) / "stand_in.s", Path(folder) / "versions"
        source.write_text(assembly([name for names in versions.values() for name in names]))
        script.write_text(version_script(versions))
        versioned = [f"-Wl,--version-script={script}"] if script.stat().st_size else []
        run("gcc", "-shared", "-nostdlib", f"-Wl,-soname,{target.name}", *versioned, "-o", target, source)


def main() -> None:
    torch = Path(sys.argv[1]) / "torch"
    library_folder = torch / "lib"
    binaries = [*library_folder.glob("*.so*"), *torch.glob("_C*.so")]
    missing = missing_libraries(binaries, library_folder)
    if not missing:
        return
    symbols = wanted_symbols(binaries, missing)
    for name in sorted(missing):
        build_stand_in(library_folder / name, symbols[name])
    cut_section(library_folder / "libtorch_cuda.so", ".nv_fatbin")  # the GPU code, a third of torch
    print(f"stand-ins for {' '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
