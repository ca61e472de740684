"""The typed face of ext/dcmveil/faces/ordinary.pyx."""

from collections.abc import Callable

from ..engine import Engine
from ..report import Report

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
    size: int
    patient_id: str
    study: str
    series: str
    instance: str
    @property
    def elements(self) -> int: ...
    @property
    def alike(self) -> bool: ...
    def add_line(self, records: bytearray, start: bytes, rest: bytes) -> None: ...
    def report(self) -> Report: ...
    def remember(self) -> None: ...

def first_of(bytes_in: int, bytes_out: int, elements: int, instance: str) -> bytes: ...
