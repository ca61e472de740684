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
_PREAMBLE = 128


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


_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make one a line


def line_of(record: dict[str, Any]) -> bytes:
    return _encode(record).encode() + b"\n"


def journal_line(run: str, result: Result) -> bytes:
    """What a journal keeps of a result, for the run of that identity."""
    rows = [(kind, old.hex(), new.hex()) for kind, old, new in result.crosswalk]
    return line_of({"run": run, "record": result.record, "crosswalk": rows})


def from_journal(run: str, relative: bytes, line: bytes) -> Result | None:
    """The result that a journal kept, None if it is of a run with another profile or key."""
    kept = json.loads(line)
    if kept["run"] != run:
        return None
    result = Result(relative, kept["record"])
    result.crosswalk = [
        (kind, bytes.fromhex(old), bytes.fromhex(new)) for kind, old, new in kept["crosswalk"]
    ]
    result.report = report_of(result.record)
    return result


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


def report_of(record: dict[str, Any]) -> Report:
    """The report that `counts_of` was made from; the new Patient ID is not in it."""
    from ..report import Report

    report = Report()
    for name, value in record.items():
        if name in Report.__slots__:
            setattr(report, name, value)
    report.uids = dict.fromkeys(("short", "vanished", "foreign"), 0) | record["uids"]
    return report


def error_of(error: DicomError) -> dict[str, Any]:
    return {"offset": error.offset, "path": error.path, "reason": error.reason}


class Edits:
    """All that changes in one file: a session's trace and its watch.

    list  [offset, length, tag path, action] of each value, or of a part of a long one, in which a
          byte becomes another one; `preamble` with `mark`, and `tail` with `zero`, for what is no
          element. Offsets as in inspect.Edit.
    """

    __slots__ = ("_at", "list", "trace")

    def __init__(self) -> None:
        self.trace: list[Trace] = []
        self.list: list[list[Any]] = []
        self._at = 0

    def see(self, base: int, old: bytes, new: bytes) -> None:
        """One step of the session: the trace has grown, and these bytes are settled."""

        def add(start: int, end: int, path: str, action: str) -> None:
            if old[start - base : end - base] == new[start - base : end - base]:
                return
            last = self.list[-1] if self.list else None
            if last is not None and last[2:] == [path, action] and last[0] + last[1] == start:
                last[1] += end - start
            else:
                self.list.append([start, end - start, path, action])

        def add_gap(end: int) -> None:
            start = max(self._at, base)
            if start < end:
                add(start, end, "tail" if start else "preamble", "zero" if start else "mark")

        if base == 0 and new[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
            add_gap(_PREAMBLE)
            self._at = _PREAMBLE
        for place, tag, _, action, _, offset, _, length, _, _, after in self.trace:
            if after is not None:
                add_gap(offset)
                add(offset, offset + length, path_text(place, tag), ACTION_NAMES[action])
                self._at = offset + length
        self.trace.clear()
        add_gap(base + len(new))
        self._at = base + len(new)
