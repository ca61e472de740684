"""New UIDs and the mark, compiled, against the same in plain Python (twin_keys.py)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import twin_keys
from dcmveil.keyed import RunMark, UidMapper, suffix
from dcmveil.profile.tables_io import read_lines

KEY = bytes(range(32))
REGISTERED = frozenset(read_lines("registered_uids.txt")) | {b"1.3.46.670589", b"no UID"}
ROOTS = ("2.25", "1.2", "1.2.826.0.1.3680043.10.543", "1.2.276.0.7230010.3.1.4.123456")
ROOMS = range(1, 61)
EXTREMES = [bytes(64), b"\xff" * 64, bytes(63) + b"\1", b"\x80" + bytes(63)]


def quotients(room: int) -> list[bytes]:
    """Digests next to where a number of the first component begins again, low and high."""
    _, count = twin_keys.numbers(room if room < 40 else min(39, room - 2))
    times = [1, 2, 2**64 - 1, 2**64, 2**128, 2**191, (2**512 - 1) // count]
    around = {time * count + step for time in times for step in (-1, 0, 1)}
    return [number.to_bytes(64, "big") for number in sorted(around) if 0 <= number < 2**512]


@pytest.mark.parametrize("room", ROOMS)
def test_a_suffix_is_that_of_whole_numbers(room: int) -> None:
    source = random.Random(room)
    chosen = [source.randbytes(64) for _ in range(300)]
    # long runs of equal bits are what random digests do not have
    runs = [
        (source.getrandbits(512) & -(1 << source.randrange(512))).to_bytes(64, "big")
        for _ in range(100)
    ]
    low = [source.getrandbits(source.randrange(1, 512)).to_bytes(64, "big") for _ in range(100)]
    for digest in [*EXTREMES, *quotients(room), *chosen, *runs, *low]:
        made = suffix(digest, room)
        assert made == twin_keys.suffix(digest, room)
        assert len(made) == room


@given(st.binary(min_size=64, max_size=64), st.sampled_from(ROOMS))
def test_any_suffix_is_that_of_whole_numbers(digest: bytes, room: int) -> None:
    assert suffix(digest, room) == twin_keys.suffix(digest, room)


@pytest.mark.parametrize(
    ("digest", "room"), [(bytes(63), 9), (bytes(65), 9), (b"", 9), (bytes(64), 0), (bytes(64), 61)]
)
def test_no_suffix_out_of_bounds(digest: bytes, room: int) -> None:
    with pytest.raises(ValueError, match="1 to 60 bytes"):
        suffix(digest, room)


REGISTERED_UID = st.sampled_from(sorted(REGISTERED))
DIGITS = st.text("0123456789", max_size=6).map(str.encode)
UID = st.one_of(
    st.text("0123456789.", max_size=70).map(str.encode),
    st.builds(b"2.25.%d".__mod__, st.integers(0, 30)),
    REGISTERED_UID,
    st.builds(b"1.2.840.10008.6.1.".__add__, DIGITS),
    st.builds(b"1.2.840.10008.".__add__, DIGITS),
    st.builds(bytes.__add__, REGISTERED_UID, DIGITS),
    st.binary(max_size=80).map(lambda value: value.replace(b"\\", b"/")),
)
PADDING = st.text(" \t\0", max_size=3).map(str.encode)
VALUE = st.builds(
    lambda before, uid, after, rest: before + uid + after + rest,
    PADDING,
    UID,
    PADDING,
    st.sampled_from([b"", b"", b"\0SMITH", b"\0 ", b"x", b"\n"]),
)
FIELD = st.lists(VALUE, min_size=1, max_size=4).map(b"\\".join)


@given(st.lists(FIELD, min_size=1, max_size=6), st.sampled_from(ROOTS), st.booleans())
def test_a_mapper_is_its_twin(fields: list[bytes], root: str, keep: bool) -> None:
    mapper, twin = UidMapper(KEY, REGISTERED, root), twin_keys.Mapper(KEY, REGISTERED, root)
    ways = [(mapper.map_value, twin.map_value), (mapper.keep_value, twin.keep_value)]
    for field in fields * 2:  # the second time out of the caches
        for ours, theirs in reversed(ways) if keep else ways:
            assert ours(field) == theirs(field)
            assert (mapper.short, mapper.vanished, mapper.foreign) == tuple(twin.counts.values())
        for value in field.split(b"\\"):
            assert mapper.map(value) == twin.map(value)
    assert mapper.take_counts() == twin.counts
    assert (mapper.short, mapper.vanished, mapper.foreign) == (0, 0, 0)


def test_every_length_of_every_root_is_its_twins() -> None:
    source = random.Random(5)
    for root in ROOTS:
        mapper, twin = UidMapper(KEY, REGISTERED, root), twin_keys.Mapper(KEY, REGISTERED, root)
        for length in range(75):
            for _ in range(8):
                old = "".join(source.choices("0123456789.", k=length)).encode()
                assert mapper.map(old) == twin.map(old)
        assert mapper.take_counts() == twin.counts


def test_what_a_mapper_has_returned_is_known() -> None:
    """The core reads these dicts in place of calling: nothing that counts may stand in them."""
    mapper = UidMapper(KEY, REGISTERED)
    fields = [
        b"1.2.3",
        b"1.2.840.10008.9",
        b"1.2.826.0.1.3680043.8.498.45",
        b"1.2.840.10008.1.2.1\0",
        b"1.2.826.0.1.3680043.8.498.45\\1.2.826.0.1.3680043.8.498.46",
    ]
    new, kept, map_value, keep_value = mapper.known(False)
    assert mapper.known(True)[:2] == (kept, kept)
    mapped, left = [map_value(field) for field in fields], [keep_value(field) for field in fields]
    assert [new.get(field) for field in fields] == [None, None, *mapped[2:]]
    assert [kept.get(field) for field in fields] == [left[0], None, *left[2:]]
    assert new is mapper.known(False)[0]
    assert mapper.known(True)[2](fields[0]) == fields[0] == left[0]


@given(*[st.binary(max_size=200)] * 4, st.text("\0 ", max_size=3).map(str.encode))
def test_a_mark_is_its_twins(
    profile: bytes, uid: bytes, patient: bytes, name: bytes, padding: bytes
) -> None:
    made = RunMark(KEY, profile).make(uid + padding, patient, name + padding)
    assert made == twin_keys.mark(KEY, profile, uid, patient, name)


@pytest.mark.parametrize("wrong", [None, "1.2.3", 1, bytearray(b"1.2.3")])
def test_only_bytes_are_taken(wrong: object) -> None:
    mapper, mark = UidMapper(KEY, REGISTERED), RunMark(KEY, b"profile")
    for use in (mapper.map, mapper.map_value, mapper.keep_value):
        with pytest.raises(TypeError):
            use(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        mark.make(b"1", wrong, b"2")  # type: ignore[arg-type]
