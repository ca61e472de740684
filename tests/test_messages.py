"""Messages through pipes that take and give any part of them at a time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from dcmveil.trees import messages
from dcmveil.trees.messages import Inbox, Outbox, message

VALUES: list[Any] = [
    None, 0, "", b"", (), [(b"path", "")], {"a": [1.5, True]}, b"x" * 5000, "\udcff\u00e9", 1 << 70,
]  # fmt: skip
FULL = 1 << 20  # more than a pipe holds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass  # the test did


def all_of(inbox: Inbox) -> list[Any]:
    found = []
    while (values := inbox.read()) is not None:
        found += values
    return found


@pytest.mark.parametrize("piece", [1, 3, 7, 8, 9, 100, messages.PIECE])
def test_read_in_pieces(pipe: tuple[int, int], piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "PIECE", piece)
    outbox = Outbox(pipe[1])
    assert all(outbox.send(value) for value in VALUES)
    os.close(pipe[1])
    assert all_of(Inbox(pipe[0])) == VALUES


@pytest.mark.parametrize("seed", range(10))
def test_written_in_pieces(
    pipe: tuple[int, int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a signal does it, or a pipe that has little room left."""
    chance = random.Random(seed)
    write = os.write

    def write_some(file: int, data: memoryview) -> int:
        if chance.random() < 0.3:
            raise BlockingIOError
        return write(file, data[: chance.randint(1, 2000)])

    outbox = Outbox(pipe[1])
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_some)
        for value in VALUES:
            outbox.send(value)
        while not outbox.flush():
            pass
    os.close(pipe[1])
    assert all_of(Inbox(pipe[0])) == VALUES


def test_a_message_longer_than_the_pipe(pipe: tuple[int, int]) -> None:
    """What finds no room is kept, in its order, and the writer never waits."""
    os.set_blocking(pipe[1], False)
    outbox, inbox = Outbox(pipe[1]), Inbox(pipe[0])
    assert not outbox.send(b"1" * FULL)
    assert not outbox.send("in between")
    assert not outbox.send(b"2" * FULL)
    found: list[Any] = []
    reads = 0
    while not outbox.flush():
        found += inbox.read() or ()
        reads += 1
    assert reads > 2
    os.close(pipe[1])
    assert found + all_of(inbox) == [b"1" * FULL, "in between", b"2" * FULL]


def test_an_end_within_a_message(pipe: tuple[int, int]) -> None:
    """The writer was killed: whole messages count, the torn one does not."""
    for kept in (1, 7, 8, 9, len(message(VALUES)) - 1):
        read, write = os.pipe()
        os.write(write, message("whole") + message(VALUES)[:kept])
        os.close(write)
        assert all_of(Inbox(read)) == ["whole"]
        os.close(read)


def test_a_reader_that_is_gone(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    outbox = Outbox(pipe[1])
    assert not outbox.send(b"1" * FULL)
    os.close(pipe[0])
    assert outbox.flush()
    assert outbox.send(b"2" * FULL)


def test_nothing_is_read_after_what_was_lost(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt between the bytes and the place where they are kept: what follows them is no
    message."""
    outbox, inbox = Outbox(pipe[1]), Inbox(pipe[0])
    assert outbox.send("first")
    read = os.read

    def read_in_vain(file: int, size: int) -> bytes:
        read(file, 5)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read_in_vain)
        with pytest.raises(KeyboardInterrupt):
            inbox.read()
    assert outbox.send("second")
    assert inbox.read() is None


def test_only_plain_values() -> None:
    with pytest.raises(ValueError, match="unmarshallable"):
        message(object())
