"""Seeing before doing: what would change in an input, and why. Nothing is written.

A session runs as it always does, with a trace of every value. Bytes come from what it held before
and after each step, so the edits are what a run writes, and not a second opinion on it.
"""

from __future__ import annotations

import re

from . import core
from .errors import DicomError
from .faces.stream import read_into
from .reasons import Reasons

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO, Literal, Protocol

    from .core import Trace
    from .profile import Profile
    from .reasons import Place
    from .report import Report
    from .session import Session, Watch

    Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO

    class Sessions(Protocol):
        """What is wanted of a Veil."""

        @property
        def profile(self) -> Profile: ...
        def session(
            self, trace: list[Trace] | None = None, watch: Watch | None = None
        ) -> Session: ...


# Bytes of one edit. A changed value that is longer comes in several, so that memory is bounded;
# only documents and private bulk are.
PART = 1 << 20
SHOWN = 4096  # bytes that are shown of a value that stays
_UNDEFINED = 0xFFFFFFFF
_PREAMBLE = 128
_PIXEL_DATA = 0x7FE00010

# What stands between two values: item tags and delimiters, in both byte orders, then the header of
# a data element. The trace knows all headers but those of encapsulated data (PS3.5 section A.4).
MARKERS = re.compile(
    rb"(?:(?:\xfe\xff[\x00\x0d\xdd]\xe0|\xff\xfe\xe0[\x00\x0d\xdd]).{4})*", re.DOTALL
)
ENCAPSULATED = re.compile(rb"(.{4})(?:(O[BW])\0\0)?\xff{4}(?=(\xff\xfe)?)", re.DOTALL)


class Edit:
    """What happens to a value, or to a part of one. Offsets are in bytes from the start of the
    input, in a deflated data set from the start of what it inflates to.

    path     tags of the open sequences with their item numbers, then the element's own:
             `(0040,A730)[0]/(0040,A160)`; `preamble` and `tail` for what is no element
    tag      ggggeeee as a number, None for these two
    vr       the VR that the value is treated by, empty for these two
    action   a name of core.ACTION_NAMES; `walk` for a sequence whose items are decided one by
             one, `mark` for the preamble
    offset   of the first byte
    length   of the value field, None if it is undefined; of a part, its own
    part     0, and 1, 2, ... for more of the same element: the rest of a value longer than 1 MiB,
             a fragment of encapsulated data, text after a NUL
    old, new the bytes there before and after. Of a value that stays, they are its first ones,
             4096 at most; of a sequence, none.
    rule     why: the row or rule that chose the action
    """

    __slots__ = (
        "action",
        "length",
        "new",
        "offset",
        "old",
        "part",
        "path",
        "rule",
        "tag",
        "vr",
    )

    def __init__(
        self,
        path: str,
        tag: int | None,
        vr: str,
        action: str,
        offset: int,
        length: int | None,
        old: bytes,
        new: bytes,
        rule: str,
        part: int = 0,
    ) -> None:
        self.path = path
        self.tag = tag
        self.vr = vr
        self.action = action
        self.offset = offset
        self.length = length
        self.old = old
        self.new = new
        self.rule = rule
        self.part = part

    @property
    def changes(self) -> bool:
        """Whether any byte becomes another one."""
        return self.old != self.new

    def __repr__(self) -> str:
        length = "undefined length" if self.length is None else f"{self.length} bytes"
        name = f"{self.path} {self.vr}".strip()
        return f"Edit({name}: {self.action}, {length} at {self.offset})"


def edits(
    veil: Sessions, source: Source, everything: bool = False
) -> Generator[Edit, None, Report]:
    """What a run over the source would do, in the order of its bytes; returns the run's Report.

    source      a path, the bytes themselves, or a binary file, which is read from where it stands
    everything  also the elements that stay, and the sequences

    Bulk that stays is not read where the source can seek. Raises DicomError where a run would,
    after what comes before it, and OSError.
    """
    spans = _Spans(Reasons(veil.profile))
    session = veil.session(spans.trace, spans.see)
    refused = None
    with _opened(source) as file:
        steps = _steps(session, file)
        while not spans.ended:
            try:
                next(steps)
            except StopIteration:
                spans.ended = True
            except DicomError as error:
                spans.ended, refused = True, error
            for edit in spans.take():
                if everything or edit.changes:
                    yield edit
    if refused is not None:
        raise refused
    return session.report


def path_text(place: Place, tag: int) -> str:
    """The path of an element: `(0040,A730)[0]/(0040,A160)`."""
    steps = [f"({open_tag >> 16:04X},{open_tag & 0xFFFF:04X})[{item}]" for open_tag, item in place]
    return "/".join([*steps, f"({tag >> 16:04X},{tag & 0xFFFF:04X})"])


# -- the way of the bytes --------------------------------------------------------------------


def _opened(source: Source) -> AbstractContextManager[BinaryIO]:
    import contextlib
    import io

    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        return open(source, "rb")
    return contextlib.nullcontext(source)


def _steps(session: Session, file: BinaryIO) -> Iterator[None]:
    """Runs the session to its end, with a stop after each step."""
    size = _size(file)
    while not session.done:
        with session.room() as room:
            if session.skip and size is not None:
                n = max(0, min(session.skip, size - file.tell()))
                file.seek(n, 1)
            else:
                n = read_into(file, room[: session.skip] if session.skip else room)
        if session.skip:
            session.passed(n)
            continue
        for _ in session.push(n):
            yield


def _size(file: BinaryIO) -> int | None:
    """Of a file that can seek."""
    if not file.seekable():
        return None
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end


# -- putting trace and bytes together --------------------------------------------------------


class _Step:
    """The bytes that one step of the session settled, as they were and as they are."""

    def __init__(self, base: int, old: bytes, new: bytes) -> None:
        self.base = base
        self.end = base + len(old)
        self._old = old
        self._new = new

    def cut(self, start: int, end: int) -> tuple[bytes, bytes]:
        """Before and after, between two absolute offsets."""
        part = slice(start - self.base, end - self.base)
        return self._old[part], self._new[part]


class _Spans:
    """Edits, out of a trace and the bytes of each step."""

    def __init__(self, reasons: Reasons) -> None:
        self.trace: list[Trace] = []
        self.ended = False
        self._reasons = reasons
        self._ready: list[Edit] = []
        self._at = 0  # where the last value ends: up to there all is accounted for
        self._encapsulated: Edit | None = None  # the element whose fragments may be next

    def take(self) -> list[Edit]:
        """The edits that are complete. The last one may still grow, unless all has ended."""
        n = len(self._ready) if self.ended else max(len(self._ready) - 1, 0)
        ready, self._ready = self._ready[:n], self._ready[n:]
        return ready

    def see(self, base: int, old: bytes, new: bytes) -> None:
        """One step of the session: the trace has grown, and these bytes are settled."""
        step = _Step(base, old, new)
        if base == 0 and old[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
            why = "the preamble: zeros, and the run mark"
            cut = step.cut(0, _PREAMBLE)
            self._ready.append(Edit("preamble", None, "", "mark", 0, _PREAMBLE, *cut, why))
            self._at = _PREAMBLE + 4
        for entry in self.trace:
            self._see_value(entry, step)
        self.trace.clear()
        self._see_gap(step.end, step, followed=False)

    def _see_value(self, entry: Trace, step: _Step) -> None:
        place, tag, vr, action, veiled, offset, done, length, total, _, after = entry
        has_header = self._see_gap(offset, step, followed=True)
        old, new = step.cut(offset, offset + length)
        if done:
            self._see_more(entry, old, new)
            return
        whole = self._encapsulated
        if whole is not None and whole.tag == tag and not has_header:
            if whole.action == "keep":  # the first fragment that is not empty tells where it is
                whole.path = path_text(place, tag)
                whole.action = core.ACTION_NAMES[action]
                whole.rule = self._reasons.of(entry)[1]
            self._see_more(entry, old, new)
            self._at = offset + total
            return
        self._encapsulated = None
        why = self._reasons.of(entry)[1]
        name = core.ACTION_NAMES[action]
        if action == core.KEEP:  # what is wiped after a NUL is an edit of its own
            old = new = old[:SHOWN]
        self._at = offset + total
        field: int | None = total
        if after is None:
            self._at = offset
            field = None if total == _UNDEFINED else total
            name = name if veiled else "walk"
        path, vr_name = path_text(place, tag), core.VR_NAMES[vr]
        self._ready.append(
            Edit(path, tag, vr_name, name, offset, field, old[:PART], new[:PART], why)
        )
        if len(new) > PART:
            self._see_more(entry, old[PART:], new[PART:], PART)

    def _see_more(self, entry: Trace, old: bytes, new: bytes, skipped: int = 0) -> None:
        """More of the last element: its edit grows, and other parts follow."""
        _, tag, vr, action, _, offset, done, _, _, _, _ = entry
        last = self._ready[-1]
        name, vr_name = core.ACTION_NAMES[action], core.VR_NAMES[vr]
        why = self._reasons.of(entry)[1] if action == core.WIPE else last.rule
        offset += skipped
        if (done or skipped) and offset == last.offset + len(last.new) and name == last.action:
            room = PART - len(last.new)
            last.old += old[:room]
            last.new += new[:room]
            if last.part:
                last.length = len(last.new)
            offset, old, new = offset + room, old[room:], new[room:]
        for at in range(0, len(new), PART):
            one, other = old[at : at + PART], new[at : at + PART]
            last = Edit(
                last.path, tag, vr_name, name, offset + at, len(one), one, other, why, last.part + 1
            )
            self._ready.append(last)

    # -- between the values ------------------------------------------------------------------

    def _see_gap(self, end: int, step: _Step, followed: bool) -> bool:
        """What stands before the value at `end` that follows, or before the end of the step.
        True: it is more than markers, so there is a header in it."""
        start = max(self._at, step.base)
        if start >= end:
            return False
        self._at = end
        old, new = step.cut(start, end)
        if old != new:
            self._see_tail(start, old, new)
        markers = MARKERS.match(old)
        assert markers is not None  # it may be empty
        seen = markers.end()
        header = ENCAPSULATED.match(old, seen)
        if header is not None and not (followed and header.end() == len(old)):
            self._see_encapsulated(start, header)
            seen = header.end()
        return MARKERS.fullmatch(old, seen) is None

    def _see_tail(self, offset: int, old: bytes, new: bytes) -> None:
        last = self._ready[-1] if self._ready else None
        if last is not None and last.path == "tail" and len(last.new) + len(new) <= PART:
            last.old += old
            last.new += new
            last.length = len(last.new)
            return
        part = last.part + 1 if last is not None and last.path == "tail" else 0
        why = "bytes after the last element: nothing understands them"
        self._ready.append(Edit("tail", None, "", "zero", offset, len(new), old, new, why, part))

    def _see_encapsulated(self, start: int, header: re.Match[bytes]) -> None:
        """The header of an element whose value is fragments. Where they stay, the trace is silent
        to its end, and what is in them may look like anything."""
        if self._encapsulated is not None:
            return
        order: Literal["big", "little"] = "big" if header[3] else "little"
        group, element = (int.from_bytes(header[1][i : i + 2], order) for i in (0, 2))
        tag = group << 16 | element
        if header[2] is None and tag != _PIXEL_DATA:
            return  # no VR: bytes after the last element may look like this
        vr = header[2].decode() if header[2] else "OW"
        why = self._reasons.of_top_level(tag)
        offset = start + header.end()
        edit = Edit(path_text((), tag), tag, vr, "keep", offset, None, b"", b"", why)
        self._encapsulated = edit
        self._ready.append(edit)
