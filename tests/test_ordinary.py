"""The two ways of a file held together: what `Ordinary` takes it treats as a session and a face do,
byte by byte and count by count, whatever came before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import corpus
from both_ways import (
    PROFILES,
    SIZES,
    WINDOW,
    Done,
    Opened,
    check,
    each_veil,
    expected_of,
    held_together,
    ordinary,
    veil_of,
)
from build import part10
from dcmveil import Veil, load_pseudonyms
from dcmveil.faces import patch
from folders import instance
from made_files import BASIC_VOICE, MADE, not_ordinary
from test_faults import FAULTS, NOTES

veil = each_veil

# -- files as they are -----------------------------------------------------------------------------


def test_the_corpus(veil: Veil) -> None:
    """And what must be ordinary is: no file goes the long way without a reason."""
    taken = 0
    for name, path in corpus.files():
        opened = Opened(path)
        expected = opened.by_session(veil)
        should = (
            expected is not None
            and opened.data[128:134] == b"DICM\2\0"
            and not opened.data.startswith(b"DCMVEIL")
            and not expected.directory
            and BASIC_VOICE[:-1].encode() not in opened.data[:2000]
        )
        assert should == (opened.planned(ordinary(veil)) is not None), name
        taken += should
    assert taken > 180


def test_the_corpus_under_all_sizes(veil: Veil, place: Path) -> None:
    for _, path in corpus.files():
        opened = Opened(path)
        opened.target = place / "out"
        check(veil, opened)


# -- made files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_made_files(veil: Veil, place: Path, name: str) -> None:
    opened = Opened.of(place, MADE[name])
    refused = opened.by_session(veil) is None
    assert check(veil, opened) == (not refused)


def test_most_made_files_are_accepted(veil: Veil, place: Path) -> None:
    refused = [name for name in MADE if Opened.of(place, MADE[name]).by_session(veil) is None]
    assert set(refused) <= {"no more than meta"}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(veil: Veil, place: Path, name: str) -> None:
    data, _ = FAULTS[name]
    if len(data) < 1 << 20:
        opened = Opened.of(place, data)
        taken = check(veil, opened)
        assert not (taken and opened.by_session(veil) is None)


def test_faults_are_faults(place: Path) -> None:
    """Under the profile that they were made for none of them is ordinary."""
    basic = veil_of(place)
    for data, _ in FAULTS.values():
        if len(data) < 1 << 20:
            assert Opened.of(place, data).planned(ordinary(basic)) is None


@pytest.mark.parametrize("name", NOTES)
def test_tolerated(veil: Veil, place: Path, name: str) -> None:
    """As they are, without a preamble, and in a file that has one."""
    data, _ = NOTES[name]
    check(veil, Opened.of(place, data))
    if data[128:132] != b"DICM":
        data = part10([data])
    cut = name == "pixel data cut short"
    assert check(veil, Opened.of(place, data)) == (not cut)


@pytest.mark.parametrize("name", [
    "sample, explicit-le, False", "sample, implicit-le, True", "bulk", "fragments", "document",
    "encapsulated icon", "long text", "private bulk",
])  # fmt: skip
@pytest.mark.parametrize("gap", [1, patch.GAP])
def test_every_first_read(place: Path, name: str, gap: int) -> None:
    """From too short for anything to the whole file: an edge falls everywhere."""
    basic = veil_of(place)
    opened = Opened.of(place, MADE[name])
    expected, new = expected_of(basic, opened)
    taken = 0
    for head in [*range(132, min(opened.size + 2, 3000), 5), opened.size - 1, opened.size]:
        for window in (head, 2 * head + 1, head + 20_000):
            way = ordinary(basic, (head, window), gap)
            taken += held_together(opened, way, expected, new, gap)
    assert taken > 20


@pytest.mark.parametrize("name", ["sample, explicit-le, False", "bulk", "fragments"])
def test_every_window(place: Path, name: str) -> None:
    """What is read next begins at another byte each time."""
    basic = veil_of(place)
    opened = Opened.of(place, MADE[name])
    expected, new = expected_of(basic, opened)
    least = next(
        head
        for head in range(132, opened.size)
        if opened.planned(ordinary(basic, (head, WINDOW))) is not None
    )
    for window in range(least, least + 300):
        held_together(opened, ordinary(basic, (least, window), 1), expected, new, 1)
    assert all(
        held_together(opened, ordinary(basic, (least, window), 1), expected, new, 1)
        for window in range(least + 4096, least + 4396)  # the rest of a fragment that is no skip
    )


def test_damaged_files(veil: Veil, place: Path) -> None:
    """Bytes changed, taken out or put in anywhere behind the preamble."""
    chance = random.Random(20240229)
    files = [data for data in MADE.values() if len(data) < 20_000]
    way = ordinary(veil)
    accepted = taken = 0
    for _ in range(1000):
        data = bytearray(chance.choice(files))
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(132, len(data))
            how = chance.randrange(3)
            if how == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif how == 1:
                del data[at : at + chance.choice((1, 2, 8))]
            else:
                data[at:at] = data[chance.randrange(len(data)) :][: chance.choice((2, 8, 60))]
        opened = Opened.of(place, bytes(data))
        expected, new = expected_of(veil, opened)
        accepted += expected is not None
        taken += held_together(opened, way, expected, new, patch.GAP)
        head = chance.randrange(132, len(data))
        small = ordinary(veil, (head, head + chance.choice((0, 300, 5000))), 1)
        held_together(opened, small, expected, new, 1)
    assert accepted >= taken > accepted - 10  # a damaged transfer syntax may be one of a DICOMDIR
    assert 100 < accepted < 900


# -- one after the other ---------------------------------------------------------------------------


def shuffled(files: list[bytes], seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for _ in range(3):
        chance.shuffle(files)
        yield from files


def test_nothing_stays_from_the_file_before(place: Path) -> None:
    """Ordinary ones, those that are left at every point, refused ones, and sessions in between,
    with one engine: each is as the first of a new engine."""
    options = PROFILES["a site's"]
    files = [*MADE.values(), *not_ordinary().values()]
    for name in ("short UIDs", "pseudonym with a note", "several UIDs", "no Patient ID"):
        whole = MADE[name]
        files += [whole[:-3], whole[: len(whole) // 2], whole + b"\1"]
    alone: dict[bytes, tuple[Done | None, bytes | None]] = {
        data: expected_of(veil_of(place, **options), Opened.of(place, data)) for data in files
    }
    noted = [done.report for done, _ in alone.values() if done]
    assert sum("pseudonym" in report for report in noted) > 0
    assert sum("date blanked" in report for report in noted) > 0
    assert sum("'vanished': 1" in report for report in noted) > 0
    for seed in range(3):
        veil = veil_of(place, **options)
        ways = [ordinary(veil, size) for size in SIZES[-3:]]
        chance = random.Random(seed)
        taken = 0
        for data in shuffled(files, seed):
            opened = Opened.of(place, data)
            expected, new = alone[data]
            for way in chance.sample(ways, 2):
                taken += held_together(opened, way, expected, new, patch.GAP)
            if chance.random() < 0.5:
                assert opened.by_session(veil) == expected
        assert taken > 100


def test_days_of_two_patients(place: Path) -> None:
    """In turn, by one Ordinary: each patient's dates move by days of their own, always the same."""
    veil = veil_of(place, **PROFILES["a site's"])
    way = ordinary(veil)
    dates: dict[str, set[bytes]] = {}
    names: dict[str, set[str]] = {}
    for number, patient in enumerate(["HOSP-004711", "HOSP-990123"] * 3 + ["HOSP-004711"] * 2):
        data = instance(number, patient=patient)
        opened = Opened.of(place, data)
        expected, new = expected_of(veil, opened)
        assert held_together(opened, way, expected, new, patch.GAP)
        assert new
        at = data.index(b"DA\x08\x0020240229") + 4
        dates.setdefault(patient, set()).add(new[at : at + 8])
        names.setdefault(patient, set()).add(new[data.index(b"DOE^J") :][:10].decode())
    assert [len(found) for found in dates.values()] == [1, 1]
    assert [len(found) for found in names.values()] == [1, 1]
    one, other = dates.values()
    assert one != other
    assert b"20240229" not in one | other


def test_a_table_that_lacks_a_patient(place: Path) -> None:
    """The refusal is the session's; the next file of a patient who is there is ordinary."""
    table = place / "table.csv"
    table.write_text("old,new,shift_days\nHOSP-004711,TRIAL-01,-40\n")
    table.chmod(0o600)
    veil = veil_of(place, **PROFILES["a site's"], pseudonyms=load_pseudonyms(table))
    way = ordinary(veil)
    for patient in ["HOSP-004711", "HOSP-990123", "HOSP-990123", "HOSP-004711"]:
        opened = Opened.of(place, instance(patient=patient))
        expected, new = expected_of(veil, opened)
        assert (expected is not None) == (patient == "HOSP-004711")
        assert held_together(opened, way, expected, new, patch.GAP) == bool(expected)
        if new:
            assert b"TRIAL-01" in new
            assert b"20240120" in new
