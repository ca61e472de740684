"""What other readers see in a file: pydicom, DCMTK (dcmdump) and GDCM (gdcmdump).

Each gives lines in the order in which it meets the elements, items and delimiters; two dumps of
one reader can be held against each other line by line. A dump is what a reader showed until it
gave up, for half a dump of a hostile file may still show a name.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataelem import RawDataElement

import corpus

SECONDS = 60
TIMED_OUT = 124
# On lengths that lie GDCM asks for gigabytes and touches them all.
LIMITED = ["sh", "-c", 'ulimit -v 500000; ulimit -t 20; exec "$@"', "sh"]
BATCH = 64  # files for one process: dcmdump needs longer to start than to read a small file
INSTALLED = {name: shutil.which(name) is not None for name in ("dcmdump", "gdcmdump")}
# all that DCMTK may be told to put up with, where its defaults do not
DCMTK = {
    "dcmdump": (),
    "patient dcmdump": ("+Ep", "-ml", "+rd", "+oi", "+vi", "+uc", "-vr"),
    "dcmdump by bytes": ("-td", "-ev", "+ae"),
}
ITEM = 0xFFFEE000


@dataclass(frozen=True)
class Line:
    """An element, an item or a delimiter. The value is a text without its padding."""

    depth: int
    tag: int
    value: str = ""

    def __str__(self) -> str:
        return f"{'  ' * self.depth}({self.tag >> 16:04X},{self.tag & 0xFFFF:04X})"


@dataclass
class Dump:
    """opened: it was read without complaint."""

    opened: bool = False
    lines: list[Line] = field(default_factory=list)

    def text(self) -> str:
        return "\n".join(line.value for line in self.lines)


# -- pydicom ---------------------------------------------------------------------------------


def pydicom_dump(data: bytes, force: bool = False) -> Dump:
    logger = pydicom.config.logger
    was, logger.disabled = logger.disabled, True
    dump = Dump()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data), force=force)
            dump.lines += _of_data_set(dataset.file_meta, 0)
            for line in _of_data_set(dataset, 0):
                dump.lines.append(line)
        dump.opened = True
    except Exception:
        pass  # of any kind, on hostile input: it shows what it shows
    finally:
        logger.disabled = was
    return dump


def _of_data_set(dataset: pydicom.Dataset, depth: int) -> Iterator[Line]:
    for tag in list(dataset._dict):  # in the order of the file
        raw = dataset.get_item(tag)
        value: object = raw.value
        if isinstance(raw, RawDataElement):
            try:
                element = dataset[tag]
            except Exception:  # a value that pydicom cannot convert
                yield Line(depth, int(tag), _plain(value))
                continue
            value = element.value if element.VR == "SQ" else raw.value
        if isinstance(value, pydicom.Sequence):
            yield Line(depth, int(tag))
            for item in value:
                yield Line(depth + 1, ITEM)
                yield from _of_data_set(item, depth + 2)
        else:
            yield Line(depth, int(tag), _plain(value))


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    return "" if value is None else str(value)


# -- DCMTK -----------------------------------------------------------------------------------

_DCMTK_HEAD = re.compile(r"^( *)\(([0-9a-f]{4}),([0-9a-f]{4})\) \S\S ")
# The comment after the value. It is looked for by itself, since some lines have megabytes.
_DCMTK_TAIL = re.compile(r"# *(?:u/l|\d+), *\d+ ")


def dcmdump(files: Sequence[bytes], *options: str) -> list[Dump]:
    """One dump a file. Control characters come as octal numbers, so a line is a line."""
    dumps = [Dump(opened=True) for _ in files]
    with tempfile.TemporaryDirectory() as folder:
        names = _write(files, Path(folder))
        done = _run(["dcmdump", "+L", "-Un", "+F", "+Qo", *options, *map(str, names)])
    if done[2] == TIMED_OUT and len(files) > 1:  # one of them stands in the way of the others
        return [dump for data in files for dump in dcmdump([data], *options)]
    dump = Dump()
    at = {str(name): i for i, name in enumerate(names)}
    for text in done[0].splitlines():
        if text.startswith("# dcmdump ("):
            dump = dumps[at[text.partition(": ")[2]]]
        elif (head := _DCMTK_HEAD.match(text)) and (tail := _DCMTK_TAIL.search(text, head.end())):
            dump.lines.append(_line(head, text[head.end() : tail.start()].rstrip(" ")))
    for text in done[1].splitlines():
        if text.startswith("E: ") and (name := re.search(r"/f(\d+)\.dcm", text)):
            dumps[int(name[1])].opened = False
    return dumps


# -- GDCM ------------------------------------------------------------------------------------

_GDCM_LINE = re.compile(r"^( *)\(([0-9a-f]{4}),([0-9a-f]{4})\) (.*)$")


def gdcmdump(files: Sequence[bytes]) -> list[Dump]:
    """One dump a file; values longer than 256 bytes are cut by the program."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        return list(threads.map(_gdcmdump, _write(files, Path(folder))))


def _gdcmdump(path: Path) -> Dump:
    out, _, code = _run(["gdcmdump", str(path)])
    dump = Dump(opened=code == 0)
    for text in out.splitlines():
        if found := _GDCM_LINE.match(text):
            dump.lines.append(_line(found, found[4].rpartition("#")[0]))
        elif dump.lines and text and not text.startswith("#"):  # the next line of a value
            last = dump.lines[-1]
            dump.lines[-1] = Line(last.depth, last.tag, last.value + "\n" + text.rpartition("#")[0])
    return dump


def _line(found: re.Match[str], value: str) -> Line:
    value = re.sub(r"^(?:\?\?|[A-Z]{2}|na)?(?: \([A-Z]{2}\))? ?", "", value.strip())
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    elif re.match(r"\((?:Sequence|Item|PixelSequence|Fragment|no value)", value):
        value = ""
    tag = int(found[2] + found[3], 16)
    return Line(len(found[1]) // 2, tag, value.strip(" \0"))


# -- all of them -----------------------------------------------------------------------------


def _write(files: Iterable[bytes], folder: Path) -> list[Path]:
    names = []
    for i, data in enumerate(files):
        names.append(folder / f"f{i}.dcm")
        names[-1].write_bytes(data)
    return names


def _run(command: list[str]) -> tuple[str, str, int]:
    try:
        done = subprocess.run(
            [*LIMITED, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        return out.decode("latin-1"), "", TIMED_OUT
    return done.stdout.decode("latin-1"), done.stderr.decode("latin-1"), done.returncode


def batches(files: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(files), BATCH):
        yield files[start : start + BATCH]


def dump_all(files: Sequence[bytes], patient: bool = False) -> dict[str, list[Dump]]:
    """reader -> one dump a file, of the readers that are installed. patient: and what they can be
    made to read."""
    found = {"pydicom": [pydicom_dump(data, force=True) for data in files]}
    if INSTALLED["dcmdump"]:
        for name, options in DCMTK.items():
            if patient or not options:
                found[name] = [d for part in batches(files) for d in dcmdump(part, *options)]
    if INSTALLED["gdcmdump"]:
        found["gdcmdump"] = gdcmdump(files)
    return found


def corpus_files() -> list[tuple[str, bytes]]:
    return [(name, path.read_bytes()) for name, path in corpus.files()]
