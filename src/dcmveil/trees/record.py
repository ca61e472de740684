"""What a run says of one file, as the line of a report: no old value, and no path of the input
unless it was asked for."""

from __future__ import annotations

# What is rarely wanted here imports json, which takes milliseconds (it imports re).
try:
    from _json import encode_basestring_ascii as _quoted
except ImportError:
    from json.encoder import encode_basestring_ascii as _quoted

from itertools import groupby

from ..core import ACTION_NAMES
from ..faces.records import first_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from json import JSONEncoder
    from typing import Any

    from ..core import Trace
    from ..errors import DicomError
    from ..faces.names import Names
    from ..faces.ordinary import Ordinary
    from ..report import Report

    # What a run without a report keeps of a file that was rewritten: (path, temporary path of the
    # output, its name, bytes, warnings as in a Result); in place b"" for both.
    Brief = tuple[bytes, bytes, bytes, int, dict[str, int] | None]
    Warnings = dict[str, int]  # what, and how often

# outcomes
REWRITTEN = "rewritten"
SAME = "same"  # the output stood there already, byte for byte
COPIED = "copied"  # not DICOM, copied because that was asked for
SKIPPED = "skipped"
FAILED = "failed"
OUTCOMES = (REWRITTEN, SAME, COPIED, SKIPPED, FAILED)
_MORE = ("path", "edits")  # members of a rewritten file's record that are not counts
_BRIEF = 5  # members of a Brief
_PREAMBLE = 128


class Result:
    """The outcome for one file, on its way from a worker to the report.

    input       stands for its path: a MAC
    outcome     one of OUTCOMES
    counts      of a rewritten file what was done, as the members of a JSON object; "" while the
                report tells it
    warnings    what of it a user should know, and how often
    more        other members of its record: path, reason, error, edits, output, quarantine
    temporary   path of the finished output until it has its name, None: there is none
    output      that name, relative to the output folder
    crosswalk   rows (kind, old, new)
    fatal       no further file can be written: the run must end
    report      the session's own, and
    exception   what went wrong; neither leaves the process that made it
    """

    counts = ""
    bytes_in = bytes_out = 0
    warnings: dict[str, int] | None = None
    more: dict[str, Any] | None = None
    seconds = 0.0
    temporary: bytes | None = None
    output = b""
    crosswalk: list[tuple[str, bytes, bytes]] | None = None
    fatal = False
    report: Report | None = None
    exception: Exception | None = None

    def __init__(self, relative: bytes, input: str, outcome: str) -> None:
        self.relative = relative
        self.input = input
        self.outcome = outcome

    def tell(self, report: Report) -> None:
        """What was done, as the session says."""
        self.report = report
        self.bytes_in, self.bytes_out = report.bytes_in, report.bytes_out
        self.warnings = _warnings_of(report)

    def add(self, name: str, value: Any) -> None:
        """One more member of the record."""
        if self.more is None:
            self.more = {}
        self.more[name] = value

    @property
    def reason(self) -> str:
        """Why it was skipped, or failed; "" for other outcomes."""
        more = self.more or {}
        reason: str = more["error"]["reason"] if self.outcome == FAILED else more.get("reason", "")
        return reason

    @property
    def record(self) -> dict[str, Any]:
        """What the report says (see docs/trees.md)."""
        import json

        record: dict[str, Any] = json.loads(self.line())
        return record

    def line(self) -> bytes:
        """The same as a line of it, without its end."""
        return b'{"input":"%b",%b}' % (self.input.encode(), self.told())

    def told(self) -> bytes:
        """Its members but for the input."""
        counts = self.counts
        if not counts and self.report is not None:
            counts = _counts_of(self.report)
        more = f",{_encode(self.more)[1:-1]}" if self.more else ""
        return _told(self.outcome, counts, more, self.seconds)


def _told(outcome: str, counts: str, more: str, seconds: float) -> bytes:
    comma = "," if counts else ""
    return f'"outcome":"{outcome}"{comma}{counts}{more},"seconds":{seconds:.6f}'.encode()


def output_of(one: Result | Brief) -> tuple[bytes, bytes | None, bytes]:
    """(path of the input, `temporary` as in a Result, name of the output)."""
    if isinstance(one, tuple):
        return one[:3]
    return one.relative, one.temporary, one.output


class Tally:
    """How many files were rewritten of which a Brief was kept, their bytes and their warnings."""

    __slots__ = ("bytes", "files", "warnings")

    def __init__(self, files: int = 0, size: int = 0, warnings: Warnings | None = None) -> None:
        self.files = files
        self.bytes = size
        self.warnings: Warnings = warnings or {}

    def add(self, briefs: list[Brief]) -> None:
        if not briefs:
            return
        _, _, _, sizes, warnings = zip(*briefs, strict=True)
        self.files += len(briefs)
        self.bytes += sum(sizes)
        for like, alike in groupby(warnings):  # files that follow each other mostly have the same
            self._count(like, len([*alike]))

    def _count(self, warnings: Warnings | None, times: int) -> None:
        for note, count in warnings.items() if warnings else ():
            self.warnings[note] = self.warnings.get(note, 0) + count * times


class Results:
    """Those of one batch.

    made     in order a Result each, or a Brief
    waiting  numbers of those whose output has no name yet, None: all that have an output
    tally    counts the briefs, and
    files    are the others, once nothing is left to be done with the briefs
    journal  of files that were patched, its path, b"" if there is none: to be discarded once they
             stand in the report

    Packed for the way between processes: a report goes as the text that it becomes, an exception
    stays behind.
    """

    __slots__ = ("files", "journal", "made", "tally", "waiting")

    def __init__(self, made: Iterable[Result] = (), journal: bytes = b"") -> None:
        self.made: list[Result | Brief] = list(made)
        self.waiting: set[int] | None = None
        self.files: list[Result] = []
        self.tally = Tally()
        self.journal = journal

    @property
    def are_brief(self) -> bool:
        """Whether there is a Brief of each."""
        return {*map(type, self.made)} <= {tuple}

    def settle(self) -> None:
        """From here on the tally says all of the briefs."""
        self.tally.add([result for result in self.made if isinstance(result, tuple)])
        self.files = [result for result in self.made if not isinstance(result, tuple)]
        self.made = [*self.files]

    def __len__(self) -> int:
        """Files, once it is settled."""
        return len(self.files) + self.tally.files

    def packed(self) -> tuple[Any, ...]:
        """As plain values: what it is made of is all of that kind."""
        made = [r if isinstance(r, tuple) else _packed(r) for r in self.made]
        tally = self.tally
        waiting = self.waiting
        return made, waiting, self.journal, tally.files, tally.bytes, tally.warnings

    @staticmethod
    def unpacked(packed: tuple[Any, ...]) -> Results:
        made, waiting, journal, *tally = packed
        results = Results((), journal)
        results.waiting = waiting
        results.made = [r if len(r) == _BRIEF else _unpacked(r) for r in made]
        results.tally = Tally(*tally)
        return results


def _packed(r: Result) -> tuple[Any, ...]:
    counts = r.counts if r.report is None or r.counts else _counts_of(r.report)
    return (
        r.relative, r.input, r.outcome, counts, r.bytes_in, r.bytes_out, r.warnings, r.more,
        r.seconds, r.temporary, r.output, r.crosswalk, r.fatal,
    )  # fmt: skip


def _unpacked(state: tuple[Any, ...]) -> Result:
    r = Result.__new__(Result)
    (
        r.relative, r.input, r.outcome, r.counts, r.bytes_in, r.bytes_out, r.warnings, r.more,
        r.seconds, r.temporary, r.output, r.crosswalk, r.fatal,
    ) = state  # fmt: skip
    return r


_encoder: JSONEncoder | None = None


def _encode(value: Any) -> str:
    global _encoder
    if _encoder is None:  # json.dumps would make one a line
        from json import JSONEncoder

        _encoder = JSONEncoder(separators=(",", ":"))
    return _encoder.encode(value)


def line_of(record: dict[str, Any]) -> bytes:
    return _encode(record).encode() + b"\n"


def journal_line(run: bytes, result: Result) -> bytes:
    """What a journal keeps of a result, for the run of that identity."""
    rows = [(kind, old.hex(), new.hex()) for kind, old, new in result.crosswalk or ()]
    told = b'{"run":"%b","record":{%b}' % (run, result.told())
    return told + (b',"crosswalk":%b}' % _encode(rows).encode() if rows else b"}")


def from_journal(run: bytes, names: Names, relative: bytes, line: bytes) -> Result | None:
    """The result that a journal kept, None if it is of a run with another profile or key."""
    import json

    kept = json.loads(line)
    if kept["run"].encode() != run:
        return None
    record = kept["record"]
    result = Result(relative, names.mac(relative), record.pop("outcome"))
    result.seconds = record.pop("seconds")
    result.tell(report_of(record))
    result.more = {name: value for name, value in record.items() if name in _MORE} or None
    result.crosswalk = [
        (kind, bytes.fromhex(old), bytes.fromhex(new))
        for kind, old, new in kept.get("crosswalk", ())
    ]
    return result


class Counts:
    """What was done to ordinary files; those that follow each other are mostly alike.

    start     of the line that a journal keeps of one, for the run of that identity
    rest      of that line, of the last file that was looked at
    warnings  of that file, as in a Result
    """

    def __init__(self, ordinary: Ordinary, run: str) -> None:
        self.ordinary = ordinary
        self.start = b'{"run":"%b","record":{"outcome":"%b",' % (run.encode(), REWRITTEN.encode())
        self.rest = b""
        self.warnings: dict[str, int] | None = None

    def look(self) -> None:
        """At the last file."""
        one = self.ordinary
        if not (self.rest and one.alike):
            report = one.report()
            self.rest = _rest_of(report).encode() + b',"seconds":'
            self.warnings = _warnings_of(report)
            one.remember()


def _warnings_of(report: Report) -> dict[str, int] | None:
    uids = {f"{name} UIDs": count for name, count in report.uids.items() if count}
    return report.notes | uids or None


def _counts_of(report: Report) -> str:
    first = first_of(report.bytes_in, report.bytes_out, report.elements, report.instance)
    return first.decode() + _rest_of(report)


def _rest_of(report: Report) -> str:
    uids = {name: count for name, count in report.uids.items() if count}
    return (
        f'"actions":{_numbers(report.actions)},"notes":{_numbers(report.notes)},'
        f'"uids":{_numbers(uids)},"transfer_syntax":{_quoted(report.transfer_syntax)},'
        f'"second_run":{"true" if report.second_run else "false"},'
        f'"study":{_quoted(report.study)},"series":{_quoted(report.series)}'
    )


def _numbers(counts: dict[str, int]) -> str:
    """A JSON object. Its names are ours: none has a character that must be escaped."""
    if not counts:
        return "{}"
    return "{" + ",".join([f'"{name}":{count}' for name, count in counts.items()]) + "}"


def report_of(record: dict[str, Any]) -> Report:
    """The report that a record tells of; the new Patient ID is not in it."""
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
        from ..inspect import path_text

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
