"""Archives made by the standard library, for the tests of the archive face."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Sequence

from build import E, part10, sample_elements
from dcmveil.faces.compression import _zstd

# What must not be found in any output, and stands where the canaries put it.
OWNER, GROUP = "CanaryOwner", "CanaryGroup"
COMMENT = "Canary comment of the archive"
TIME = 1234567890

Entry = tuple[str, bytes] | tarfile.TarInfo


def instance(number: int, size: int = 128) -> bytes:
    """An image of its own SOP Instance UID, with `size` bytes of pixel data."""
    elements: list[E | bytes] = []
    for e in sample_elements():
        assert isinstance(e, E)
        if e.tag == 0x00080018:
            e = E(e.tag, "UI", f"1.2.826.0.1.3680043.9.7.20240229.1.4.{number}")
        if e.tag == 0x7FE00010:
            e = E(e.tag, "OW", bytes(range(256)) * (size // 256) + bytes(size % 256))
        elements.append(e)
    return part10(elements)


def tarball(entries: Sequence[Entry], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with owners, times and, in PAX, comments and other attributes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            name, data = entry
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), TIME, 0o755
            info.uid, info.gid, info.uname, info.gname = 4711, 4712, OWNER, GROUP
            if format == tarfile.PAX_FORMAT:
                info.pax_headers = {
                    "comment": COMMENT, "atime": f"{TIME}.5", "SCHILY.xattr.user.x": COMMENT,
                }  # fmt: skip
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(entries: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with dates, comments and extra fields."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = COMMENT.encode()
        for name, data in entries:
            info = zipfile.ZipInfo(name, (2011, 11, 11, 11, 11, 10))
            info.compress_type = method
            info.comment = COMMENT.encode()
            info.extra = b"\xfe\xca" + len(OWNER).to_bytes(2, "little") + OWNER.encode()
            archive.writestr(info, data)
    return out.getvalue()


def pack(data: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(data)
    if compression == "zstd":
        return bytes(_zstd().compress(data))
    return data


def unpack(data: bytes) -> bytes:
    """Whatever compression it has, in full."""
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompress(data, 31)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return bytes(_zstd().decompress(data))
    return data


def contents(data: bytes) -> dict[str, bytes]:
    """Name and data of each file in an archive, in order, as the standard library reads it."""
    found: dict[str, bytes] = {}
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            for info in zipped.infolist():
                assert info.filename not in found
                if not info.is_dir():
                    found[info.filename] = zipped.read(info)
        return found
    with tarfile.open(fileobj=io.BytesIO(unpack(data)), mode="r:") as archive:
        for member in archive:
            assert member.name not in found
            file = archive.extractfile(member)
            if file is not None:
                found[member.name] = file.read()
    return found
