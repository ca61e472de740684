"""Batches given to processes, and their results in the order of the batches.

A worker that dies (killed for its memory, or by a fault of ours) costs its batch, which is
reported, and another one takes its place.
"""

from __future__ import annotations

import os
from time import monotonic

from ..faces.system import SharedFlag
from .messages import Inbox, Outbox
from .record import Results

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Any, TypeVar

    Batch = TypeVar("Batch")
    Done = TypeVar("Done")

# Batches that wait for an earlier one, for each worker: one slow file must not stop the others, and
# the results that wait must not fill the memory.
AHEAD = 8
# Batches that a worker has at one time, so that it need not wait for the next, if the last one took
# less than so many seconds. Else the wait is nothing beside them, and another may be free first.
EACH = 3
QUICK = 0.02


class StopFlag(SharedFlag):
    """A wish to stop that every process of a run sees: `is_set`, it was asked for."""

    def __init__(self) -> None:
        self._parent = os.getpid()

    def __bool__(self) -> bool:
        """Whether to stop: it was asked for, or the parent of this worker is no more."""
        if self.is_set:
            return True
        return self._parent != os.getpid() and self._parent != os.getppid()


class Ahead:
    """What workers have made of the batches behind the one that was last asked for."""

    def __init__(self) -> None:
        self._wait: Callable[[], list[Any]] = list

    def attach(self, wait: Callable[[], list[Any]]) -> None:
        self._wait = wait

    def results(self) -> list[Any]:
        """In order, once each batch that was given out has come back; nobody has asked for them."""
        return self._wait()


def run_batches(
    work: Callable[[Batch], Done],
    batches: Iterable[Batch],
    jobs: int,
    on_death: Callable[[Batch], Done],
    undo: Callable[[Done], None],
    stop: StopFlag,
    *,
    took: Callable[[Batch, float], None] | None = None,
    ahead: Ahead | None = None,
) -> Generator[Done, None, None]:
    """work(batch) for each, in order; in this process if jobs is 1. No new batch begins once `stop`
    is set; those in hand come back with what was done. If nobody asks for them any more, they go
    to `undo`, which needs `stop` to be set before the generator is closed, or waits for long.
    took(batch, seconds), if any, is told of each that has come back.
    Batches are plain values, and what is made of them too, or Results."""
    if jobs == 1:
        for batch in batches:
            if stop:
                return
            start = monotonic()
            done = work(batch)
            if took is not None:
                took(batch, monotonic() - start)
            yield done
        return
    pool = _Pool(work, jobs, on_death, took)
    if ahead is not None:
        ahead.attach(pool.wait_for_all)
    try:
        pool.start()
        yield from pool.run(iter(batches), stop)
    finally:
        pool.close(stop, undo)


class _Slot:
    """A batch that was given out, and what was made of it."""

    __slots__ = ("batch", "is_done", "result")

    def __init__(self, batch: Any) -> None:
        self.batch = batch
        self.is_done = False
        self.result: Any = None

    def fill(self, result: Any) -> None:
        self.result = result
        self.is_done = True


class _Worker:
    """A process, the pipe to it, which does not block, and the one from it.

    slots  that it has to fill, in order
    since  when it began with the first of them, on a monotonic clock
    most   how many it may have
    """

    def __init__(self, process: int, inbox: Inbox, outbox: Outbox) -> None:
        self.process = process
        self.inbox = inbox
        self.outbox = outbox
        self.slots: list[_Slot] = []
        self.since = 0.0
        self.most = 1

    def close(self) -> None:
        """Our ends of its pipes."""
        os.close(self.inbox.pipe)
        os.close(self.outbox.pipe)


class _Pool:
    def __init__(
        self,
        work: Callable[[Any], Any],
        jobs: int,
        on_death: Callable[[Any], Any],
        took: Callable[[Any, float], None] | None = None,
    ) -> None:
        from collections import deque
        from select import POLLIN, POLLOUT, poll

        self._work = work
        self._on_death = on_death
        self._took = took
        self._jobs = jobs
        self._workers: list[_Worker] = []
        self._poll, self._in, self._out = poll(), POLLIN, POLLOUT
        self._watched: dict[int, _Worker] = {}  # by the pipes that the poll has
        self._waiting: deque[_Slot] = deque()  # given out and not asked for yet, in order

    def start(self) -> None:
        """Before there are threads, which a fork would not take along."""
        for _ in range(self._jobs):
            self._start()

    def _start(self) -> _Worker:
        pipes = [*os.pipe()]
        try:
            pipes += os.pipe()
            results, to_results, batches, to_batches = pipes
            process = self._fork((results, to_batches), (batches, to_results))
        except OSError:
            for pipe in pipes:
                os.close(pipe)
            raise
        os.close(batches)
        os.close(to_results)
        os.set_blocking(to_batches, False)
        worker = _Worker(process, Inbox(results), Outbox(to_batches))
        self._workers.append(worker)
        self._watch(results, self._in, worker)
        return worker

    def _fork(self, ours: tuple[int, int], theirs: tuple[int, int]) -> int:
        parent = os.getpid()
        try:
            process = os.fork()  # workers inherit the frozen rules
            if process == 0:
                _ignore_signals()
                for pipe in ours:
                    os.close(pipe)
                for other in self._workers:
                    other.close()  # else its pipe would outlive the parent
                _serve(self._work, Inbox(theirs[0]), Outbox(theirs[1]))
            return process
        finally:
            if os.getpid() != parent:
                os._exit(0)  # whatever it was: a traceback might show a path or a value

    def _watch(self, pipe: int, events: int, worker: _Worker) -> None:
        self._poll.register(pipe, events)
        self._watched[pipe] = worker

    def _unwatch(self, pipe: int) -> None:
        if self._watched.pop(pipe, None) is not None:
            self._poll.unregister(pipe)

    def run(self, batches: Iterator[Any], stop: StopFlag) -> Iterator[Any]:
        waiting = self._waiting
        more = True
        while True:
            while more and len(waiting) < AHEAD * self._jobs and not stop:
                worker = self._free()
                if worker is None:
                    break
                batch = next(batches, None)
                if batch is None:
                    more = False
                    break
                waiting.append(_Slot(batch))
                self._give(worker, waiting[-1])
            if not waiting:
                return
            self._wait()
            while waiting and waiting[0].is_done:
                yield waiting.popleft().result

    def wait_for_all(self) -> list[Any]:
        """What was made of all batches that were given out, but for those that were asked for."""
        while not all(slot.is_done for slot in self._waiting):
            self._wait()
        return [slot.result for slot in self._waiting]

    def _wait(self) -> None:
        """Until a worker has something to say, or has room."""
        for pipe, _ in self._poll.poll():
            worker = self._watched[pipe]
            if pipe == worker.outbox.pipe:
                if worker.outbox.flush():
                    self._unwatch(pipe)
            elif not self._receive(worker):
                self._replace(worker)
                return  # another pipe may have the number that was said to be ready

    def _free(self) -> _Worker | None:
        """The worker that gets the next batch, None: it has to wait."""
        if len(self._workers) < self._jobs:
            return self._start()
        free = [worker for worker in self._workers if len(worker.slots) < worker.most]
        return min(free, key=_load, default=None)

    def _give(self, worker: _Worker, slot: _Slot) -> None:
        if not worker.slots:
            worker.since = monotonic()
        worker.slots.append(slot)
        if not worker.outbox.send(slot.batch):
            self._watch(worker.outbox.pipe, self._out, worker)

    def _receive(self, worker: _Worker) -> bool:
        """Whether it is still there."""
        results = worker.inbox.read()
        if results is None:
            return False
        for result in results:
            slot = worker.slots.pop(0)
            slot.fill(_unpacked(result))
            now = monotonic()
            seconds = now - worker.since
            worker.since = now
            worker.most = EACH if seconds < QUICK else 1
            if self._took is not None:
                self._took(slot.batch, seconds)
        return True

    def _replace(self, worker: _Worker) -> None:
        """One that has died, at the latest when there is a batch for it."""
        self._unwatch(worker.inbox.pipe)
        self._unwatch(worker.outbox.pipe)
        self._workers.remove(worker)
        worker.close()
        _reap(worker.process)  # its locks are gone when it is
        if not worker.slots:
            return
        in_hand, *not_begun = worker.slots
        in_hand.fill(self._on_death(in_hand.batch))
        if not_begun:
            fresh = self._start()
            for slot in not_begun:
                self._give(fresh, slot)

    def close(self, stop: StopFlag, undo: Callable[[Any], None]) -> None:
        """Workers end when their pipe does, after the file in hand."""
        if self._waiting:  # it was left half-way
            stop.set()
        for worker in self._workers:
            os.close(worker.outbox.pipe)
        for worker in self._workers:
            while (results := worker.inbox.read()) is not None:
                for result in results:
                    undo(_unpacked(result))
            os.close(worker.inbox.pipe)
            _reap(worker.process)
        for slot in self._waiting:
            if slot.is_done:
                undo(slot.result)


def _load(worker: _Worker) -> int:
    return len(worker.slots)


def _reap(process: int) -> None:
    try:
        os.waitpid(process, 0)
    except ChildProcessError:
        pass  # the program that we are a part of lets the system do that


def _ignore_signals() -> None:
    """Those of the terminal go to the whole group; what they mean is for the parent to say."""
    # `signal` wraps this in enums, which take long to import
    import _signal as signal  # type: ignore[import-not-found]

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)


def _serve(work: Callable[[Any], Any], inbox: Inbox, outbox: Outbox) -> None:
    """A worker: one batch after the other, until the parent wants no more, or is gone."""
    while (batches := inbox.read()) is not None:
        for batch in batches:
            outbox.send(_packed(work(batch)))


def _packed(result: Any) -> tuple[bool, Any]:
    """As plain values."""
    if isinstance(result, Results):
        return True, result.packed()
    return False, result


def _unpacked(packed: tuple[bool, Any]) -> Any:
    are_results, plain = packed
    return Results.unpacked(plain) if are_results else plain
