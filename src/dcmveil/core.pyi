"""The typed face of the compiled core (ext/dcmveil/core.pyx)."""

from collections.abc import Callable, Iterable
from typing import Any

KEEP: int
BLANK: int
DUMMY: int
UID: int
LITERAL: int
DOCUMENT: int
SHIFT: int
YEAR: int
ZERO_TIME: int
PSEUDONYM: int
HASH: int
CHECK_UID: int
WIPE: int
ZERO: int
PIXELS: int
BY_ROW: int
UNCHANGED: int
VR_NAMES: tuple[str, ...]
ACTION_NAMES: tuple[str, ...]
CUT: int
LEAVE: int
CLEAR: int
MORE: int
SKIP: int
SYNTAX: int
BARRIER: int
RECORD: int
DONE: int
EXPLICIT_LE: int
IMPLICIT_LE: int
EXPLICIT_BE: int
UNKNOWN: int
UNREGISTERED: int
PATIENT_ID: int
NOTE_NAMES: tuple[str, ...]
REASONS: tuple[str, ...]
SPANS: tuple[str, ...]
TEXTS: tuple[str, ...]
RECORD_SPANS: tuple[str, ...]

Buffer = bytearray | memoryview
# (action, value bytes, VR, geometry of an icon | length of a document | argument of the rule)
Ask = tuple[int, bytes, int, Any]
# new bytes of the same length | head, fill byte and tail of a document | why it must be refused
Answer = bytes | tuple[bytes, int, bytes] | str
# value fields and their new bytes, of UIDs that are mapped and of those that are kept; and what
# says the new bytes of any other
KnownUids = tuple[
    dict[bytes, bytes], dict[bytes, bytes], Callable[[bytes], bytes], Callable[[bytes], bytes]
]
# (((tag of an open sequence, item number), ...), tag, VR, action, in or opening a blanked
# sequence, absolute offset of the span, bytes of the value before it, length of the span, length
# of the value field, old bytes, new bytes or None for a sequence); bytes up to 4096
Trace = tuple[
    tuple[tuple[int, int], ...], int, int, int, bool, int, int, int, int, bytes, bytes | None
]

def differences(
    before: Buffer | bytes, after: Buffer | bytes, gap: int
) -> list[tuple[int, int]]: ...

class Rules:
    frozen: bool
    def __init__(self, unknown: int = ...) -> None: ...
    def set_known(self, action: int) -> None: ...
    def set_private(
        self,
        creator: str,
        group: int,
        low: int,
        action: int | None = None,
        veiled: int | None = None,
        arg: int | None = None,
    ) -> None: ...
    def set_private_default(self, action: int, walk: bool) -> None: ...
    def set_scope(self, scope: int, tag: int, action: int | None, arg: int, next: int) -> None: ...
    def load(self, dictionary: bytes, private_dictionary: bytes) -> None: ...
    def set_rows(self, lines: bytes) -> None: ...
    def literal(self, data: bytes, when_short: int) -> int: ...
    def set(
        self,
        pattern: str,
        vr: str | None = None,
        action: int | None = None,
        veiled: int | None = None,
        arg: int | None = None,
    ) -> None: ...
    def set_vr(self, vr: str, action: int) -> None: ...
    def freeze(self) -> None: ...
    def look_up(self, tag: int) -> tuple[int, int, int, int, int]: ...
    def tags_known(self) -> int: ...

class Rewriter:
    def __init__(
        self,
        rules: Rules,
        answer: Callable[[list[Ask]], list[Answer]],
        *,
        scout: bool = False,
        audio: bool = False,
        accept_cut_pixels: bool = False,
        trace: list[Trace] | None = None,
    ) -> None: ...
    def declare_safe(self, group: int, creator: bytes, elements: Iterable[int] | None) -> None: ...
    @property
    def characteristics(self) -> tuple[int, int, int] | None: ...
    def step(self, window: Buffer, filled: int, eof: bool) -> int: ...
    def drop(self, n: int) -> None: ...
    def cut(self, offset: int) -> None: ...
    def set_encoding(self, encoding: int) -> None: ...
    def set_meta_end(self, offset: int) -> None: ...
    def restart(
        self,
        answer: Callable[[list[Ask]], list[Answer]],
        *,
        scout: bool = False,
        audio: bool = False,
        accept_cut_pixels: bool = False,
        trace: list[Trace] | None = None,
        known: KnownUids | None = None,
        encoding: int | None = None,
    ) -> None: ...
    def values(self, window: Buffer, filled: int) -> tuple[bytes, ...]: ...
    def texts(
        self, window: Buffer, filled: int
    ) -> tuple[str | None, str | None, str | None, str | None]: ...
    def set_directory(self, keep_file_ids: bool) -> None: ...
    @property
    def record(self) -> tuple[int, int, bool, tuple[tuple[int, int], ...]]: ...
    @property
    def position(self) -> int: ...
    @property
    def base(self) -> int: ...
    @property
    def need(self) -> int: ...
    @property
    def skip(self) -> int: ...
    @property
    def has_preamble(self) -> bool: ...
    @property
    def meta_end(self) -> int: ...
    @property
    def elements(self) -> int: ...
    @property
    def counts(self) -> dict[str, int]: ...
    @property
    def notes(self) -> dict[str, int]: ...
