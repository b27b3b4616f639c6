"""Makes wheels smaller by what no installed package needs, for the bundle in the extension."""

import base64
import hashlib
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ELF_64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
# The fields of an ELF header that say where the table of sections is, and what it has.
TABLE_OFFSET, TABLE_OFFSET_AT = struct.Struct("<Q"), 0x28
TABLE_COUNTS, TABLE_COUNTS_AT = struct.Struct("<HHH"), 0x3A
SECTION = struct.Struct("<IIQQQQIIQQ")
ALLOCATED = 0x2
NO_BITS = 8


RECORD = ".dist-info/RECORD"


class File(NamedTuple):
    """A file of a wheel."""

    info: zipfile.ZipInfo
    content: bytes

    @property
    def name(self) -> str:
        """Its path in the wheel."""
        return self.info.filename


class Section(NamedTuple):
    """A row of the table of sections."""

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

    @property
    def end(self) -> int:
        """The offset in the file after its content."""
        return self.offset + (0 if self.type == NO_BITS else self.size)


def slim_wheel(source: Path, target: Path) -> None:
    """Write the wheel *source* to *target* without debug information and long description.

    The same source gives the same bytes. The new RECORD has the new hashes.
    """
    with zipfile.ZipFile(source) as archive:
        write_wheel(target, read_files(archive))


def merge_wheels(sources: Sequence[Path], folder: Path) -> None:
    """Write one slim wheel for all versions of Python to *folder*, from one for each version.

    They are for one platform, and differ in extension modules only, each of which Python finds by
    its own version in the name. The oldest release of the platform is the merged wheel's: a newer
    one is required by a newer Python, not by the wheel.
    """
    files: dict[str, File] = {}
    for source in sorted(sources):
        with zipfile.ZipFile(source) as archive:
            for each in read_files(archive):
                known = files.setdefault(each.name, each)
                if known.content != each.content and not each.name.endswith("/WHEEL"):
                    raise ValueError(f"the wheels of {source.name} differ in {each.name}")
    name, version, *_ = sources[0].stem.split("-")
    platform = min((each.stem.split("-")[-1] for each in sources), key=release_of)
    wheel = files[f"{name}-{version}.dist-info/WHEEL"]
    tag = f"py3-none-{platform}"
    content = re.sub(rb"(?m)^Tag: [^\r\n]*", b"Tag: " + tag.encode(), wheel.content)
    files[wheel.name] = wheel._replace(content=content)
    write_wheel(folder / f"{name}-{version}-{tag}.whl", files.values())


def release_of(platform: str) -> list[int]:
    """Return the release in a platform's tag, such as [10, 9] of `macosx_10_9_x86_64`."""
    return [int(part) for part in re.findall(r"_(\d+)(?=_)", platform)]


def read_files(archive: zipfile.ZipFile) -> Iterator[File]:
    """Yield what is kept of a wheel, without RECORD."""
    for info in archive.infolist():
        if not info.is_dir() and not info.filename.endswith(RECORD):
            yield File(info, slim_file(info.filename, archive.read(info)))


def write_wheel(target: Path, files: Iterable[File]) -> None:
    """Write files and a RECORD of them."""
    record = ""
    with zipfile.ZipFile(target, "w") as archive:
        for info, content in files:
            copied = zipfile.ZipInfo(info.filename, info.date_time)
            copied.external_attr = info.external_attr
            archive.writestr(copied, content, zipfile.ZIP_DEFLATED, compresslevel=9)
            record += f"{info.filename},sha256={encode_hash(content)},{len(content)}\n"
        name = "-".join(target.name.split("-")[:2]) + RECORD
        record += f"{name},,\n"
        info = zipfile.ZipInfo(name, copied.date_time)
        info.external_attr = copied.external_attr
        archive.writestr(info, record, zipfile.ZIP_DEFLATED, compresslevel=9)


def slim_file(name: str, content: bytes) -> bytes:
    """Return what is kept of a file in a wheel."""
    if name.endswith(".so"):
        return strip_elf(content)
    if name.endswith(".dist-info/METADATA"):
        return re.split(rb"\r?\n\r?\n", content, maxsplit=1)[0] + b"\n"
    return content


def encode_hash(content: bytes) -> str:
    """Return the hash of a file as RECORD has it."""
    digest = hashlib.sha256(content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def strip_elf(content: bytes) -> bytes:
    """Return a shared library without the sections after the last one that a process loads.

    These are debug information and the symbols that only a debugger reads. Not by the program
    `strip`: macOS and Windows have none for this format, and its output depends on its version.
    Other formats, as that of macOS, are returned as they are. Raises ValueError if the library
    is laid out in another way than linkers do it.
    """
    if not content.startswith(ELF_64_LITTLE_ENDIAN):
        return content
    (table,) = TABLE_OFFSET.unpack_from(content, TABLE_OFFSET_AT)
    size, number, names_index = TABLE_COUNTS.unpack_from(content, TABLE_COUNTS_AT)
    if size != SECTION.size:
        raise ValueError("the sections of this library have an unknown format")
    rows = [Section(*SECTION.unpack_from(content, table + size * n)) for n in range(number)]
    names = rows[names_index]
    kept = rows[: 1 + max(n for n, row in enumerate(rows) if row.flags & ALLOCATED)]
    end = max(row.end for row in kept)
    if names in kept or any(row.link >= len(kept) for row in kept):
        raise ValueError("a loaded section of this library refers to one that is not loaded")
    stripped = bytearray(content[:end])
    kept.append(names._replace(offset=end))
    stripped += content[names.offset : names.end]
    stripped += bytes(-len(stripped) % 8)
    TABLE_OFFSET.pack_into(stripped, TABLE_OFFSET_AT, len(stripped))
    TABLE_COUNTS.pack_into(stripped, TABLE_COUNTS_AT, size, len(kept), len(kept) - 1)
    for row in kept:
        stripped += SECTION.pack(*row)
    return bytes(stripped)
