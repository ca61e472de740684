"""How many files are treated together."""

from __future__ import annotations

import os
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .walk import Found

# Files of a batch: enough to make the way to a worker and back cheap, and the disk busy with the
# next ones; few enough that a worker that dies costs little.
MOST = 128
# Of the first batches: large files shall go to all workers, not to the first that are free.
FIRST = 8
# Seconds that a batch should take at most: a kill loses the work of one, those who look on wait
# for one, and the last ones end together.
LONG = 0.25
# Of the files that a process may have open, one in so many may be of a batch: folders of the walk,
# journals and pipes want some, and so does the program that we are a part of.
_OPEN = 4


class Batches:
    """Files in batches; of large files, or from a slow disk, there are fewer in each.

    size  files of the next batch
    """

    def __init__(self, found: Iterable[Found]) -> None:
        self._most = MOST
        try:
            allowed = os.sysconf("SC_OPEN_MAX")
        except (OSError, ValueError):
            allowed = -1  # as many as there are
        if allowed > 0:
            self._most = max(1, min(MOST, allowed // _OPEN))
        self.size = min(FIRST, self._most)
        self._found = iter(found)

    def __iter__(self) -> Iterator[list[Found]]:
        return self

    def __next__(self) -> list[Found]:
        batch = list(islice(self._found, self.size))
        if not batch:
            raise StopIteration
        return batch

    def took(self, batch: list[Found], seconds: float) -> None:
        """What a batch took says how large the next one is."""
        in_time = int(len(batch) * LONG / max(seconds, 1e-6))
        self.size = max(1, min(in_time, 2 * len(batch), self._most))
