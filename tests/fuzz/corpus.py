"""The corpus: what a long run of the fuzzer has found worth keeping, in one small file.

python -m fuzz.corpus pack FOLDER      after `libFuzzer -merge=1 FOLDER ...`
python -m fuzz.corpus unpack FOLDER
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

FILE = Path(__file__).with_name("corpus.tar.xz")


def load() -> dict[str, bytes]:
    with tarfile.open(FILE) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def pack(folder: Path) -> None:
    """The same inputs make the same file."""
    contents = sorted(path.read_bytes() for path in folder.iterdir())
    with tarfile.open(FILE, "w:xz", format=tarfile.USTAR_FORMAT) as archive:
        for data in contents:
            member = tarfile.TarInfo(hashlib.sha256(data).hexdigest()[:12])
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def unpack(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in load().items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](Path(sys.argv[2]))
