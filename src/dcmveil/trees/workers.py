"""Batches given to processes, and their results in the order of the batches.

A worker that dies (killed for its memory, or by a fault of ours) costs its batch, which is
reported, and another one takes its place.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Generator, Iterable, Iterator
    from mmap import mmap
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from typing import Any, TypeVar

    Batch = TypeVar("Batch")
    Done = TypeVar("Done")

# Batches that wait for an earlier one, for each worker: one slow file must not stop the others, and
# the results that wait must not fill the memory.
AHEAD = 8
# Batches that a worker has at one time, so that it need not wait for the next. They wait in its
# pipe: longer ones are not sent ahead, since a pipe that is full would stop both sides.
EACH = 2
SENT_AHEAD = 16 << 10  # bytes of its paths


class StopFlag:
    """A wish to stop that every process of a run sees."""

    def __init__(self) -> None:
        self._shared: bytearray | mmap = bytearray(1)
        self._parent = os.getpid()

    def share(self) -> None:
        """Before the workers are forked."""
        from mmap import mmap

        before, self._shared = self._shared, mmap(-1, 1)
        if before[0]:  # a signal may have come between any two of these lines
            self.set()

    def set(self) -> None:
        self._shared[0] = 1

    @property
    def is_set(self) -> bool:
        """Whether it was asked for."""
        return self._shared[0] != 0

    def __bool__(self) -> bool:
        """Whether to stop: it was asked for, or the parent of this worker is no more."""
        if self.is_set:
            return True
        return self._parent != os.getpid() and self._parent != os.getppid()


def run_batches(
    work: Callable[[Batch], Done],
    batches: Iterable[Batch],
    jobs: int,
    on_death: Callable[[Batch], Done],
    undo: Callable[[Done], None],
    stop: StopFlag,
) -> Generator[Done, None, None]:
    """work(batch) for each, in order; in this process if jobs is 1. No new batch begins once `stop`
    is set; those in hand come back with what was done. If nobody asks for them any more, they go
    to `undo`, which needs `stop` to be set before the generator is closed, or waits for long."""
    if jobs == 1:
        for batch in batches:
            if stop:
                return
            yield work(batch)
        return
    stop.share()
    pool = _Pool(work, jobs)
    try:
        yield from pool.run(iter(batches), on_death, stop)
    finally:
        pool.close(stop, undo)


class _Pool:
    def __init__(self, work: Callable[[Any], Any], jobs: int) -> None:
        from collections import deque
        from multiprocessing import get_context

        self._context = get_context("fork")  # workers inherit the frozen rules
        self._work = work
        self._jobs = jobs
        self._workers: dict[Connection, BaseProcess] = {}
        self._busy: dict[Connection, list[int]] = {}  # worker -> numbers of its batches
        self._waiting: deque[list[Any]] = deque()  # [batch, done or not, result] in order
        for _ in range(jobs):
            self._start()

    def _start(self) -> Connection:
        ours, theirs = self._context.Pipe()
        others = [*self._workers, ours]
        process = self._context.Process(
            target=_serve, args=(self._work, theirs, others), daemon=True
        )
        process.start()
        theirs.close()
        self._workers[ours] = process
        return ours

    def run(
        self, batches: Iterator[Any], on_death: Callable[[Any], Any], stop: StopFlag
    ) -> Iterator[Any]:
        from multiprocessing.connection import wait

        busy, waiting = self._busy, self._waiting
        first = 0  # number of waiting[0]
        batch: Any = None
        more = True
        while True:
            while more and len(waiting) < AHEAD * self._jobs and not stop:
                if batch is None:
                    batch = next(batches, None)
                if batch is None:
                    more = False
                    break
                worker = self._free(batch)
                if worker is None:
                    break
                waiting.append([batch, False, None])
                self._send(worker, first + len(waiting) - 1, batch)
                batch = None
            if not busy:
                return
            ended: list[Any] = wait(list(busy))
            for ready in ended:
                number = busy[ready][0]
                slot = waiting[number - first]
                try:
                    slot[2] = ready.recv()
                    self._is_done(ready)
                except (EOFError, OSError):
                    _, *not_begun = busy.pop(ready)
                    self._end(ready)  # its locks are gone when it is
                    slot[2] = on_death(slot[0])
                    fresh = self._start()
                    for number in not_begun:
                        self._send(fresh, number, waiting[number - first][0])
                slot[1] = True
            while waiting and waiting[0][1]:
                first += 1
                yield waiting.popleft()[2]

    def _free(self, batch: Any) -> Connection | None:
        """The worker that gets a batch, None: it has to wait."""
        worker = min(self._workers, key=lambda one: len(self._busy.get(one, ())))
        has = len(self._busy.get(worker, ()))
        if has and (has == EACH or sum(len(path) for path, _ in batch) > SENT_AHEAD):
            return None
        return worker

    def _send(self, worker: Connection, number: int, batch: Any) -> None:
        self._busy.setdefault(worker, []).append(number)
        try:
            worker.send(batch)
        except OSError:
            pass  # it has died; its end of the pipe says so later

    def _is_done(self, worker: Connection) -> None:
        """With the first of its batches."""
        self._busy[worker].pop(0)
        if not self._busy[worker]:
            del self._busy[worker]

    def _end(self, worker: Connection) -> None:
        process = self._workers.pop(worker)
        worker.close()
        process.join()

    def close(self, stop: StopFlag, undo: Callable[[Any], None]) -> None:
        """Workers end when their pipe does, after the file in hand."""
        if self._busy or self._waiting:  # it was left half-way
            stop.set()
        for worker, numbers in self._busy.items():
            try:
                for _ in numbers:
                    undo(worker.recv())
            except (EOFError, OSError):
                pass
        for _, done, result in self._waiting:
            if done:
                undo(result)
        for worker in list(self._workers):
            self._end(worker)


def _serve(work: Callable[[Any], Any], pipe: Connection, others: list[Connection]) -> None:
    """A worker: one batch after the other, until the pipe ends. Signals of the terminal go to the
    whole group; what they mean is for the parent to say."""
    import signal

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    for other in others:
        other.close()  # else this worker's pipe would outlive the parent
    try:
        while True:
            pipe.send(work(pipe.recv()))
    except (EOFError, OSError):
        pass  # the parent wants no more, or is gone
    finally:
        os._exit(0)  # whatever it was: a traceback might show a path or a value
