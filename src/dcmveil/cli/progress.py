"""How far a run is: a bar on a terminal, or plain lines."""

from __future__ import annotations

import os
import sys
import time

from . import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..trees.record import Results

EVERY = 5.0  # seconds between two plain lines


class Progress:
    """Shows results as they come. mode: "bar", "plain", "none", or None to choose by what standard
    error is. folder: counted beside the work, so that the bar can tell when it will end."""

    def __init__(self, mode: str | None, folder: str | None) -> None:
        if mode is None:
            mode = "bar" if sys.stderr is not None and sys.stderr.isatty() else "none"
        self._mode = mode
        self._folder = folder
        self._files = 0
        self._bytes = 0
        self._start = self._said = time.monotonic()
        self._bar: Any = None
        self._over = False

    def __enter__(self) -> Progress:
        if self._mode == "bar":
            try:
                from tqdm import tqdm
            except ImportError:
                self._mode = "plain"
            else:
                tqdm.monitor_interval = 0  # no thread, since workers are forked
                self._bar = tqdm(unit=" files", file=sys.stderr, smoothing=0.05, dynamic_ncols=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._over = True
        if self._bar is not None:
            self._bar.close()
        elif self._mode == "plain":
            self._say()

    def see(self, results: Results) -> None:
        """Those of some files more."""
        if self._mode == "none":
            return
        if self._bar is not None and self._files == 0 and self._folder is not None:
            self._count()
        self._files += len(results)
        self._bytes += results.tally.bytes + sum(result.bytes_in for result in results.files)
        if self._bar is not None:
            rate = self._bytes / 1e6 / max(1e-9, time.monotonic() - self._start)
            self._bar.set_postfix_str(f"{rate:.0f} MB/s", refresh=False)
            self._bar.update(len(results))
        elif self._mode == "plain" and time.monotonic() - self._said >= EVERY:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        seconds = max(1e-9, self._said - self._start)
        say(
            f"{self._files} files, {self._bytes / 1e6:.0f} MB, {self._files / seconds:.0f} files/s,"
            f" {self._bytes / 1e6 / seconds:.0f} MB/s"
        )

    def _count(self) -> None:
        """Files of the folder, counted by a thread of its own once the workers are forked."""
        import threading

        threading.Thread(target=self._count_files, daemon=True).start()

    def _count_files(self) -> None:
        from ..trees.walk import walk

        assert self._folder is not None
        total = 0
        try:
            for _ in walk(os.fsencode(self._folder)):
                total += 1
                if self._over:
                    return
        except OSError:
            return
        self._bar.total = total
