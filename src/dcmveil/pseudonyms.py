"""Pseudonyms for patient IDs, accession numbers and the like: from the key, or from a table.

From the key, a value becomes another one of its pattern: a digit for each digit, a letter of the
same case for each letter, anything else as it was. For each key, domain and pattern this is a
permutation without fixed points, so two patients never become one, and none keeps a value:

    value -> number below N -> scramble -> + 1 modulo N -> unscramble -> number -> value

where N is how many values the pattern has. `scramble` is a keyed permutation; around a single
step of the cycle of all N numbers, it gives a cycle of all N numbers that only the key tells.
"""

from __future__ import annotations

import math

from .errors import DicomError, UsageError
from .keys import CACHE_LIMIT, check_key, keyed_hash

TYPE_CHECKING = False  # as typing has it, without importing typing
if TYPE_CHECKING:
    import os
    from _blake2 import blake2b
    from collections.abc import Iterable, Iterator

PATIENT = "patient"  # the only domain that a table is for

# The Value Length of LO (PS3.5 table 6.2-1). It keeps the numbers small enough for one hash, too.
VALUE_BYTES = 64
# With fewer values than these to a pattern, a pseudonym can be traced back by trying.
SAFE_VALUES = 10**6

_DIGITS = b"0123456789"
_UPPER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_HASH_ALPHABET = _DIGITS + _UPPER

# A pattern is the value with each character replaced by the first of its alphabet.
_PATTERN = bytes.maketrans(_DIGITS + _UPPER + _LOWER, b"0" * 10 + b"A" * 26 + b"a" * 26)
_RADIX = {ord("0"): 10, ord("A"): 26, ord("a"): 26}

# A backslash can be half a character of a multi-byte set; an escape announces such sets.
_BACKSLASH = b"\\"
_ESCAPE = b"\x1b"

# Four are enough in theory; small numbers want more, as in NIST SP 800-38G.
_ROUNDS = 10

# What the cache remembers to count, beside the new value.
_HASHED = 1
_GUESSABLE = 2


class MissingPseudonymError(DicomError):
    """An ID that the user's table has no row for."""


def _significant(value: bytes) -> bytes:
    """A value without padding: readers disagree on what follows a NUL, so it counts for nothing."""
    return value.partition(b"\0")[0].strip(b" ")


class Pseudonyms:
    """Replacement of identifiers at the same length (PS3.15 Table E.1-1a, action code D).

    A pseudonym depends on the key, the domain (what kind of identifier it is, such as PATIENT
    or "accession") and the old value without its padding. A table, where there is one, decides
    alone in the domain PATIENT. Raises UsageError for a bad key.

    Nothing is stored but a bounded cache. Two attributes count occurrences, until `take_counts`:

    hashed     values that are not ASCII, have an escape or a backslash, or over 64 bytes: they
               become a hash, so two short ones may become equal
    guessable  values whose pattern has fewer than 10^6 members: a table is recommended

    An instance is for one thread.
    """

    __slots__ = ("_cache", "_empty_hash", "_table", "guessable", "hashed")

    def __init__(self, key: bytes, table: PseudonymTable | None = None) -> None:
        check_key(key)
        self._empty_hash = keyed_hash(key, "pseudo", 64)
        self._table = table
        self._cache: dict[tuple[str, bytes], tuple[bytes, int]] = {}
        self.hashed = 0
        self.guessable = 0

    def replace(self, domain: str, old: bytes) -> bytes:
        """The pseudonym of one value, padded with spaces to the same length in bytes.

        An empty value stays empty. Raises MissingPseudonymError if the table has no row for it,
        and DicomError if the new ID in the table is longer than `old` with its padding.
        """
        if domain == PATIENT and self._table is not None:
            return self._table.replacement(old)
        known = self._cache.get((domain, old))
        if known is None:
            known = self._replace_new(domain, old)
        new, notes = known
        if notes & _HASHED:
            self.hashed += 1
        if notes & _GUESSABLE:
            self.guessable += 1
        return new

    def replace_each(self, domain: str, old: bytes) -> bytes:
        """A field of several values, each replaced in its place; the same length in bytes.

        In ASCII alone, a backslash always separates values (PS3.5 section 6.4); any other field
        is one value to `replace`. Raises what `replace` raises.
        """
        if _BACKSLASH not in old or not _is_plain(old):
            return self.replace(domain, old)
        return _BACKSLASH.join([self.replace(domain, value) for value in old.split(_BACKSLASH)])

    def take_counts(self) -> dict[str, int]:
        """The counts since the last call, by attribute name; they start again from 0."""
        counts = {"hashed": self.hashed, "guessable": self.guessable}
        self.hashed = self.guessable = 0
        return counts

    def _replace_new(self, domain: str, old: bytes) -> tuple[bytes, int]:
        new, notes = self._pseudonym(domain, _significant(old))
        result = (new.ljust(len(old)), notes)
        if len(old) <= VALUE_BYTES:  # a longer value is no ID, and would not bound the memory
            if len(self._cache) >= CACHE_LIMIT:
                self._cache.clear()
            self._cache[domain, old] = result
        return result

    def _pseudonym(self, domain: str, value: bytes) -> tuple[bytes, int]:
        """The new value without padding, and what to count."""
        if not value:
            return b"", 0
        hasher = self._empty_hash.copy()
        if len(value) > VALUE_BYTES or _BACKSLASH in value or not _is_plain(value):
            hasher.update(_label("hash", domain))
            hasher.update(value)
            length = min(len(value), VALUE_BYTES)
            small = len(_HASH_ALPHABET) ** length < SAFE_VALUES
            notes = _HASHED | (_GUESSABLE if small else 0)
            return _spelled(hasher.digest(), length), notes
        pattern = value.translate(_PATTERN)
        count = math.prod([_RADIX.get(character, 1) for character in pattern])
        if count == 1:
            return value, _GUESSABLE  # no letter and no digit: there is no other value
        hasher.update(_label("permute", domain) + pattern)
        number = _next_number(hasher, count, _number_of(value, pattern))
        return _value_of(number, pattern), _GUESSABLE if count < SAFE_VALUES else 0


def fit(pseudonym: bytes, length: int) -> bytes:
    """A pseudonym cut, or padded with spaces, to so many bytes: for a name that is the ID, too."""
    return pseudonym.strip(b" ")[:length].ljust(length)


def hash_value(key: bytes, old: bytes, length: int) -> bytes:
    """A keyed hash of a value in upper-case hexadecimal digits, `length` bytes long.

    It is legal in CS and any other text (PS3.5 table 6.2-1): 64 digits at most, the rest spaces.
    Padding does not count, and an empty value stays empty. Raises UsageError for a bad key.
    """
    check_key(key)
    value = _significant(old)
    if not value:
        return b" " * length
    hasher = keyed_hash(key, "hash", VALUE_BYTES // 2)
    hasher.update(value)
    return fit(hasher.hexdigest().upper().encode(), length)


def _is_plain(value: bytes) -> bool:
    return value.isascii() and _ESCAPE not in value


def _label(use: str, domain: str) -> bytes:
    """The start of what is hashed; no domain can run into what follows it."""
    return f"{use} {len(domain)} {domain} ".encode()


def _spelled(digest: bytes, length: int) -> bytes:
    """So many characters of a digest of 512 bits; 64 characters take 331 bits."""
    source = int.from_bytes(digest, "big")
    text = bytearray()
    while len(text) < length:
        source, index = divmod(source, len(_HASH_ALPHABET))
        text.append(_HASH_ALPHABET[index])
    return bytes(text)


# ---------------------------------------------------------------------------------- the permutation


def _number_of(value: bytes, pattern: bytes) -> int:
    """The place of a value among those of its pattern: a number of mixed radix."""
    number = 0
    for character, first in zip(value, pattern, strict=True):
        radix = _RADIX.get(first)
        if radix:
            number = number * radix + character - first
    return number


def _value_of(number: int, pattern: bytes) -> bytes:
    """The reverse of `_number_of`."""
    value = bytearray(pattern)
    for place in range(len(pattern) - 1, -1, -1):
        radix = _RADIX.get(pattern[place])
        if radix:
            number, digit = divmod(number, radix)
            value[place] += digit
    return bytes(value)


def _next_number(hasher: blake2b, count: int, number: int) -> int:
    """What follows a number in a keyed cycle of all numbers below `count`, which is 2 or more."""
    # The Feistel network below permutes a square of numbers, the least that holds them all. What
    # falls outside the count is sent through again, so that those inside are permuted.
    side = math.isqrt(count - 1) + 1
    number = _scramble(hasher, side, number)
    while number >= count:
        number = _scramble(hasher, side, number)
    number = _unscramble(hasher, side, (number + 1) % count)
    while number >= count:
        number = _unscramble(hasher, side, number)
    return number


def _scramble(hasher: blake2b, side: int, number: int) -> int:
    """A balanced Feistel network over two halves below `side`."""
    left, right = divmod(number, side)
    for turn in range(_ROUNDS):
        left, right = right, (left + _round(hasher, turn, right)) % side
    return left * side + right


def _unscramble(hasher: blake2b, side: int, number: int) -> int:
    """The reverse of `_scramble`."""
    left, right = divmod(number, side)
    for turn in range(_ROUNDS - 1, -1, -1):
        left, right = (right - _round(hasher, turn, left)) % side, left
    return left * side + right


def _round(hasher: blake2b, turn: int, half: int) -> int:
    hasher = hasher.copy()
    # 64 letters have 26^64 values: a half has 19 bytes, and the 64 of the hash leave no bias.
    hasher.update(bytes([turn]) + half.to_bytes(20, "big"))
    return int.from_bytes(hasher.digest(), "big")


# ------------------------------------------------------------------------------------ user's table

_OLD_COLUMNS = ("old", "old_id")
_NEW_COLUMNS = ("new", "new_id")
_SHIFT_COLUMN = "shift_days"


class PseudonymTable:
    """The user's table of old and new IDs, as `load_table` reads it."""

    __slots__ = ("_rows",)

    def __init__(self, rows: dict[bytes, tuple[bytes, int | None, int]]) -> None:
        """`rows` holds (new ID, days, row number) by old ID without padding."""
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def content(self) -> bytes:
        """All rows, in an order of their own: two tables that do the same have the same."""
        rows = sorted((old, new, days) for old, (new, days, _) in self._rows.items())
        return repr(rows).encode()

    def look_up(self, old: bytes) -> tuple[bytes, int | None] | None:
        """The new ID, without padding, and the days to move dates by, if the table says so.

        `old` is the value of a field; its padding does not count. None: there is no row for it.
        """
        row = self._rows.get(_significant(old))
        return row and row[:2]

    def replacement(self, old: bytes) -> bytes:
        """The new ID for a field, padded with spaces to the same length; empty for an empty one.

        Raises MissingPseudonymError, and DicomError for a new ID that is longer than the field.
        """
        value = _significant(old)
        if not value:
            return b" " * len(old)
        row = self._rows.get(value)
        if row is None:
            raise MissingPseudonymError(
                None, None, "the table of pseudonyms has no row for this ID"
            )
        new, _, number = row
        if len(new) > len(old):
            raise DicomError(
                None, None, f"the new ID in row {number} of the table is longer than the field"
            )
        return new.ljust(len(old))


def load_table(path: str | os.PathLike[str]) -> PseudonymTable:
    """The table in a CSV file: UTF-8, commas, a header line, then a row for each patient.

    The columns are found by name: `old` or `old_id`, `new` or `new_id`, and `shift_days` if the
    dates of the patient are not to be moved by the key; others are ignored. Spaces around a
    value do not count, and empty rows are skipped. New IDs are printable ASCII, 64 bytes at most
    (LO, PS3.5 table 6.2-1). An old ID with other characters is found in files in UTF-8 alone.

    Raises UsageError, with the row's number (the header is row 1) and no value, for a file that
    is not such a table, an old or new ID that stands twice, and days that are 0 or beyond 36500.
    """
    import csv

    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return PseudonymTable(_read_rows(_records(csv.reader(file, strict=True), csv.Error)))
    except UnicodeDecodeError:
        raise UsageError("the table of pseudonyms is not in UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise UsageError(f"cannot read the table of pseudonyms: {reason}") from None


def _records(
    reader: Iterable[list[str]], fault: type[Exception]
) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with its number."""
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield number, stripped
    except fault:
        raise _row_fault(number + 1, "is not CSV") from None


def _read_rows(
    records: Iterator[tuple[int, list[str]]],
) -> dict[bytes, tuple[bytes, int | None, int]]:
    _, header = next(records, (1, []))
    old_column = _column(header, _OLD_COLUMNS)
    new_column = _column(header, _NEW_COLUMNS)
    shift_column = _column(header, (_SHIFT_COLUMN,))
    if old_column is None or new_column is None:
        raise UsageError("the table of pseudonyms needs a header line: old,new or old_id,new_id")
    rows: dict[bytes, tuple[bytes, int | None, int]] = {}
    rows_of_new: dict[bytes, int] = {}
    for number, cells in records:
        if len(cells) != len(header):
            raise _row_fault(number, f"has not as many values as the header, {len(header)}")
        old = cells[old_column].encode()
        new = cells[new_column].encode()
        if not old:
            raise _row_fault(number, "has no old ID")
        if old in rows:
            raise _row_fault(number, f"has the old ID of row {rows[old][2]} again")
        fault = _new_fault(new)
        if fault:
            raise _row_fault(number, fault)
        if new in rows_of_new:
            raise _row_fault(number, f"has the new ID of row {rows_of_new[new]} again")
        days = None if shift_column is None else _days(number, cells[shift_column])
        rows[old] = (new, days, number)
        rows_of_new[new] = number
    return rows


def _row_fault(number: int, fault: str) -> UsageError:
    return UsageError(f"row {number} of the table of pseudonyms {fault}")


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    places = [place for place, name in enumerate(header) if name.lower() in names]
    if len(places) > 1:
        raise UsageError(f"the table of pseudonyms has two columns for {names[0]}")
    return places[0] if places else None


def _new_fault(new: bytes) -> str:
    """What is wrong with a new ID, or an empty string."""
    if not new:
        return "has no new ID"
    if len(new) > VALUE_BYTES:
        return f"has a new ID of more than {VALUE_BYTES} bytes"
    if not new.isascii() or not new.decode().isprintable():
        return "has a new ID that is not printable ASCII"
    if _BACKSLASH in new:
        return "has a new ID with a backslash, which separates values"
    return ""


def _days(number: int, text: str) -> int | None:
    """The days to move dates by; None where the table leaves them to the key."""
    if not text:
        return None
    from .dates import MOST_DAYS

    digits = text[1:] if text[0] in "+-" else text
    # int alone would take 1_0 and the digits of every script.
    if digits.isascii() and digits.isdigit() and len(digits) <= 5:
        days = int(text)
        if 0 < abs(days) <= MOST_DAYS:
            return days
    raise _row_fault(
        number, f"has a shift that is no number of days from 1 to {MOST_DAYS}, or negative"
    )
