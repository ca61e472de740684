"""What `Ordinary` leaves to a session: odd files, limits, and errors; it has left no trace then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from both_ways import (
    NAME,
    SIZES,
    Opened,
    each_veil,
    engine_of,
    expected_of,
    held_together,
    ordinary,
    veil_of,
)
from build import E, sample
from dcmveil import Veil
from dcmveil.faces import patch
from dcmveil.faces.files import KernelCopy
from dcmveil.faces.ordinary import Ordinary
from made_files import MADE, not_ordinary, with_elements

veil = each_veil

# -- odd files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", not_ordinary())
def test_not_ordinary(veil: Veil, place: Path, name: str) -> None:
    opened = Opened.of(place, not_ordinary()[name])
    for size in SIZES:
        assert opened.planned(ordinary(veil, size)) is None
        assert opened.copied(ordinary(veil, size)) is None


def test_what_is_cut_off_at_any_byte(place: Path) -> None:
    """What a session accepts, since it ends between two elements, is ordinary."""
    basic = veil_of(place)
    opened = Opened.of(place, sample())
    way, small = ordinary(basic), ordinary(basic, (700, 700))
    accepted = 0
    for size in range(opened.size - 1, -1, -1):
        os.truncate(opened.path, size)
        cut = Opened(opened.path)
        expected, new = expected_of(basic, cut)
        taken = held_together(cut, way, expected, new, patch.GAP)
        assert taken == (expected is not None and size > 132)
        held_together(cut, small, expected, new, patch.GAP)
        accepted += taken
    assert 30 < accepted < 150


# -- limits and errors -----------------------------------------------------------------------------


def test_limit_of_the_size(place: Path) -> None:
    basic = veil_of(place)
    for data in (sample(), MADE["bulk"]):
        opened = Opened.of(place, data)
        for limit, taken in ((len(data) - 1, False), (len(data), True), (0, False)):
            way = Ordinary(engine_of(basic), gap=1, size_limit=limit)
            assert (opened.planned(way) is not None) == taken
            assert (opened.copied(way) is not None) == taken


def test_limit_of_what_is_held(place: Path) -> None:
    """To the byte that of a session."""
    edge = 0
    opened = Opened.of(place, MADE["private before the patient"])
    basic = veil_of(place)
    for limit in range(1200, 3000):
        basic._hold_limit = limit
        accepted = opened.by_session(basic) is not None
        assert (opened.planned(basic.ordinary()) is not None) == accepted
        edge += accepted
    assert 0 < edge < 1800


def test_more_edits_than_a_journal_should_hold_in_memory(place: Path) -> None:
    """In place it goes by way of the journal's file; a copy has no edits."""
    basic = veil_of(place)
    data = with_elements(E(0x00110010, "LO", "ACME MAGNETS 1.0"),
                         E(0x00111003, "OB", bytes(range(1, 251)) * 12_000))  # fmt: skip
    opened = Opened.of(place, data)
    assert opened.planned(ordinary(basic)) is None
    copied = opened.copied(ordinary(basic))
    assert copied
    assert copied[0] == basic.bytes(data)


def test_a_second_name(place: Path) -> None:
    """A copy does not care; in place the other name would change too."""
    basic = veil_of(place)
    opened = Opened.of(place, sample())
    other = place / "second name"
    os.link(opened.path, other)
    assert opened.planned(ordinary(basic)) is None
    assert opened.copied(ordinary(basic)) is not None
    other.unlink()
    assert opened.planned(ordinary(basic)) is not None


def test_files_that_cannot_be_read_or_written(place: Path) -> None:
    basic = veil_of(place)
    way = ordinary(basic)
    opened = Opened.of(place, MADE["bulk"])
    file = os.open(opened.path, os.O_RDONLY)
    full = os.open("/dev/full", os.O_WRONLY)
    assert not way.copy(file, full, KernelCopy().bulk)
    assert not way.copy(file, file, KernelCopy().bulk)  # not open for writing

    def fail(src: int, dst: int, n: int) -> int:
        raise OSError(28, "No space left on device")

    # the kernel does not copy to the end of such a file by the call that is tried first
    with opened.target.open("ab") as dst, pytest.raises(OSError, match="No space left"):
        way.copy(file, dst.fileno(), fail)
    os.close(file)
    os.close(full)
    assert not way.plan(file, NAME, bytearray())
    assert not way.copy(file, full, KernelCopy().bulk)
    expected, new = expected_of(basic, opened)
    assert held_together(opened, way, expected, new, patch.GAP)


def test_wrong_windows(place: Path) -> None:
    engine = engine_of(veil_of(place))
    for head, window in ((131, 1000), (1000, 999), (0, 0)):
        with pytest.raises(ValueError, match="smaller"):
            Ordinary(engine, gap=1, head=head, window=window)
    Ordinary(engine, gap=1, head=132, window=132)
