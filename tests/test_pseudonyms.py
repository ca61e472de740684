"""Pseudonyms from the key and from a table, and hashed values."""

from __future__ import annotations

import collections
import hashlib
import itertools
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcmveil import pseudonyms
from dcmveil.errors import DicomError, UsageError
from dcmveil.keys import new_key
from dcmveil.pseudonyms import (
    PATIENT,
    MissingPseudonymError,
    Pseudonyms,
    PseudonymTable,
    fit,
    hash_value,
    load_table,
)

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))

# A change of any of these is a new algorithm version.
VECTORS = {
    ("patient", b"7"): b"9",
    ("patient", b"12345678"): b"88716187",
    ("accession", b"12345678"): b"19070080",
    ("patient", b"MRN-0012345 "): b"XTZ-7660574 ",
    ("patient", b"Doe^John^Q"): b"Qfd^Jjtb^H",
    ("patient", b"1.2.840.113619.2.55"): b"1.0.551.283727.8.39",
    (
        "patient",
        b"ZZZZ9999ZZZZ9999ZZZZ9999ZZZZ9999ZZZZ9999ZZZZ9999ZZZZ9999ZZZZ9999",
    ): b"PGRE1377CRJO2873HLVB8488EXOQ5375YJAP0859ZFMJ1190FLFR9742DKSH8605",
    ("patient", b"M\xfcller"): b"Y7GSGR",
    ("patient", b"A\\B C"): b"BAXMD",
    (
        "patient",
        b"111111111111111111111111111111111111111111111111111111111111111111",
    ): b"W61SWM1RQOSD6ES07722B5WJ06W4LFYA8M9GOBRW5UTGG25YN8HKRYN6NM6XHTZJ  ",
    ("patient", b"?-?"): b"?-?",
}
HASH_VECTORS = {
    (b"PAT-0001", 1): b"7",
    (b"PAT-0001 ", 16): b"76AF490300D6F210",
    (b"M\xfcller", 8): b"42EF707C",
    (b"1", 70): b"EEE9F8DECD6109C1013D8FDF3EDA0B7FE9041D001092B20695EAFE0CCE966893      ",
    (b" ", 4): b"    ",
}

UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASCII = st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=70).map(str.encode)
PLAIN = ASCII.filter(lambda value: b"\\" not in value and value.strip(b" ") and len(value) <= 64)
FIELD = st.binary(max_size=80)


@pytest.fixture
def keyed() -> Pseudonyms:
    return Pseudonyms(KEY)


def counts(hashed: int = 0, guessable: int = 0) -> dict[str, int]:
    return {"hashed": hashed, "guessable": guessable}


def pattern_of(value: bytes) -> str:
    """Written from what is promised, not from the code."""
    text = re.sub("[0-9]", "0", value.decode("ascii"))
    return re.sub("[a-z]", "a", re.sub("[A-Z]", "A", text))


def members(pattern: str) -> list[bytes]:
    alphabets = {"0": "0123456789", "A": UPPER, "a": UPPER.lower()}
    choices = [alphabets.get(character, character) for character in pattern]
    return ["".join(chosen).encode() for chosen in itertools.product(*choices)]


# ------------------------------------------------------------------------------------------ vectors


@pytest.mark.parametrize("case", VECTORS)
def test_pinned_pseudonyms(keyed: Pseudonyms, case: tuple[str, bytes]) -> None:
    assert keyed.replace(*case) == VECTORS[case]


@pytest.mark.parametrize("case", HASH_VECTORS)
def test_pinned_hashes(case: tuple[bytes, int]) -> None:
    assert hash_value(KEY, *case) == HASH_VECTORS[case]


def scrambled(domain: str, pattern: str, side: int) -> list[int]:
    """Where a network of ten rounds puts each number below side squared."""

    def turned(turn: int, half: int) -> int:
        text = f"permute {len(domain)} {domain} {pattern}".encode()
        text += bytes([turn]) + half.to_bytes(20, "big")
        digest = hashlib.blake2b(text, key=KEY, person=b"dcmveil pseudo 1").digest()
        return int.from_bytes(digest, "big")

    places = []
    for number in range(side * side):
        left, right = number // side, number % side
        for turn in range(10):
            left, right = right, (left + turned(turn, right)) % side
        places.append(left * side + right)
    return places


@pytest.mark.parametrize(("pattern", "side"), [("0", 4), ("A-a", 26), ("00.0", 32), ("0A", 17)])
def test_the_permutation_is_made_as_documented(keyed: Pseudonyms, pattern: str, side: int) -> None:
    """The whole recipe once more, by tables: a cycle in the order of the scrambled numbers."""
    values = members(pattern)
    network = scrambled("accession", pattern, side)
    assert sorted(network) == list(range(side * side))
    order = {}
    for number in range(len(values)):
        place = network[number]
        while place >= len(values):  # outside the pattern: sent through again
            place = network[place]
        order[place] = number
    for place, number in order.items():
        expected = values[order[(place + 1) % len(values)]]
        assert keyed.replace("accession", values[number]) == expected


def test_a_hash_is_made_as_documented(keyed: Pseudonyms) -> None:
    old = b"M\xfcller"
    text = b"hash 7 patient " + old
    digest = hashlib.blake2b(text, key=KEY, person=b"dcmveil pseudo 1").digest()
    source = int.from_bytes(digest, "big")
    alphabet = "0123456789" + UPPER
    expected = "".join(alphabet[source // 36**place % 36] for place in range(6))
    assert keyed.replace(PATIENT, old) == expected.encode()
    digest = hashlib.blake2b(old, key=KEY, digest_size=32, person=b"dcmveil hash 1").digest()
    assert hash_value(KEY, old, 16) == digest[:8].hex().upper().encode()


# --------------------------------------------------------------------------------- the permutation

SMALL = ["0", "00", "000", "A", "a", "A0", "-0-", "0 0", "Aa", "(A).a", "0000", "A000", "aAa"]


@pytest.mark.parametrize("pattern", SMALL)
@pytest.mark.parametrize("key", [KEY, OTHER_KEY], ids=["key", "other-key"])
def test_small_patterns_are_permuted_in_one_cycle(key: bytes, pattern: str) -> None:
    """One cycle of all members: nothing is lost, nothing is hit twice, and nothing stays."""
    keyed = Pseudonyms(key)
    values = members(pattern)
    new = {value: keyed.replace(PATIENT, value) for value in values}
    assert sorted(new.values()) == sorted(values)
    length, value = 0, values[0]
    while length == 0 or value != values[0]:
        value = new[value]
        length += 1
    assert length == len(values)


@given(st.sets(PLAIN, max_size=20))
def test_no_two_become_one(olds: set[bytes]) -> None:
    keyed = Pseudonyms(KEY)
    olds = {old.strip(b" ") for old in olds}
    assert len({keyed.replace(PATIENT, old).strip(b" ") for old in olds}) == len(olds)


def test_no_two_neighbours_become_one(keyed: Pseudonyms) -> None:
    """IDs as hospitals give them: one after the other."""
    for form in ("%08d", "MRN-%012d", "%030d", "A%d-x"):
        olds = [(form % number).encode() for number in range(10**7, 10**7 + 2000)]
        news = [keyed.replace(PATIENT, old) for old in olds]
        assert len(set(news)) == len(olds)
        # no order is left to read
        rises = sum(first < second for first, second in itertools.pairwise(news))
        assert 850 < rises < 1150


@given(PLAIN)
@example(b"~" * 64)
@example(b"z" * 64)
@example(b"A" * 64)
@example(b"9" * 64)
@example(b"0" * 64)
@example(b"1.2.840.113619.2.55.3")
def test_pattern_stays_and_value_does_not(old: bytes) -> None:
    keyed = Pseudonyms(KEY)
    new = keyed.replace(PATIENT, old)
    assert len(new) == len(old)
    text = old.strip(b" ")
    assert pattern_of(new) == pattern_of(text).ljust(len(old))
    changes = any(character.isalnum() for character in text.decode())
    assert (new.strip(b" ") != text) == changes


def test_every_place_takes_every_character(keyed: Pseudonyms) -> None:
    news = [keyed.replace(PATIENT, b"%06d" % number) for number in range(2000)]
    for place in range(6):
        found = collections.Counter(new[place] for new in news)
        assert len(found) == 10
        assert min(found.values()) > 140
        assert max(found.values()) < 260


def test_every_other_member_is_possible() -> None:
    found = collections.Counter(
        Pseudonyms(number.to_bytes(32, "big")).replace(PATIENT, b"7") for number in range(1, 1801)
    )
    assert set(found) == set(members("0")) - {b"7"}
    assert min(found.values()) > 140


# -------------------------------------------------------------------------------------- any value


@given(FIELD, st.sampled_from([PATIENT, "accession"]))
def test_any_bytes_keep_their_length(old: bytes, domain: str) -> None:
    keyed = Pseudonyms(KEY)
    new = keyed.replace(domain, old)
    assert len(new) == len(old)
    assert new.isascii()
    assert b"\\" not in new
    assert b"\0" not in new
    assert b"\x1b" not in new
    assert keyed.replace(domain, old) == new == Pseudonyms(KEY).replace(domain, old)
    assert len(keyed.replace_each(domain, old)) == len(old)


@pytest.mark.parametrize("old", [b"", b"  ", b"\0\0", b" \0", b"\0DOE^JOHN", b"   \0X"])
def test_empty_stays_empty(keyed: Pseudonyms, old: bytes) -> None:
    assert keyed.replace(PATIENT, old) == b" " * len(old)
    assert keyed.take_counts() == counts()


@pytest.mark.parametrize(
    "same", [b"ID 1234567 ", b" ID 1234567", b"ID 1234567\0", b"ID 1234567 \0", b"ID 1234567\0DOE"]
)
def test_padding_does_not_count(keyed: Pseudonyms, same: bytes) -> None:
    assert keyed.replace(PATIENT, same) == keyed.replace(PATIENT, b"ID 1234567").ljust(len(same))


def test_domains_and_keys_are_apart(keyed: Pseudonyms) -> None:
    olds = [b"12345678", b"MRN-0012345", b"M\xfcller-12345"]
    for old in olds:
        news = [keyed.replace(domain, old) for domain in (PATIENT, "accession", "patient 1", "")]
        news.append(Pseudonyms(OTHER_KEY).replace(PATIENT, old))
        assert len(set(news)) == len(news)


def test_patterns_are_apart(keyed: Pseudonyms) -> None:
    """The digits of one ID say nothing about those of another pattern."""
    olds = [b"12345678", b"1234-5678", b"1234_5678", b"A12345678", b"a12345678"]
    news = [re.sub(rb"\D", b"", keyed.replace(PATIENT, old)) for old in olds]
    assert len(set(news)) == len(news)


@pytest.mark.parametrize(
    "old",
    [
        b"M\xfcller-1",
        "M\u00fcller-1".encode(),
        b"A\\1234567",
        b"\x1b$B;3ED\x1b(B",
        b"ABC\x1b",
        "\u5c71\u7530".encode("gb18030"),
        b"\\",
        b"1" * 65,
        b"A" * 200,
    ],
)
def test_what_becomes_a_hash(keyed: Pseudonyms, old: bytes) -> None:
    for padded in (old, old + b" ", old + b"\0\0"):
        new = keyed.replace(PATIENT, padded)
        text = new.rstrip(b" ")
        assert len(new) == len(padded)
        assert len(text) == min(len(old), 64)
        assert re.fullmatch(rb"[0-9A-Z]+", text)
        assert text == keyed.replace(PATIENT, old).rstrip(b" ")
        assert keyed.take_counts()["hashed"] == 2


@pytest.mark.parametrize(
    ("old", "hashed", "guessable"),
    [
        (b"1", 0, 1),
        (b"12345", 0, 1),
        (b"123456", 0, 0),
        (b"ABCD", 0, 1),  # 456,976
        (b"ABCD1", 0, 0),
        (b"A-12345", 0, 0),  # 2,600,000
        (b"-", 0, 1),
        (b"\xfc12", 1, 1),  # 46,656
        (b"\xfc123", 1, 0),
        (b"1" * 65, 1, 0),
    ],
)
def test_counts(keyed: Pseudonyms, old: bytes, hashed: int, guessable: int) -> None:
    for _ in range(3):  # occurrences, from the cache too
        keyed.replace(PATIENT, old)
    assert (keyed.hashed, keyed.guessable) == (3 * hashed, 3 * guessable)
    assert keyed.take_counts() == counts(3 * hashed, 3 * guessable)
    assert keyed.take_counts() == counts()


def test_each_of_several_values(keyed: Pseudonyms) -> None:
    one, two = keyed.replace(PATIENT, b"1234567"), keyed.replace(PATIENT, b"AB-12345")
    assert keyed.replace_each(PATIENT, b"1234567") == one
    assert keyed.replace_each(PATIENT, b"1234567\\AB-12345 ") == one + b"\\" + two + b" "
    assert keyed.replace_each(PATIENT, b" 1234567\\\\AB-12345\\") == one + b" \\\\" + two + b"\\"
    keyed.take_counts()
    for old in (b"\x83\x5c1234567", b"\x1b$B\\;3\x1b(B"):  # a backslash that is half a character
        assert keyed.replace_each(PATIENT, old) == keyed.replace(PATIENT, old)
    assert keyed.take_counts() == counts(hashed=4)


def test_many_values_are_bounded_in_memory(
    keyed: Pseudonyms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudonyms, "CACHE_LIMIT", 10)
    olds = [b"%07d" % number for number in range(25)]
    news = [keyed.replace(PATIENT, old) for old in olds]
    keyed.replace(PATIENT, b"A" * 10000)
    assert len(keyed._cache) <= 10
    assert [keyed.replace(PATIENT, old) for old in olds] == news


@pytest.mark.parametrize("key", [b"", bytes(32), KEY[:-1], KEY + b"\1"])
def test_bad_keys_are_refused(key: bytes) -> None:
    with pytest.raises(UsageError):
        Pseudonyms(key)
    with pytest.raises(UsageError):
        hash_value(key, b"1", 8)


# --------------------------------------------------------------------------------- fit and hashes


@pytest.mark.parametrize(
    ("pseudonym", "length", "fitted"),
    [
        (b"ABC-123", 7, b"ABC-123"),
        (b"ABC-123 ", 4, b"ABC-"),
        (b"ABC-123", 10, b"ABC-123   "),
        (b"ABC  ", 4, b"ABC "),
        (b"ABC", 0, b""),
        (b"", 3, b"   "),
    ],
)
def test_fit(pseudonym: bytes, length: int, fitted: bytes) -> None:
    assert fit(pseudonym, length) == fitted


@given(FIELD, st.integers(0, 100))
def test_hashes_are_legal_in_cs(old: bytes, length: int) -> None:
    new = hash_value(KEY, old, length)
    assert len(new) == length
    value = old.partition(b"\0")[0].strip(b" ")
    digits = min(length, 64) if value else 0
    assert re.fullmatch(rb"[0-9A-F]{%d} *" % digits, new)
    assert hash_value(KEY, value + b" \0X", length) == new


def test_hashes_differ() -> None:
    news = {hash_value(KEY, b"%d" % number, 16) for number in range(1000)}
    assert len(news) == 1000
    assert hash_value(KEY, b"1", 16) != hash_value(OTHER_KEY, b"1", 16)


# ------------------------------------------------------------------------------------------ tables


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str | bytes], PseudonymTable]:
    def load(text: str | bytes) -> PseudonymTable:
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_table(path)

    return load


Load = Callable[[str | bytes], PseudonymTable]


@pytest.mark.parametrize(
    "text",
    [
        "old,new\nID 1,A1\nID 2,A2\n",
        "old_id,new_id\r\nID 1,A1\r\nID 2,A2",
        "\ufeffold,new\nID 1,A1\nID 2,A2\n",
        "new,old\nA1,ID 1\nA2,ID 2\n",
        " Old , NEW_ID \n ID 1 , A1\nID 2,A2  \n",
        'name,old,new\n"Doe, John",ID 1,A1\n\n,,\n"two\nlines","ID 2",A2\n',
        "old,new,shift_days\nID 1,A1,\nID 2,A2, \n",
    ],
)
def test_forms_of_a_table(load: Load, text: str) -> None:
    table = load(text)
    assert len(table) == 2
    assert table.look_up(b"ID 1") == (b"A1", None)
    assert table.look_up(b" ID 2 \0X") == (b"A2", None)
    assert table.look_up(b"ID 3") is None
    assert table.look_up(b"") is None


def test_shifts_of_a_table(load: Load) -> None:
    table = load("shift_days,old,new\n-12,1,A\n36500,2,B\n,3,C\n007,4,D\n-36500,5,E\n+8,6,F\n")
    found = [table.look_up(b"%d" % number) for number in range(1, 7)]
    assert found == [
        (b"A", -12),
        (b"B", 36500),
        (b"C", None),
        (b"D", 7),
        (b"E", -36500),
        (b"F", 8),
    ]


SECRET = "S3CR3T"  # stands in every faulty table, and never in a message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header"),
        ("\n\n", "header"),
        (f"{SECRET},A1\n", "header"),
        (f"old;new\n{SECRET};A1\n", "header"),
        (f"old,name\n{SECRET},A1\n", "header"),
        (f"name,new\n{SECRET},A1\n", "header"),
        (f"old,new,old_id\n{SECRET},A1,2\n", "two columns for old"),
        (f"old,new,new\n{SECRET},A1,2\n", "two columns for new"),
        (f"old,new,shift_days,Shift_days\n{SECRET},A1,2,2\n", "two columns for shift_days"),
        (f"old,new\n1,A1\n{SECRET}\n", "row 3 .* as many values"),
        (f"old,new\n1,A1\n{SECRET},A2,3\n", "row 3 .* as many values"),
        (f"old,new\n\n1,A1\n,{SECRET}\n", "row 4 .* no old ID"),
        (f"old,new\n1,A1\n{SECRET}, \n", "row 3 .* no new ID"),
        (f"old,new\n{SECRET},A1\n2,A2\n {SECRET} ,A3\n", "row 4 .* old ID of row 2"),
        (f"old,new\n{SECRET},A1\n{SECRET},A1\n", "row 3 .* old ID of row 2"),
        (f"old,new\n1,{SECRET}\n2,A2\n3,{SECRET} \n", "row 4 .* new ID of row 2"),
        (f"old,new\n{SECRET},{'A' * 65}\n", "row 2 .* more than 64 bytes"),
        (f"old,new\n1,{SECRET}\u00fc\n", "row 2 .* printable ASCII"),
        (f"old,new\n1,{SECRET}\t2\n", "row 2 .* printable ASCII"),
        (f"old,new\n1,{SECRET}\x1b\n", "row 2 .* printable ASCII"),
        (f'old,new\n1,"{SECRET}\n2"\n', "row 2 .* printable ASCII"),
        (f"old,new\n1,{SECRET}\\2\n", "row 2 .* backslash"),
        (f"old,new,shift_days\n1,A1,3\n2,A2,{SECRET}\n", "row 3 .* shift"),
        (f'old,new\n1,A1\n"{SECRET}"x,A2\n', "row 3 .* not CSV"),
        (f'old,new\n1,A1\n"{SECRET},A2\n', "row 3 .* not CSV"),
        (f"old,new\n1,A1\n2,{SECRET * 30000}\n", "row 3 .* not CSV"),
        (f"old,new\n{SECRET},A\u00fc\n".encode("latin-1"), "UTF-8"),
        (f"old,new\n{SECRET},A1\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_faults_of_a_table(load: Load, text: str | bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(text)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "shift",
    ["0", "-0", "36501", "-36501", "1.5", "1_0", "+-1", "--1", "1e2", "\u0663", "99999999999"],
)
def test_bad_shifts(load: Load, shift: str) -> None:
    with pytest.raises(UsageError, match=r"row 3 .* shift"):
        load(f"old,new,shift_days\n1,A1,1\n2,A2,{shift}\n")


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    secret = tmp_path / SECRET
    secret.mkdir()
    for path in (secret, secret / "missing.csv", f"{SECRET}\0.csv"):
        with pytest.raises(UsageError, match="cannot read the table") as caught:
            load_table(path)
        assert SECRET not in str(caught.value)


def test_replacement_by_a_table(load: Load) -> None:
    table = load("old,new\nPAT-1,STUDY_1\nPAT-22,X\n")
    by_table = Pseudonyms(KEY, table)
    assert by_table.replace(PATIENT, b"PAT-1   ") == b"STUDY_1 "
    assert by_table.replace(PATIENT, b"PAT-22\0\0") == b"X       "
    assert by_table.replace(PATIENT, b"  ") == b"  "
    assert by_table.replace_each(PATIENT, b"PAT-22\\PAT-22") == b"X     \\X     "
    # another domain is not for the table
    assert by_table.replace("accession", b"PAT-1") == Pseudonyms(KEY).replace("accession", b"PAT-1")
    by_table.take_counts()
    assert by_table.replace(PATIENT, b"PAT-22") == b"X     "
    assert by_table.take_counts() == counts()


def test_an_id_that_is_not_in_the_table(load: Load) -> None:
    by_table = Pseudonyms(KEY, load("old,new\nPAT-1,A1\n"))
    for old in (SECRET.encode(), b"pat-1", b"PAT-1\t", b"\xff"):
        with pytest.raises(MissingPseudonymError) as caught:
            by_table.replace(PATIENT, old)
        assert isinstance(caught.value, DicomError)
        assert SECRET not in str(caught.value)
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is MissingPseudonymError
        assert str(again) == str(caught.value)


def test_a_new_id_that_does_not_fit(load: Load) -> None:
    by_table = Pseudonyms(KEY, load(f"old,new\nPAT-1,A1\nPAT-2,{SECRET}\n"))
    with pytest.raises(DicomError, match="row 3 ") as caught:
        by_table.replace(PATIENT, b"PAT-2")
    assert not isinstance(caught.value, MissingPseudonymError)
    assert SECRET not in str(caught.value)
    assert by_table.replace(PATIENT, b"PAT-2 ") == SECRET.encode()


def test_an_old_id_in_utf_8(load: Load) -> None:
    table = load("old,new\nM\u00fcller,A1\n")
    assert table.look_up("M\u00fcller ".encode()) == (b"A1", None)
    assert table.look_up("M\u00fcller".encode("latin-1")) is None


# --------------------------------------------------------------------------------- other processes


def run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_other_instances_and_processes_agree() -> None:
    key = new_key()
    olds = [os.urandom(3).hex().encode() for _ in range(20)]
    here = [Pseudonyms(key).replace(PATIENT, old) for old in olds]
    program = (
        "import sys; from dcmveil.pseudonyms import Pseudonyms\n"
        "keyed = Pseudonyms(bytes.fromhex(sys.argv[1]))\n"
        "print([keyed.replace('patient', old.encode()) for old in sys.argv[2:]])"
    )
    assert run(program, key.hex(), *[old.decode() for old in olds]) == str(here)


def test_the_import_is_light() -> None:
    program = (
        "import sys; import dcmveil.keys; before = set(sys.modules)\n"
        "import dcmveil.pseudonyms; print(sorted(set(sys.modules) - before - {'math'}))"
    )
    assert run(program) == "['dcmveil.pseudonyms']"
