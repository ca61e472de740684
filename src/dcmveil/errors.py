"""The exceptions of dcmveil. None of their messages holds a value of a file or a key."""

from __future__ import annotations


class DcmveilError(Exception):
    """The base of every error that dcmveil raises on purpose."""


class UsageError(DcmveilError):
    """A wrong key, profile or option: nothing was read yet. Exit status 2."""


class KeyFileError(UsageError):
    """A key file that is missing, unreadable, not a key, or in the way of a new one."""


class FileError(DcmveilError):
    """A file that must not be read or written as asked: a link, a device, one that would have to
    change its length. The reason shows no path."""


class DicomError(DcmveilError):
    """Input that is not DICOM as PS3.5 and PS3.10 define it, or that must not be passed on.

    `offset` is in bytes from the start of the input, `path` is the tag path, such as
    `(0010,0010)`. Either may be unknown (None, or an empty path).
    """

    def __init__(self, offset: int | None, path: str | None, reason: str) -> None:
        # All three go to the base class, so that the error survives pickling by a worker process.
        super().__init__(offset, path, reason)
        self.offset = offset
        self.path = path or ""
        self.reason = reason

    def __str__(self) -> str:
        place = [] if self.offset is None else [f"offset {self.offset}"]
        if self.path:
            place.append(self.path)
        return ": ".join(part for part in (", ".join(place), self.reason) if part)


class NotDicomError(DicomError):
    """Input that is no DICOM at all, by its first bytes: trees and archives skip it."""


class ArchiveError(DcmveilError):
    """An archive that is cut off or damaged, so that its next member cannot be found, or input
    that is no archive. What was written until then is not whole.

    `offset` is in bytes from the start of the archive, after its compression was undone.
    """

    def __init__(self, offset: int | None, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        place = "" if self.offset is None else f"offset {self.offset}: "
        return f"{place}{self.reason}"
