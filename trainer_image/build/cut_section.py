"""Takes a section out of a 64-bit little-endian ELF library, and with it its room in the file.

The section's addresses stay reserved but are not mapped: for data that nothing will read. Its segment becomes two, one
for what lies before and one for what lies behind; the second takes the place of a note, which the loader does not need.
"""

import struct
from dataclasses import astuple, dataclass
from pathlib import Path

PAGE = 0x1000
LOAD, NOTE = 1, 4  # types of segments
NOBITS = 8  # type of a section that takes no room in the file


@dataclass
class Segment:
    FORMAT = "<IIQQQQQQ"
    type: int
    flags: int
    offset: int
    address: int
    physical_address: int
    file_size: int
    memory_size: int
    alignment: int


@dataclass
class Section:
    FORMAT = "<IIQQQQIIQQ"
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


def read_table(data: bytes, kind: type, offset: int, count: int) -> list:
    size = struct.calcsize(kind.FORMAT)
    return [kind(*struct.unpack_from(kind.FORMAT, data, offset + i * size)) for i in range(count)]


def write_table(data: bytearray, offset: int, entries: list) -> None:
    for entry in entries:
        struct.pack_into(entry.FORMAT, data, offset, *astuple(entry))
        offset += struct.calcsize(entry.FORMAT)


def cut_section(library: Path, name: str) -> None:
    data = bytearray(library.read_bytes())
    segments_at, sections_at = struct.unpack_from("<QQ", data, 32)
    segment_count, _, section_count, names_index = struct.unpack_from("<HHHH", data, 56)
    segments = read_table(data, Segment, segments_at, segment_count)
    sections = read_table(data, Section, sections_at, section_count)

    names_at = sections[names_index].offset
    wanted = name.encode() + b"\0"
    section = next((s for s in sections if data.startswith(wanted, names_at + s.name)), None)
    if section is None:
        return
    start = -(-section.offset // PAGE) * PAGE  # whole pages only
    end = (section.offset + section.size) // PAGE * PAGE
    removed = end - start

    before = next(s for s in segments if s.type == LOAD and s.offset <= start and end <= s.offset + s.file_size)
    behind = Segment(*astuple(before))
    behind.offset, behind.address = end, before.address + end - before.offset
    behind.physical_address = behind.address
    behind.file_size = behind.memory_size = before.offset + before.file_size - end
    before.file_size = before.memory_size = start - before.offset
    segments.insert(segments.index(before) + 1, behind)
    segments.remove(next(s for s in segments if s.type == NOTE))

    section.type = NOBITS
    for entry in [*segments, *sections]:
        if entry.offset >= end:
            entry.offset -= removed
    write_table(data, segments_at, segments)
    write_table(data, sections_at, sections)
    struct.pack_into("<Q", data, 40, sections_at - removed)
    del data[start:end]

    own = library.with_suffix(".own")  # the installer's cache may share the file with us
    own.write_bytes(data)
    own.chmod(library.stat().st_mode)
    own.replace(library)
