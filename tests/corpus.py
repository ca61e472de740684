"""Real files to try: all test data of pydicom's wheel and of pydicom-data, DICOM or not."""

from __future__ import annotations

import functools
import importlib.util
import io
import logging
import os
import subprocess
import tempfile
import warnings
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

SECONDS = 120  # a reader that takes longer has not opened the file
PACKAGES = {"pydicom": "data", "data_store": "data"}  # package -> its folder of data


@functools.cache
def files() -> tuple[tuple[str, Path], ...]:
    """(name, path) of every file, sorted; the name says the package and the place in it."""
    found = []
    for package, folder in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(f"the corpus needs the package of {package}")
        root = Path(spec.submodule_search_locations[0])
        for path in (root / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py":
                found.append((f"{package}/{path.relative_to(root).as_posix()}", path))
    return tuple(sorted(found))


def pydicom_reads(file: Path | bytes) -> pydicom.FileDataset | None:
    """The data set if pydicom reads it as DICOM, by force if need be; else None."""
    data = file.read_bytes() if isinstance(file, Path) else file
    logger = logging.getLogger("pydicom")
    was = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return pydicom.dcmread(io.BytesIO(data))
            except InvalidDicomError:
                dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            return dataset if _is_sane(dataset) else None
    except (ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError,
            TypeError, ValueError):  # fmt: skip
        return None
    finally:
        logger.disabled = was


def _is_sane(dataset: pydicom.Dataset) -> bool:
    """By force, text becomes elements too: then the tags are letters and known to nobody."""
    tags = list(dataset.keys()) + list(dataset.file_meta.keys())
    known = sum(pydicom.datadict.dictionary_has_tag(tag) for tag in tags)
    return known > 0 and 2 * known >= len(tags)


def dsrdump_opens(data: bytes) -> bool:
    return _opens(["dsrdump", "-q"], data)


def tolerant_dsrdump_opens(data: bytes) -> bool:
    """Real structured reports break so many rules that the strict reader takes few of them."""
    return _opens(["dsrdump", "-q", "-Er", "-Ev", "-Ec", "-Ee"], data)


# dcmdump and gdcmdump: see readers.py, which looks at all that they show.
READERS = {
    "dsrdump": dsrdump_opens,
    "tolerant dsrdump": tolerant_dsrdump_opens,
}


COMMAND_OF = {reader: reader.split()[-1] for reader in READERS}


def _opens(command: list[str], data: bytes) -> bool:
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        try:
            done = subprocess.run(
                [*command, file.name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0
