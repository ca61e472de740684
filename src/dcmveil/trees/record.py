"""What a run says of one file, as the line of a report: no old value, and no path of the input
unless it was asked for."""

from __future__ import annotations

import json

from ..core import ACTION_NAMES
from ..inspect import path_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..core import Trace
    from ..errors import DicomError
    from ..report import Report

# outcomes
REWRITTEN = "rewritten"
SAME = "same"  # the output stood there already, byte for byte
COPIED = "copied"  # not DICOM, copied because that was asked for
SKIPPED = "skipped"
FAILED = "failed"
OUTCOMES = (REWRITTEN, SAME, COPIED, SKIPPED, FAILED)


class Result:
    """The outcome for one file, on its way from a worker to the report.

    record      what the report says (see docs/trees.md)
    temporary   path of the finished output that waits for its name, None: there is none
    output      that name, relative to the output folder
    crosswalk   rows (kind, old, new)
    fatal       no further file can be written: the run must end
    report      the session's own, and
    exception   what went wrong; neither leaves the process that made it
    """

    _SENT = ("relative", "record", "temporary", "output", "crosswalk", "fatal")
    __slots__ = (*_SENT, "exception", "report")

    def __init__(self, relative: bytes, record: dict[str, Any]) -> None:
        self.relative = relative
        self.record = record
        self.temporary: bytes | None = None
        self.output = b""
        self.crosswalk: list[tuple[str, bytes, bytes]] = []
        self.fatal = False
        self.report: Report | None = None
        self.exception: Exception | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_received, tuple(getattr(self, name) for name in self._SENT))


def _received(*state: Any) -> Result:
    result = Result.__new__(Result)
    for name, value in zip(Result._SENT, state, strict=True):
        setattr(result, name, value)
    result.report = result.exception = None
    return result


def line_of(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def counts_of(report: Report) -> dict[str, Any]:
    """The part of a record that tells what was done."""
    return {
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "elements": report.elements,
        "actions": report.actions,
        "notes": report.notes,
        "uids": {name: count for name, count in report.uids.items() if count},
        "transfer_syntax": report.transfer_syntax,
        "second_run": report.second_run,
        "study": report.study,
        "series": report.series,
        "instance": report.instance,
    }


def error_of(error: DicomError) -> dict[str, Any]:
    return {"offset": error.offset, "path": error.path, "reason": error.reason}


def edits_of(trace: list[Trace]) -> list[list[Any]]:
    """[offset, length, tag path, action] of every value that changed."""
    return [
        [offset, length, path_text(place, tag), ACTION_NAMES[action]]
        for place, tag, _, action, _, offset, _, length, _, old, new in trace
        if new is not None and old != new
    ]
