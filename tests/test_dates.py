"""Dates moved per patient, dates of a second run, years alone, and times set to midnight."""

from __future__ import annotations

import datetime
import hashlib
import random
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.valuerep import DA, DT, TM

from dcmveil import dates
from dcmveil.dates import DateShifter, remembered, shift, year_only, zero_time
from dcmveil.errors import UsageError
from dcmveil.keys import new_key

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))

# A change of any of these is a new algorithm version.
DAYS_VECTORS = {
    (-365, 365, b"PAT-0001"): 43,
    (-365, 365, b"12345678"): 101,
    (-365, -1, b"PAT-0001"): -323,
    (1, 1, b"PAT-0001"): 1,
    (0, 30, b"12345678"): 16,
    (-36500, 36500, b"12345678"): -6105,
    (-365, 365, b"M\xfcller"): 161,
}

DATES = st.dates()
DAYS = st.integers(-36500, 36500)
TIMES = st.times().map(lambda time: time.strftime("%H%M%S.%f").encode())
OFFSETS = st.sampled_from([b"", b"+0000", b"-0500", b"+1400", b"-1200", b"+0545", b"-0330"])
VRS = st.sampled_from(["DA", "DT", "TM"])
FIELD = st.binary(max_size=40)
# Near misses: the characters of dates, in any order.
NEAR = st.text("0129-+.: \\\0", max_size=40).map(str.encode)


def compact(date: datetime.date) -> bytes:
    return date.isoformat().replace("-", "").encode()


def legacy(date: datetime.date) -> bytes:
    return date.isoformat().replace("-", ".").encode()


def as_date(text: bytes) -> datetime.date:
    digits = text.replace(b".", b"").decode()
    return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))


def moved(date: datetime.date, days: int) -> datetime.date | None:
    try:
        return date + datetime.timedelta(days)
    except OverflowError:
        return None


# ------------------------------------------------------------------------------- days of a patient


@pytest.mark.parametrize("case", DAYS_VECTORS)
def test_pinned_days(case: tuple[int, int, bytes]) -> None:
    least, most, patient = case
    assert DateShifter(KEY, least, most).days_for(patient) == DAYS_VECTORS[case]


def test_days_are_made_as_documented() -> None:
    patient = b"PAT-0001"
    digest = hashlib.blake2b(patient, key=KEY, person=b"dcmveil date 1").digest()
    choices = [days for days in range(-365, 366) if days]
    expected = choices[int.from_bytes(digest, "big") % len(choices)]
    assert DateShifter(KEY, -365, 365).days_for(patient) == expected


@pytest.mark.parametrize(
    ("least", "most"), [(-3, 3), (0, 4), (-4, 0), (1, 5), (-5, -1), (7, 7), (-2, 1)]
)
def test_every_day_of_the_range_is_chosen_but_0(least: int, most: int) -> None:
    shifter = DateShifter(KEY, least, most)
    chosen = {shifter.days_for(b"%d" % number) for number in range(1000)}
    assert chosen == set(range(least, most + 1)) - {0}


def test_days_are_spread_evenly() -> None:
    shifter = DateShifter(KEY, -5, 5)
    counts = dict.fromkeys([*range(-5, 0), *range(1, 6)], 0)
    for number in range(5000):
        days = shifter.days_for(b"%d" % number)
        assert days is not None
        counts[days] += 1
    assert min(counts.values()) > 400


@pytest.mark.parametrize(
    ("least", "most"), [(1, 0), (0, 0), (5, -5), (-36501, 5), (1, 36501), (36501, 36502)]
)
def test_ranges_that_are_refused(least: int, most: int) -> None:
    with pytest.raises(UsageError):
        DateShifter(KEY, least, most)


@pytest.mark.parametrize("key", [b"", bytes(32), KEY[:-1], KEY + b"\1"])
def test_bad_keys_are_refused(key: bytes) -> None:
    with pytest.raises(UsageError):
        DateShifter(key, 1, 100)


@pytest.mark.parametrize("empty", [b"", b" ", b"\0", b"    ", b" \0", b"\0NAME", b"  \0NAME "])
def test_no_days_without_an_id(empty: bytes) -> None:
    assert DateShifter(KEY, 1, 100).days_for(empty) is None


def test_padding_of_an_id_does_not_count() -> None:
    shifter = DateShifter(KEY, -36500, 36500)
    for same in (b"ID 1 ", b" ID 1", b"ID 1\0", b"ID 1 \0", b"ID 1\0NAME"):
        assert shifter.days_for(same) == shifter.days_for(b"ID 1")
    for other in (b"ID1", b"id 1", b"ID 1\t", b"ID  1"):
        assert shifter.days_for(other) != shifter.days_for(b"ID 1")


def test_another_key_gives_other_days() -> None:
    patients = [b"%d" % number for number in range(50)]
    first, second = (DateShifter(key, 1, 36500) for key in (KEY, OTHER_KEY))
    assert [first.days_for(p) for p in patients] != [second.days_for(p) for p in patients]
    assert DateShifter(KEY, 1, 36500).days_for(b"1") == first.days_for(b"1")


# --------------------------------------------------------------------------------- moving of dates

MOVED = [
    # vr, old, days, new
    ("DA", b"20200115", 20, b"20200204"),
    ("DA", b"20200228", 1, b"20200229"),
    ("DA", b"20190228", 1, b"20190301"),
    ("DA", b"19000228", 1, b"19000301"),
    ("DA", b"20000228", 1, b"20000229"),
    ("DA", b"20200101", -1, b"20191231"),
    ("DA", b"2020.01.15", 20, b"2020.02.04"),
    ("DA", b"202001", 31, b"202002"),
    ("DA", b"202001", 30, b"202001"),
    ("DA", b"2020", -1, b"2019"),
    ("DA", b"20200115-20200131", 1, b"20200116-20200201"),
    ("DA", b"20200115-", 1, b"20200116-"),
    ("DA", b"-20200115 ", 1, b"-20200116 "),
    ("DA", b"2020.01.15-2020.01.16", 1, b"2020.01.16-2020.01.17"),
    ("DA", b"20200115\\20200131", 1, b"20200116\\20200201"),
    ("DA", b"20200115\\\\2020.01.31 ", 1, b"20200116\\\\2020.02.01 "),
    ("DA", b"00010102", -1, b"00010101"),
    ("DA", b"99991230", 1, b"99991231"),
    ("DT", b"20200115", 20, b"20200204"),
    ("DT", b"2020011512", 20, b"2020020412"),
    ("DT", b"202001151234", 20, b"202002041234"),
    ("DT", b"20200115123460", 20, b"20200204123460"),
    ("DT", b"20200115123456.1", 20, b"20200204123456.1"),
    ("DT", b"20200115123456.123456-0500", 20, b"20200204123456.123456-0500"),
    ("DT", b"20200115+1400", 20, b"20200204+1400"),
    ("DT", b"2020011512-1200", 20, b"2020020412-1200"),
    ("DT", b"20200115-0000", 20, b"20200204-0000"),
    ("DT", b"202001", 40, b"202002"),
    ("DT", b"2020", 400, b"2021"),
    ("DT", b"20200115-20200116", 1, b"20200116-20200117"),
    ("DT", b"20200115-0500-20200116-0500", 1, b"20200116-0500-20200117-0500"),
    ("DT", b"2020011512-0500-", 1, b"2020011612-0500-"),
    ("DT", b"-2020011512-0500", 1, b"-2020011612-0500"),
    ("DT", b"-20200115+0100", 1, b"-20200116+0100"),
    ("DT", b"20200115\\2020011512 ", 1, b"20200116\\2020011612 "),
    ("TM", b"12", 20, b"12"),
    ("TM", b"1234", 20, b"1234"),
    ("TM", b"235960", 20, b"235960"),
    ("TM", b"123456.123456 ", 20, b"123456.123456 "),
    ("TM", b"12:34:56", 20, b"12:34:56"),
    ("TM", b"12:34", 20, b"12:34"),
    ("TM", b"12:34:56.12", 20, b"12:34:56.12"),
    ("TM", b"1200-1300", 20, b"1200-1300"),
    ("TM", b"12-12:30:00.5", 20, b"12-12:30:00.5"),
    ("TM", b"1234-12", 20, b"1234-12"),
    ("TM", b"12-", 20, b"12-"),
    ("TM", b"-123456.1", 20, b"-123456.1"),
    ("TM", b"12\\1300 ", 20, b"12\\1300 "),
]


@pytest.mark.parametrize(("vr", "old", "days", "new"), MOVED)
def test_moved(vr: str, old: bytes, days: int, new: bytes) -> None:
    assert len(new) == len(old)
    assert shift(vr, old, days) == new
    for pad in (b" ", b"\0", b" \0", b"\0\0  "):
        assert shift(vr, old + pad, days) == new + pad
    assert shift(vr, b"  " + old, days) == b"  " + new
    # nothing is left of what stands behind a NUL
    assert shift(vr, old + b"\0DOE^JOHN", days) == new + b" " * 9
    assert shift(vr, b"%b\0DOE\\%b" % (old, old), days) == b"%b    \\%b" % (new, new)
    assert remembered(vr, new) == new


NOT_DATES = {
    "DA": [
        b"2020011",
        b"202001155",
        b"20200015",
        b"20201315",
        b"20200100",
        b"20200132",
        b"20200431",
        b"20190229",
        b"19000229",
        b"00000101",
        b"00001231",
        b"0000",
        b"202013",
        b"202000",
        b"20",
        b"20200115 20200116",
        b"2020-01-15",
        b"2020-01",
        b"2020-0115",
        b"2020/01/15",
        b"2020.1.15",
        b"2020.01",
        b"2020.01,15",
        b"2020.13.15",
        b"15.01.2020",
        b"20200115120000",
        b"20200115-0500",
        b"20200115-2020",
        b"2020-2021",
        b"202001-",
        b"-202001",
        b"-",
        b"--",
        b"20200115--20200116",
        b"20200115-20200116-20200117",
        b"20200115-20201316",
        b"DOE^JOHN",
        b"2020011O",
        b"+2020011",
        b"20200115\t",
        b"\t20200115",
        b"20200115\n",
        "\uff12\uff10".encode(),
        b"\xb2\xb2\xb2\xb2",
        b"2020_115",
    ],
    "DT": [
        b"2020.01.15",
        b"202001151",
        b"2020011524",
        b"202001151260",
        b"20200115123461",
        b"20200115123456.",
        b"20200115123456.1234567",
        b"20200115123456.12a",
        b"202001151234.5",
        b"20200115 123456",
        b"20200115T123456",
        b"2020-01-15T12:34:56",
        b"2020011512:34:56",
        b"20200115-1201",
        b"20200115+1401",
        b"20200115+0160",
        b"20200115+010",
        b"20200115+01000",
        b"20200115+0100-0500",
        b"20200115+01:00",
        b"20200115Z",
        b"2020-0115",
        b"2020+0100",
        b"202001-0500",
        b"2020-2021",
        b"20200115-2021",
        b"20200115-202102",
        b"-",
        b"20200115--20200116",
        b"20200115-20200116-20200117",
        b"20201315123456.123456-0500",
        b"-0500",
        b"99991231-1300",
    ],
    "TM": [
        b"24",
        b"1260",
        b"123461",
        b"1",
        b"123",
        b"12345",
        b"20200115",
        b"123456.",
        b"123456.1234567",
        b"1234.5",
        b"12.5",
        b"12:3",
        b"12:34:",
        b"12:34.56",
        b"12:34:56:7",
        b"12:34:56.",
        b"123:4",
        b"12-34-56",
        b"1234:56",
        b"123456+0100",
        b"12h34",
        b"-",
        b"1300-1200",
        b"1945-0115",
        b"12--13",
        b"12-25",
        b"NOON",
    ],
}


@pytest.mark.parametrize(("vr", "old"), [(vr, old) for vr in NOT_DATES for old in NOT_DATES[vr]])
def test_what_is_no_date_is_blanked(vr: str, old: bytes) -> None:
    good = b"1234" if vr == "TM" else b"20200115"
    new_good = good if vr == "TM" else b"20200116"
    blank = b" " * len(old)
    assert shift(vr, old, 1) == blank
    assert remembered(vr, old) == blank
    # and takes none of its neighbours along
    assert shift(vr, b"%b\\%b\\%b " % (good, old, good), 1) == b"%b\\%b\\%b " % (
        new_good,
        blank,
        new_good,
    )


@pytest.mark.parametrize("vr", ["DA", "DT", "TM"])
@pytest.mark.parametrize("empty", [b"", b"  ", b"\0\0", b" \0", b"\\", b" \\\0\0\\ "])
def test_empty_stays(vr: str, empty: bytes) -> None:
    for days in (None, 0, 5):
        assert shift(vr, empty, days) == empty
    assert year_only(empty) == zero_time(empty) == empty


@pytest.mark.parametrize(
    ("vr", "old", "days"),
    [
        ("DA", b"00010101", -1),
        ("DA", b"99991231", 1),
        ("DA", b"9999.12.31", 1),
        ("DA", b"0001", -1),
        ("DA", b"999912", 31),
        ("DA", b"20200115-99991231", 1),
        ("DT", b"99991231235959.999999+0100", 1),
    ],
)
def test_dates_beyond_the_calendar_are_blanked(vr: str, old: bytes, days: int) -> None:
    assert shift(vr, old, days) == b" " * len(old)
    assert shift(vr, old, 0) == old


@pytest.mark.parametrize("old", [b"20200115", b"1234", b"20200115\\1234 ", b"DOE^JOHN", b"12\0X"])
def test_without_days_or_with_another_vr_nothing_is_left(old: bytes) -> None:
    blank = re.sub(rb"[^\\]", b" ", old)
    for vr in ("DA", "DT", "TM"):
        assert shift(vr, old, None) == blank
    for vr in ("", "LO", "UN", "da"):
        assert shift(vr, old, 5) == shift(vr, old, None) == blank


@given(VRS, FIELD | NEAR, st.none() | DAYS)
def test_any_bytes_keep_length_and_show_no_text(vr: str, old: bytes, days: int | None) -> None:
    new = shift(vr, old, days)
    assert len(new) == len(old)
    assert new.count(b"\\") == old.count(b"\\")
    assert not new.translate(None, b"0123456789+-.: \\\0")
    assert remembered(vr, new) == new
    for part in new.split(b"\\"):
        assert not part.partition(b"\0")[2].strip(b"\0 ")
    year = year_only(old)
    assert len(year) == len(old)
    assert year_only(year) == year
    for part in year.split(b"\\"):
        assert part in (remembered("DA", part), remembered("DT", part))
    time = zero_time(old)
    assert len(time) == len(old)
    assert remembered("TM", time) == time == zero_time(time)


@given(DATES, DATES, DAYS)
def test_intervals_are_kept_to_the_day(
    first: datetime.date, second: datetime.date, days: int
) -> None:
    for vr, form in (("DA", compact), ("DA", legacy), ("DT", compact)):
        new = [shift(vr, form(date), days) for date in (first, second)]
        expected = [moved(date, days) for date in (first, second)]
        assert new == [form(date) if date else b" " * len(form(first)) for date in expected]
        if all(expected):
            assert as_date(new[1]) - as_date(new[0]) == second - first
            assert shift(vr, new[0], -days) == form(first)


@given(DATES, TIMES, st.sampled_from([2, 4, 6, 8, 13]), OFFSETS, DAYS)
def test_times_and_offsets_stay(
    date: datetime.date, time: bytes, cut: int, offset: bytes, days: int
) -> None:
    rest = time[:cut] + offset
    expected = moved(date, days)
    old = compact(date) + rest
    assert shift("DT", old, days) == (compact(expected) + rest if expected else b" " * len(old))
    assert shift("TM", time[:cut], days) == time[:cut]


@given(DATES, DAYS)
def test_precision_of_a_partial_date_stays(date: datetime.date, days: int) -> None:
    for length, first in ((6, date.replace(day=1)), (4, date.replace(month=1, day=1))):
        expected = moved(first, days)
        for vr in ("DA", "DT"):
            new = shift(vr, compact(date)[:length], days)
            assert new == (compact(expected)[:length] if expected else b" " * length)


def test_the_calendar_is_the_one_of_the_standard_library() -> None:
    last = datetime.date.max.toordinal()
    # all days of some 400 years' ends, and a sample of the rest
    numbers = {*range(1, 1500), *range(last - 1500, last + 1), *range(1, last, 97)}
    for century in range(100, 10000, 100):
        middle = datetime.date(century, 3, 1).toordinal()
        numbers.update(range(middle - 62, middle + 2))
    for ordinal in numbers:
        date = datetime.date.fromordinal(ordinal)
        number = dates._day_number(date.year, date.month, date.day)
        assert number - dates._FIRST_DAY == ordinal - 1
        assert dates._civil_date(number) == (date.year, date.month, date.day)


@pytest.mark.parametrize(
    ("vr", "old", "new"),
    [
        ("DA", b"20200115", datetime.date(2020, 2, 4)),
        ("DA", b"2020.01.15", datetime.date(2020, 2, 4)),
        ("DT", b"2020", datetime.datetime(2020, 1, 1)),
        ("DT", b"202001", datetime.datetime(2020, 1, 1)),
        ("DT", b"20200115123456.5 ", datetime.datetime(2020, 2, 4, 12, 34, 56, 500000)),
        ("TM", b"123456.5", datetime.time(12, 34, 56, 500000)),
    ],
)
def test_pydicom_reads_what_is_written(vr: str, old: bytes, new: object) -> None:
    assert {"DA": DA, "DT": DT, "TM": TM}[vr](shift(vr, old, 20).decode().strip()) == new


def test_many_values_are_bounded_in_memory() -> None:
    for number in range(3 * dates._CACHE_LIMIT):
        shift("TM", b"%06d" % number, 1)
    assert len(dates._cache) <= dates._CACHE_LIMIT
    long = b"20200115\\" * 1000
    assert shift("DA", long, 1) == b"20200116\\" * 1000
    assert all(len(old) <= dates._CACHED_BYTES for _, old, _ in dates._cache)


# ------------------------------------------------------------------------------- other treatments


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"20200615", b"20200101"),
        (b"2020.06.15", b"2020.01.01"),
        (b"202006", b"202001"),
        (b"2020", b"2020"),
        (b"20200615 ", b"20200101 "),
        (b"20200615\0DOE", b"20200101    "),
        (b"20200615123456.123456-0500", b"20200101000000.000000+0000"),
        (b"2020061512+1400", b"2020010100+0000"),
        (b"20200615-20210615", b"20200101-20210101"),
        (b"20200615-", b"20200101-"),
        (b"-20200615", b"-20200101"),
        (b"-20200615-0500", b"-20200101+0000"),
        (b"20200615\\2021061512 ", b"20200101\\2021010100 "),
        (b"20200615\\junk\\20210615", b"20200101\\    \\20210101"),
    ],
)
def test_year_only(old: bytes, new: bytes) -> None:
    assert year_only(old) == new


@pytest.mark.parametrize("old", sorted({*NOT_DATES["DA"]} & {*NOT_DATES["DT"]}))
def test_year_of_no_date(old: bytes) -> None:
    assert year_only(old) == b" " * len(old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1", b" "),
        (b"12", b"00"),
        (b"123", b"00 "),
        (b"1234", b"0000"),
        (b"12345", b"0000 "),
        (b"123456", b"000000"),
        (b"123456.", b"000000 "),
        (b"123456.1", b"000000.0"),
        (b"123456.123456 ", b"000000.000000 "),
        (b"123456.123456789", b"000000.000000   "),
        (b"12:34:56", b"000000.0"),
        (b"1200-1300", b"000000.00"),
        (b" 12 ", b" 00 "),
        (b"12\0DOE", b"00    "),
        (b"1234\0\0", b"0000\0\0"),
        (b"12\\1234\\", b"00\\0000\\"),
        (b"DOE^JOHN", b"000000.0"),
    ],
)
def test_zero_time(old: bytes, new: bytes) -> None:
    assert zero_time(old) == new
    assert remembered("TM", new) == new


# --------------------------------------------------------------------------------- other processes


def test_other_instances_and_processes_agree() -> None:
    key = new_key()
    patients = [b"%d" % random.randrange(10**9) for _ in range(20)]
    here = [DateShifter(key, -5000, 5000).days_for(patient) for patient in patients]
    program = (
        "import sys; from dcmveil.dates import DateShifter\n"
        "shifter = DateShifter(bytes.fromhex(sys.argv[1]), -5000, 5000)\n"
        "print([shifter.days_for(patient.encode()) for patient in sys.argv[2:]])"
    )
    command = [sys.executable, "-c", program, key.hex(), *[p.decode() for p in patients]]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert there.strip() == str(here)


def test_the_import_is_light() -> None:
    program = (
        "import sys; import dcmveil.keys; before = set(sys.modules)\n"
        "import dcmveil.dates; print(sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "['dcmveil.dates']"
