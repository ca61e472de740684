"""Batches given to processes: each once, their results in order, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from dcmveil.trees.workers import EACH, SENT_AHEAD, StopFlag, run_batches

Batch = list[tuple[bytes, str]]
DEADLY, SLOW = b"deadly", b"slow"


def batches(count: int, *deadly: int, length: int = 10) -> Iterator[Batch]:
    for number in range(count):
        name = DEADLY if number in deadly else b"x" * length
        yield [(b"%d" % number, ""), (name, "")]


def work(batch: Batch) -> tuple[str, bytes]:
    if batch[1][0] == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    if batch[1][0] == SLOW:
        time.sleep(0.2)
    return "done", batch[0][0]


def died(batch: Batch) -> tuple[str, bytes]:
    return "died", batch[0][0]


def undone(result: tuple[str, bytes]) -> None:
    raise AssertionError("nothing was left half-way")


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("length", [10, 2 * SENT_AHEAD, 300_000], ids=["short", "long", "longer"])
def test_in_order(jobs: int, length: int) -> None:
    """Paths of any length: none waits in a pipe that it would fill."""
    found = run_batches(work, batches(30, length=length), jobs, died, undone, StopFlag())
    assert list(found) == [("done", b"%d" % n) for n in range(30)]


@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize("deadly", [(0,), (29,), (3, 4), (5, 6, 7, 8), tuple(range(30))])
def test_a_death_costs_the_batch_in_hand_alone(jobs: int, deadly: tuple[int, ...]) -> None:
    """Those that waited for the same worker are treated by the one that follows it."""
    found = list(run_batches(work, batches(30, *deadly), jobs, died, undone, StopFlag()))
    assert found == [("died" if n in deadly else "done", b"%d" % n) for n in range(30)]


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_what_nobody_asks_for_is_undone(taken: int) -> None:
    """Each result comes once, to the caller or to `undo`, and no batch begins after the end."""
    stop = StopFlag()
    left: list[bytes] = []
    given = 0

    def counted() -> Iterator[Batch]:
        nonlocal given
        for number in range(100):
            given += 1
            yield [(b"%d" % number, ""), (SLOW if number % 10 == 3 else b"", "")]

    coming = run_batches(work, counted(), 2, died, lambda result: left.append(result[1]), stop)
    seen = [next(coming)[1] for _ in range(taken)]
    stop.set()
    coming.close()
    if taken == 0:  # it had not begun
        assert given == 0
        return
    whole = sorted([*seen, *left], key=int)
    assert whole == [b"%d" % n for n in range(len(whole))]
    assert given - len(whole) in (0, 1)  # one may have been taken that no worker was free for
    assert given - taken <= 2 * 8 + 2 * EACH
