"""Dates moved by whole days per patient, and what else a profile does with DA, DT and TM.

Every function takes a whole value field (PS3.5 section 6.2, table 6.2-1) and returns one of the
same length in bytes. Its values are split at the backslash; each is read to the letter:

    DA  YYYYMMDD, or YYYY.MM.DD as before DICOM; YYYYMM and YYYY are illegal, but met
    DT  YYYYMMDDHHMMSS.FFFFFF&ZZXX, cut at any precision
    TM  HHMMSS.FFFFFF cut at any precision; the same with HH:MM:SS as before DICOM
    a-b, a- and -b of each, the ranges of a query (PS3.4 section C.2.2.2.5)

What is neither one of these nor padding becomes spaces, and so does text behind a NUL: readers
show it. A UTC offset, or a range of dates, needs whole dates: 2020-0115 would pass for either.
"""

from __future__ import annotations

from .errors import UsageError
from .keys import check_key, keyed_hash

TYPE_CHECKING = False  # as typing has it, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

    # Both take one value without padding; None: the value is blanked.
    Move = Callable[[bytes, int], bytes | None]
    Change = Callable[[bytes], bytes | None]

MOST_DAYS = 36500  # either way: a hundred years, so that few dates leave the years 0001 to 9999

# `shift` remembers so many fields of at most so many bytes, 1 MB in all: the files of one patient
# share most of their dates.
_CACHE_LIMIT = 4096
_CACHED_BYTES = 64
_cache: dict[tuple[str, bytes, int | None], bytes] = {}

_BACKSLASH = 0x5C
_ZEROS = bytes.maketrans(b"123456789-", b"000000000+")  # -0000 is no UTC offset
_DATE_DIGITS = 8


class DateShifter:
    """Days by which the dates of a patient move (PS3.15 section E.3.6).

    The days are in the range from `least` to `most`, both included, and never 0. Raises
    UsageError for a bad key, and for a range without any such day or beyond 36500 days.
    """

    __slots__ = ("_count", "_empty_hash", "_least")

    def __init__(self, key: bytes, least: int, most: int) -> None:
        check_key(key)
        if least < -MOST_DAYS or most > MOST_DAYS:
            raise UsageError(f"dates are moved by {MOST_DAYS} days at most")
        count = most - least + 1
        if least <= 0 <= most:
            count -= 1
        if count < 1:
            raise UsageError("the range of days to move dates by is empty; 0 does not count")
        self._least = least
        self._count = count
        self._empty_hash = keyed_hash(key, "date", 64)

    def days_for(self, patient_id: bytes) -> int | None:
        """The days for a patient, later if positive; `patient_id` is the value of (0010,0020).

        Padding and what follows a NUL do not count. None for an empty ID: all dates are to be
        blanked, since a shift that many patients share could be found out from one of them.
        """
        patient = patient_id.partition(b"\0")[0].strip(b" ")
        if not patient:
            return None
        hasher = self._empty_hash.copy()
        hasher.update(patient)
        days = self._least + int.from_bytes(hasher.digest(), "big") % self._count
        return days + 1 if self._least <= 0 <= days else days  # leaves 0 out


def shift(vr: str, old: bytes, days: int | None) -> bytes:
    """A field of DA, DT or TM with each date moved by so many days; same length in bytes.

    The time of day and the UTC offset stay. Of YYYYMM and YYYY, the first day is moved and cut
    to the same precision. A date that leaves the years 0001 to 9999 is blanked. With None for
    days, and for any other VR, all but padding is blanked.
    """
    known = _cache.get((vr, old, days))
    if known is None:
        known = _shift_new(vr, old, days)
        if len(old) <= _CACHED_BYTES:
            if len(_cache) >= _CACHE_LIMIT:
                _cache.clear()
            _cache[vr, old, days] = known
    return known


def remembered(vr: str, old: bytes) -> bytes:
    """A field of DA, DT or TM of a file that was treated before: dates and times stay.

    What `shift` returned comes back unchanged; what it would never return is blanked.
    """
    return shift(vr, old, 0)


def year_only(old: bytes) -> bytes:
    """A field of DA or DT with each date set to January 1st of its year; same length in bytes.

    The time of day and the UTC offset become zeros.
    """
    return _each_value(old, _january)


def zero_time(old: bytes) -> bytes:
    """A field of TM with each value set to midnight, as long as legal; same length in bytes.

    An empty value stays empty, and one of a single byte becomes so.
    """
    return _each_value(old, lambda text: b"000000.000000"[: _legal_time_length(len(text))])


# ------------------------------------------------------------------------------------------- fields


def _shift_new(vr: str, old: bytes, days: int | None) -> bytes:
    move = _MOVES.get(vr)
    if days is None or move is None:
        return _each_value(old, _blanked)
    return _each_value(old, lambda text: move(text, days))


def _each_value(field: bytes, change: Change) -> bytes:
    if _BACKSLASH not in field:
        return _one_value(field, change)
    return b"\\".join([_one_value(value, change) for value in field.split(b"\\")])


def _one_value(value: bytes, change: Change) -> bytes:
    """The changed value, in its place between the padding."""
    start = len(value) - len(value.lstrip(b" "))
    text = value[start:].partition(b"\0")[0].rstrip(b" ")
    end = start + len(text)
    padding = value[end:]
    if padding.strip(b"\0 "):
        padding = b" " * len(padding)
    new = change(text) if text else b""
    if new is None:
        return b" " * len(value)
    return value[:start] + new.ljust(len(text)) + padding


def _blanked(text: bytes) -> None:
    return None


# -------------------------------------------------------------------------------------------- dates


def _move_da(text: bytes, days: int) -> bytes | None:
    return _move_range(text, days, _move_da_end)


def _move_dt(text: bytes, days: int) -> bytes | None:
    return _move_range(text, days, _move_dt_end)


def _move_range(text: bytes, days: int, move: Move) -> bytes | None:
    """One date or the two ends of a range, moved."""
    ends = _ends(text)
    if len(ends) == 1:
        return move(text, days)
    if len(ends) > 2 or text == b"-":
        return None
    moved = []
    for end in ends:
        new = move(end, days) if end else end
        if new is None or 0 < len(end) < _DATE_DIGITS:
            return None
        moved.append(new)
    return b"-".join(moved)


def _ends(text: bytes) -> list[bytes]:
    """The ends of a range, the only one of a single date. Four digits behind a minus are the UTC
    offset of what comes before it."""
    if b"-" not in text:
        return [text]
    ends: list[bytes] = []
    for part in text.split(b"-"):
        if len(part) == 4 and ends and ends[-1]:
            ends[-1] += b"-" + part
        else:
            ends.append(part)
    return ends


def _move_da_end(text: bytes, days: int) -> bytes | None:
    if len(text) != 10 or text[4:5] != b"." or text[7:8] != b".":
        return _move_date(text, days)
    moved = _move_date(text[:4] + text[5:7] + text[8:], days)
    return moved and b"%b.%b.%b" % (moved[:4], moved[4:6], moved[6:])


def _move_dt_end(text: bytes, days: int) -> bytes | None:
    time = text[_DATE_DIGITS:]
    if time[-5:-4] in (b"+", b"-"):
        if not _is_offset(time[-5:]):
            return None
        time = time[:-5]
    if time and (b":" in time or not _time_digits(time)):
        return None
    moved = _move_date(text[:_DATE_DIGITS], days)
    return moved and moved + text[_DATE_DIGITS:]


def _is_offset(text: bytes) -> bool:
    """&ZZXX from -1200 to +1400; -0000 is illegal, but met."""
    digits = text[1:]
    if not digits.isdigit() or digits[2:] > b"59":
        return False
    return digits <= (b"1400" if text[:1] == b"+" else b"1200")


def _january(text: bytes) -> bytes | None:
    for move in (_move_da, _move_dt):
        if move(text, 0):
            return b"-".join([_january_of(end) for end in _ends(text)])
    return None


def _january_of(end: bytes) -> bytes:
    if end[4:5] == b".":
        return end[:4] + b".01.01"
    return (end[:4] + b"0101" + end[_DATE_DIGITS:].translate(_ZEROS))[: len(end)]


# -------------------------------------------------------------------------------------------- times


def _keep_tm(text: bytes, _days: int) -> bytes | None:
    """A time or a range of times; one across midnight is none (PS3.4 section C.2.2.2.5.2)."""
    first, dash, last = text.partition(b"-")
    if not dash:
        return text if _time_digits(text) else None
    ends = [_time_digits(end) for end in (first, last) if end]
    if not ends or b"" in ends:
        return None
    common = min(len(ends[0]), len(ends[-1]))
    return text if ends[0][:common] <= ends[-1][:common] else None


def _time_digits(text: bytes) -> bytes:
    """The digits of HHMMSS.FFFFFF or HH:MM:SS.FFFFFF at any precision; none if it is no time."""
    whole, point, fraction = text.partition(b".")
    if len(whole) in (5, 8) and whole[2:3] == b":" and whole[5:6] in (b"", b":"):
        whole = whole[:2] + whole[3:5] + whole[6:]
    if not whole.isdigit() or len(whole) not in (2, 4, 6):
        return b""
    if whole[:2] > b"23" or whole[2:4] > b"59" or whole[4:] > b"60":  # 60: a leap second
        return b""
    if point and not (len(whole) == 6 and len(fraction) <= 6 and fraction.isdigit()):
        return b""
    return whole + fraction


def _legal_time_length(room: int) -> int:
    """The longest legal TM of at most so many bytes."""
    if room < 6:
        return room & ~1
    return 6 if room < 8 else min(room, 13)  # a point needs a digit behind it


# ----------------------------------------------------------------------------------- civil calendar


def _move_date(digits: bytes, days: int) -> bytes | None:
    """YYYYMMDD, YYYYMM or YYYY moved, at the same precision; None if it is not a date."""
    length = len(digits)
    if length not in (4, 6, _DATE_DIGITS) or not digits.isdigit():
        return None
    year = int(digits[:4])
    month = int(digits[4:6] or b"1")
    day = int(digits[6:] or b"1")
    if not (year and 1 <= month <= 12 and 1 <= day <= _days_in(year, month)):
        return None
    number = _day_number(year, month, day) + days
    if not _FIRST_DAY <= number <= _LAST_DAY:
        return None
    return (b"%04d%02d%02d" % _civil_date(number))[:length]


def _days_in(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


# In both, a year starts in March, so that a leap day comes at its end; 400 years have 146097 days,
# and the months from March on have 31 30 31 30 31 | 31 30 31 30 31 | 31 days: 153 in five.


def _day_number(year: int, month: int, day: int) -> int:
    """Days since 1 March of the year 0, in the Gregorian calendar."""
    if month < 3:
        year -= 1
        month += 12
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + (153 * (month - 3) + 2) // 5 + day - 1


def _civil_date(number: int) -> tuple[int, int, int]:
    """Year, month and day; the reverse of `_day_number`."""
    era, rest = divmod(number, 146097)
    year = (rest - rest // 1460 + rest // 36524 - rest // 146096) // 365
    rest -= 365 * year + year // 4 - year // 100
    month = (5 * rest + 2) // 153
    day = rest - (153 * month + 2) // 5 + 1
    year += 400 * era
    return (year, month + 3, day) if month < 10 else (year + 1, month - 9, day)


_FIRST_DAY = _day_number(1, 1, 1)
_LAST_DAY = _day_number(9999, 12, 31)

_MOVES: dict[str, Move] = {"DA": _move_da, "DT": _move_dt, "TM": _keep_tm}
