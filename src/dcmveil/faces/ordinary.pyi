"""The typed face of ext/dcmveil/faces/ordinary.pyx."""

from collections.abc import Callable
from typing import Any

from ..engine import Engine
from ..report import Report
from ..trees.record import Counts
from ..trees.workers import StopFlag
from .names import Names
from .system import OpenFiles, TemporaryPaths

class Ordinary:
    def __init__(
        self,
        engine: Engine,
        *,
        gap: int,
        head: int = ...,
        window: int = ...,
        size_limit: int = ...,
        hold_limit: int = ...,
    ) -> None: ...
    def plan(self, file: int, relative: bytes, records: bytearray) -> bool: ...
    def copy(self, src: int, dst: int, kernel: Callable[[int, int, int], int]) -> bool: ...
    def plan_batch(
        self,
        files: OpenFiles,
        batch: list[tuple[bytes, str]],
        journal: Any,
        counts: Counts,
        stop: StopFlag,
        made: list[Any],
        most: int = ...,
    ) -> None: ...
    def copy_batch(
        self,
        files: OpenFiles,
        batch: list[tuple[bytes, str]],
        temporaries: TemporaryPaths,
        names: Names,
        kernel: Callable[[int, int, int], int],
        finish: Callable[[int, int], None] | None,
        counts: Counts,
        stop: StopFlag,
        made: list[Any],
        most: int = ...,
    ) -> None: ...
    size: int
    patient_id: str
    study: str
    series: str
    instance: str
    @property
    def elements(self) -> int: ...
    @property
    def changed_ns(self) -> int: ...
    @property
    def alike(self) -> bool: ...
    def add_line(self, records: bytearray, start: bytes, rest: bytes) -> int: ...
    def report(self) -> Report: ...
    def remember(self) -> None: ...
