"""UIDs that the core writes again without asking: see ext/dcmveil/recent.pxd."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build import E, encode
from dcmveil import core
from dcmveil.keyed import UidMapper

Uids = dict[bytes, bytes]
TAGS = (0x00080018, 0x0020000D, 0x0020000E, 0x00081155)
CHECKED = (0x00080016, 0x00081150)


def place_of(tag: int) -> int:
    """Two tags with one place put each other out."""
    return (tag * 0x9E3779B1 & 0xFFFFFFFF) >> 27


# one of each kind with one place
SHARED, SHARED_CHECKED = next(
    (one, other)
    for one, other in itertools.combinations(range(0x00401000, 0x00401100), 2)
    if place_of(one) == place_of(other)
)


def rules() -> core.Rules:
    made = core.Rules()
    made.load(b"", b"")
    for tag in (*TAGS, SHARED):
        made.set(f"{tag:08X}", "UI", core.UID)
    for tag in (*CHECKED, SHARED_CHECKED):
        made.set(f"{tag:08X}", "UI", core.KEEP)  # those are checked
    made.freeze()
    return made


RULES = rules()


def refuse(asks: object) -> list[core.Answer]:
    raise AssertionError(asks)


class Way:
    """Inputs one after the other, by one Rewriter."""

    def __init__(self) -> None:
        self.rewriter = core.Rewriter(RULES, refuse)
        self.called: list[tuple[str, bytes]] = []

    def run(self, values: Sequence[tuple[int, bytes]], new: Uids, kept: Uids) -> list[bytes]:
        """The values of these tags, as they are written."""

        def map_uid(old: bytes) -> bytes:
            self.called.append(("new", old))
            return old[::-1]

        def keep_uid(old: bytes) -> bytes:
            self.called.append(("kept", old))
            return old.upper()

        known = (new, kept, map_uid, keep_uid)
        self.rewriter.restart(refuse, known=known, encoding=core.EXPLICIT_LE)
        window = bytearray(encode([E(tag, "UI", value) for tag, value in sorted(values)]))
        assert self.rewriter.step(window, len(window), True) == core.DONE
        at, found = 0, {}
        for tag, value in sorted(values):
            found[tag] = bytes(window[at + 8 : at + 8 + len(value)])
            at += 8 + len(value)
        return [found[tag] for tag, _ in values]


def test_the_same_again() -> None:
    way, new, kept = Way(), {b"1.2.34": b"2.25.3"}, {b"1.2.34": b"1.2.99"}
    values = [(TAGS[0], b"1.2.34"), (TAGS[1], b"1.2.34"), (CHECKED[0], b"1.2.34")]
    for _ in range(3):
        assert way.run(values, new, kept) == [b"2.25.3", b"2.25.3", b"1.2.99"]
    assert way.called == []


def test_another_value_under_that_tag() -> None:
    way, new = Way(), {b"1.2.34": b"2.25.3", b"1.2.35": b"2.25.4", b"1.2.3456": b"2.25.567"}
    for old in [*new] * 3:
        assert way.run([(TAGS[0], old)], new, {}) == [new[old]]


def test_other_dicts() -> None:
    """Of another key, or for an input that was mapped before."""
    way, old = Way(), b"1.2.34"
    values = [(TAGS[0], old), (CHECKED[0], old)]
    one, other = {old: b"2.25.3"}, {old: b"2.25.4"}
    kept, kept_too = {old: old}, {old: b"1.2.77"}
    for _ in range(2):
        assert way.run(values, one, kept) == [b"2.25.3", old]
        assert way.run(values, other, kept) == [b"2.25.4", old]
        assert way.run(values, other, kept_too) == [b"2.25.4", b"1.2.77"]
        assert way.run(values, kept, kept) == [old, old]
        assert way.run(values, {}, {}) == [b"43.2.1", old]


def test_two_kinds_in_one_place() -> None:
    way, old = Way(), b"1.2.34"
    for _ in range(3):
        for tag, new in ((SHARED, b"2.25.3"), (SHARED_CHECKED, b"1.2.99")):
            assert way.run([(tag, old)], {old: b"2.25.3"}, {old: b"1.2.99"}) == [new]


def test_what_is_counted_is_asked_for_each_time() -> None:
    """A mapper counts some UIDs whenever they occur."""
    mapper, way = UidMapper(bytes(range(32)), frozenset()), core.Rewriter(RULES, refuse)
    for _ in range(5):
        way.restart(refuse, known=mapper.known(False), encoding=core.EXPLICIT_LE)
        window = bytearray(encode([E(TAGS[0], "UI", b"1.2.34"), E(TAGS[1], "UI", b"1.2.34")]))
        assert way.step(window, len(window), True) == core.DONE
    assert mapper.take_counts() == {"short": 10, "vanished": 0, "foreign": 0}


@pytest.mark.parametrize("length", [62, 64, 66, 130])
def test_long_values(length: int) -> None:
    way = Way()
    one, other = (bytes([n]) * length for n in b"12")
    new = {one: b"3" * length, other: b"4" * length}
    for old in (one, one, other, one):
        assert way.run([(TAGS[0], old)], new, {}) == [new[old]]


def test_an_empty_value() -> None:
    way = Way()
    for _ in range(2):
        assert way.run([(TAGS[0], b""), (TAGS[1], b"1.2.34")], {b"1.2.34": b"2.25.3"}, {}) == [
            b"", b"2.25.3"
        ]  # fmt: skip


UID = st.text("012.", min_size=1, max_size=35).map(lambda text: (text * 2).encode())


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*TAGS, *CHECKED, SHARED, SHARED_CHECKED]),
            st.sampled_from([b"1.2.34", b"1.2.35", b"1.2.3456"]) | UID,
            min_size=1,
            max_size=8,
        ),
        max_size=8,
    ),
    st.sets(UID),
)
def test_as_without_it(inputs: list[dict[int, bytes]], known: set[bytes]) -> None:
    """Whatever the dicts have, and whatever came before."""
    known |= {b"1.2.34", b"1.2.3456"}
    new = {old: bytes(70 + n % 20 for n in old) for old in known}
    kept = {old: bytes(90 + n % 20 for n in old) for old in known}
    way = Way()
    for values in inputs:
        wanted = [
            kept.get(old, old.upper()) if tag in (*CHECKED, SHARED_CHECKED)
            else new.get(old, old[::-1])
            for tag, old in values.items()
        ]  # fmt: skip
        assert way.run([*values.items()], new, kept) == wanted
