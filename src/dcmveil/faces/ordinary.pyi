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
    def plan(self, file: int, relative: bytes, records: bytearray) -> Report | None: ...
    def copy(self, src: int, dst: int, kernel: Callable[[int, int, int], int]) -> Report | None: ...
