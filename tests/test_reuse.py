"""A veil's inputs share a window and a rewriter, one after the other: nothing of one may reach the
next, and what somebody still looks at is not for others."""

from __future__ import annotations

import random

import pytest

import corpus
import dcmveil
from build import E, part10

KEY = bytes(range(32))
NAMES = ("DOE^JANE", "ROE^RICHARD")


def image(name: str, rest: int = 0) -> bytes:
    pixels = [E(0x7FE00010, "OW", bytes(rest))] if rest else []
    uid = E(0x00080018, "UI", "1.2.826.0.1.3680043.9.77.12345678")
    return part10([uid, E(0x00100010, "PN", name), E(0x00100020, "LO", name[:3]), *pixels])


def outcome(veil: dcmveil.Veil, data: bytes) -> bytes | str:
    try:
        return veil.bytes(data)
    except dcmveil.DicomError as error:
        return str(error)


def by_session(session: dcmveil.Session, data: bytes, most: int, last: bool) -> bytes:
    """The output of a session that gets `most` bytes at a time and is told which are the last."""
    at, out = 0, []
    while not session.done:
        if session.skip:
            n = min(session.skip, len(data) - at)
            out.append(data[at : at + n])
            session.passed(n)
        else:
            with session.room() as room:
                n = min(len(room), most, len(data) - at)
                room[:n] = data[at : at + n]
            out += [bytes(piece) for piece in session.push(n, last and at + n == len(data))]
        at += n
    return b"".join(out)


def test_any_file_after_any_other() -> None:
    """Refused ones among them, and a torn one after each."""
    files = [path.read_bytes() for _, path in corpus.files()]
    files = [data for data in files if len(data) < 1 << 20]
    random.Random(4).shuffle(files)
    veil = dcmveil.Veil(key=KEY)
    wanted = [outcome(dcmveil.Veil(veil.profile, key=KEY), data) for data in files]
    for data, new in zip(files, wanted, strict=True):
        assert outcome(veil, data) == new
        outcome(veil, data[: len(data) // 2])
    assert {type(new) for new in wanted} == {bytes, str}


@pytest.mark.parametrize("most", [1, 100, 1 << 20])
def test_told_that_nothing_comes_after(most: int) -> None:
    veil = dcmveil.Veil(key=KEY)
    for data in (image("DOE^JANE"), image("DOE^JANE", 200), image("DOE^JANE", 9000)):
        session = veil.session()
        assert by_session(session, data, most, last=True) == veil.bytes(data)
        assert session.report.bytes_in == session.report.bytes_out == len(data)
        with pytest.raises(dcmveil.DicomError, match="ends too early"):
            by_session(veil.session(), data[:-1], most, last=True)


def test_a_window_is_used_again() -> None:
    veil = dcmveil.Veil(key=KEY)
    windows = []
    for _ in range(2):
        session = veil.session()
        with session.room() as room:
            windows.append(room.obj)
        by_session(session, image("DOE^JANE"), 1 << 20, last=False)
    assert windows[0] is windows[1]


def test_a_window_that_somebody_looks_at_is_not() -> None:
    veil = dcmveil.Veil(key=KEY)
    data = image("DOE^JANE", 64)
    wanted = veil.bytes(data)
    session = veil.session()
    with session.room() as room:
        room[: len(data)] = data
    held = [piece[:] for piece in session.push(len(data), True)]
    other = veil.session()
    with other.room() as room:
        room[:] = b"X" * len(room)
    assert b"".join(held) == wanted


def test_a_looker_writes_no_uid_that_is_known() -> None:
    veil = dcmveil.Veil(key=KEY)
    data = image("DOE^JANE")
    assert b"1.2.826.0.1.3680043.9.77.12345678" not in veil.bytes(data)
    looked = by_session(veil.looker(), data, 1 << 20, last=True)
    assert looked.count(b"1.2.826.0.1.3680043.9.77.12345678") == 2  # (0002,0003) too


def test_two_at_a_time() -> None:
    veil = dcmveil.Veil(key=KEY)
    inputs = [image(name, 500) for name in NAMES]
    wanted = [veil.bytes(data) for data in inputs]
    sessions = [veil.session() for _ in inputs]
    out = [bytearray() for _ in inputs]
    for at in range(0, max(map(len, inputs)) + 14, 7):
        for session, data, new in zip(sessions, inputs, out, strict=True):
            if session.done:
                continue
            part = data[at : at + 7]
            with session.room() as room:
                room[: len(part)] = part
            for piece in session.push(len(part)):
                new += piece
    assert out == wanted
    assert all(session.done for session in sessions)


def test_an_old_view_is_no_way_into_the_window() -> None:
    veil = dcmveil.Veil(key=KEY)
    data = image("DOE^JANE")
    session = veil.session()
    with session.room() as room:
        room[: len(data)] = data
    pieces = list(session.push(len(data), True))
    with pytest.raises(ValueError, match="released"):
        bytes(pieces[0])
    with pytest.raises(ValueError, match="after the end"):
        session.room()
