"""Keys, the UID map and the run mark."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import re
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dcmveil import keys
from dcmveil.errors import DcmveilError, DicomError, KeyFileError, UsageError
from dcmveil.keyed import (
    BROKEN,
    FRESH,
    MARK_BYTES,
    OTHER_PROFILE,
    OURS,
    RunMark,
    UidMapper,
)
from dcmveil.keys import format_key, new_key, read_key, write_key

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
REGISTERED = frozenset({b"1.2.840.10008.1.2.1", b"1.2.840.10008.5.1.4.1.1.2"})
ROOT = "1.2.826.0.1.3680043.10.543"  # 26 characters

LONG = b"1.2.826.0.1.3680043.8.498.45787841905188114249328766089014923.12345678"

# A change of any of these is a new algorithm version.
UID_VECTORS = {
    6: b"2.25.9",
    17: b"2.25.411873278562",
    25: b"2.25.51262902661857627635",
    26: b"2.25.913214479393864137886",
    44: b"2.25.222516287319731867527271077057254795901",
    45: b"2.25.24522107199170989852542967269979911307.7",
    46: b"2.25.304429920355654388368008131252740103235.5",
    47: b"2.25.267012534184460769573601465675883869645.28",
    64: b"2.25.304802259519502042963189786472762434715.3273214700989269095",
    70: b"2.25.281778008842397792748638291083908982193.3715315969884143251" + bytes(6),
}
ROOT_VECTORS = {
    36: b"2.25.7715122041303246158389428224202",
    37: b"1.2.826.0.1.3680043.10.543.6369952903",
    45: b"1.2.826.0.1.3680043.10.543.642967269979911307",
    64: b"1.2.826.0.1.3680043.10.543.1040155509860750113683002469608187035",
}
# The first choice for this one is itself.
SECOND_CHOICE = (b"2.25.9", b"2.25.8")
MARK_VECTOR = (
    b"DCMVEIL\1"
    + bytes.fromhex("26cc170cca8d7e5cf509aa5d31c057ff")
    + bytes.fromhex("feec6764a6dee2dd487a0863c48d9320a894ef1a28ee41a487c90c2d8e0dce22")
    + bytes(72)
)

FIELD_BYTES = st.binary(max_size=80)
COMPONENT = FIELD_BYTES.map(lambda value: value.replace(b"\\", b"/"))
UID_TEXT = st.text("0123456789.", min_size=1, max_size=70).map(str.encode)


@pytest.fixture
def mapper() -> UidMapper:
    return UidMapper(KEY, REGISTERED)


def counts(short: int = 0, vanished: int = 0, foreign: int = 0) -> dict[str, int]:
    return {"short": short, "vanished": vanished, "foreign": foreign}


def assert_new_uid(new: bytes, length: int, roots: tuple[str, ...] = ("2.25.",)) -> None:
    """A field of one new UID; written from PS3.5 section 9.1, not from the code."""
    uid = new.rstrip(b"\0").decode("ascii")
    assert len(uid) == min(length, 64)
    assert new == uid.encode().ljust(len(new), b"\0")
    assert re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+", uid)
    assert UID(uid).is_valid
    assert uid.startswith(roots)
    if uid.startswith("2.25."):
        assert int(uid.split(".")[2]) < 2**128


# ------------------------------------------------------------------------------------------ vectors


@pytest.mark.parametrize("length", UID_VECTORS)
def test_pinned_uids(mapper: UidMapper, length: int) -> None:
    assert mapper.map(LONG[:length]) == UID_VECTORS[length]
    assert_new_uid(UID_VECTORS[length], length)


@pytest.mark.parametrize("length", ROOT_VECTORS)
def test_pinned_uids_under_a_root(length: int) -> None:
    assert UidMapper(KEY, REGISTERED, ROOT).map(LONG[:length]) == ROOT_VECTORS[length]
    assert_new_uid(ROOT_VECTORS[length], length, ("2.25.", ROOT + "."))


def test_pinned_second_choice(mapper: UidMapper) -> None:
    old, new = SECOND_CHOICE
    assert mapper.map(old) == new
    hashed = hashlib.blake2b(old, key=KEY, person=b"dcmveil uid 1").digest()
    assert old == b"2.25.%d" % (1 + int.from_bytes(hashed, "big") % 9)


def test_a_uid_is_made_as_documented(mapper: UidMapper) -> None:
    """The whole recipe once more, at the longest length."""
    old = LONG[:64]
    source = int.from_bytes(hashlib.blake2b(old, key=KEY, person=b"dcmveil uid 1").digest(), "big")
    first = 10**38 + source % (2**128 - 10**38)
    second = 10**18 + source // (2**128 - 10**38) % (9 * 10**18)
    assert mapper.map(old) == f"2.25.{first}.{second}".encode()


def test_pinned_mark() -> None:
    assert RunMark(KEY, b"profile").make(b"1.2.3", b"ID", b"NAME") == MARK_VECTOR


# --------------------------------------------------------------------------------------- properties


@given(COMPONENT)
def test_any_bytes_keep_their_length(old: bytes) -> None:
    mapper = UidMapper(KEY, REGISTERED)
    new = mapper.map(old)
    assert len(new) == len(old)
    assert mapper.map(old) == new == UidMapper(KEY, REGISTERED).map(old)
    significant = old.split(b"\0")[0].strip(b" \t")
    if len(significant) < 6:
        assert new == bytes(len(old))
    else:
        assert_new_uid(new, len(significant))
        assert new.rstrip(b"\0") != significant


@given(UID_TEXT, st.integers(0, 2))
def test_new_uids_are_valid_under_any_root(old: bytes, choice: int) -> None:
    root = ("1.2", ROOT, "1.2.276.0.7230010.3.1.4.123456")[choice]
    new = UidMapper(KEY, REGISTERED, root).map(old)
    if len(old) >= 6:
        assert_new_uid(new, len(old), ("2.25.", root + "."))
        assert new.startswith(f"{root}.".encode()) == (min(len(old), 64) >= len(root) + 1 + 10)


@pytest.mark.parametrize("length", range(6, 71))
@pytest.mark.parametrize("root", ["2.25", "1.2", ROOT])
def test_every_length(length: int, root: str) -> None:
    mapper = UidMapper(KEY, frozenset(), root)
    for number in range(30):
        old = b"1.2.%d.%s" % (number, b"7" * 70)
        assert_new_uid(mapper.map(old[:length]), length, ("2.25.", root + "."))


@given(UID_TEXT, st.text(" \t").map(str.encode), st.text(" \t").map(str.encode), COMPONENT)
def test_padding_does_not_count(uid: bytes, before: bytes, after: bytes, rest: bytes) -> None:
    mapper = UidMapper(KEY, REGISTERED)
    new = mapper.map(uid).rstrip(b"\0")
    for old in (uid + after, before + uid, before + uid + after + b"\0" + rest):
        assert mapper.map(old) == new.ljust(len(old), b"\0")


def test_distinct_uids_stay_distinct(mapper: UidMapper) -> None:
    source = random.Random(20)
    olds = {b"1.2.3." + str(source.randrange(10**23, 10**24)).encode() for _ in range(20_000)}
    assert {len(old) for old in olds} == {30}
    assert len({mapper.map(old) for old in olds}) == len(olds) == 20_000


def test_the_shortest_uids_never_stay(mapper: UidMapper) -> None:
    for number in range(1, 100):
        old = b"2.25.%d" % number
        assert mapper.map(old) != old


def test_another_key_gives_other_uids(mapper: UidMapper) -> None:
    assert UidMapper(OTHER_KEY, REGISTERED).map(LONG[:40]) != mapper.map(LONG[:40])


@given(FIELD_BYTES)
def test_whole_fields_keep_their_length(field: bytes) -> None:
    mapper = UidMapper(KEY, REGISTERED)
    for method in (mapper.map_value, mapper.keep_value):
        new = method(field)
        assert len(new) == len(field)
        assert not new.strip(b"\0 \t").translate(None, b"0123456789.\\ \t")
        assert new.count(b"\\") == field.count(b"\\")
        assert b"\0" not in new.rstrip(b"\0 \t")
    assert mapper.keep_value(mapper.keep_value(field)) == mapper.keep_value(field)


# -------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    "uid",
    [
        *sorted(REGISTERED),
        b"1.2.840.10008.6.1.1",
        b"1.2.840.10008.6.1.1234",
    ],
)
def test_registered_uids_stay(mapper: UidMapper, uid: bytes) -> None:
    for method in (mapper.map, mapper.map_value, mapper.keep_value):
        assert method(uid) == uid
        assert method(uid + b"\0") == uid + b"\0"
        assert method(b" " + uid + b" \0SMITH") == uid + bytes(8)
    assert mapper.take_counts() == counts()


@pytest.mark.parametrize(
    "uid",
    [
        b"1.2.840.10008.6.1.",
        b"1.2.840.10008.6.1.0",
        b"1.2.840.10008.6.1.01",
        b"1.2.840.10008.6.1.12345",
        b"1.2.840.10008.6.1.1.2",
        b"1.2.840.10008.6.1.1a",
        b"1.2.840.10008.1.2.1.1",
        b"1.2.840.10008.19561107.1",
    ],
)
def test_unregistered_uids_of_the_standard_are_mapped(mapper: UidMapper, uid: bytes) -> None:
    for method in (mapper.map, mapper.map_value, mapper.keep_value):
        assert_new_uid(method(uid), len(uid))
        assert mapper.take_counts() == counts(short=1, foreign=1)


def test_other_roots_are_not_foreign(mapper: UidMapper) -> None:
    for uid in (b"1.2.840.100081.1234567890123", b"1.2.840.10008", b"1.2.840.113619.123.456.789"):
        mapper.map(uid)
    assert mapper.take_counts() == counts(short=1)


def test_kept_fields(mapper: UidMapper) -> None:
    keep = mapper.keep_value
    for field in (b"1.2.3", b"1.2.3 ", b"1.2.3\0", b"1.2.3\\1.2.4 ", b""):
        assert keep(field) == field
    assert keep(b"1.2.3\0SMITH^JOHN") == b"1.2.3".ljust(16, b"\0")
    assert keep(b"\0SMITH") == bytes(6)
    assert mapper.take_counts() == counts()
    assert keep(b"SMITH^JOHN") == mapper.map(b"SMITH^JOHN")
    assert keep(b"1.2.3\\SMITH") == b"1.2.3\\".ljust(11, b"\0")
    assert keep(b"1." * 33) == mapper.map(b"1." * 33)  # 66 characters are no UID


def test_several_values(mapper: UidMapper) -> None:
    one, two = LONG[:30], b"1.2.840.10008.1.2.1"
    new_one = mapper.map(one)
    assert mapper.map_value(one + b"\\" + two + b"\0") == new_one + b"\\" + two + b"\0"
    assert mapper.map_value(one + b" \\" + two) == new_one + b"\\" + two + b"\0"
    assert mapper.map_value(one + b"\0A\\" + two) == new_one + b"\\" + two + b"\0\0"
    assert mapper.map_value(b"1.2\\" + one + b"\\") == b"\\" + new_one + b"\\" + bytes(3)
    assert mapper.map_value(b"\\") == b"\\"


def test_every_occurrence_counts(mapper: UidMapper) -> None:
    for _ in range(3):
        mapper.map(b"1.2.3.4.5.6.7.8.9.10.11.1")  # 25 bytes
        mapper.map(b"1.2.3.4.5.6.7.8.9.10.11.12")  # 26 bytes
        mapper.map_value(b"1.2\\\\1.2.3\\1.2.840.10008.9.9 ")
        mapper.map(b"")
        mapper.map(b"\0\0")
    assert (mapper.short, mapper.vanished, mapper.foreign) == (6, 6, 3)
    assert mapper.take_counts() == counts(short=6, vanished=6, foreign=3)
    assert mapper.take_counts() == counts()


def test_short_means_few_digits_under_a_root() -> None:
    mapper = UidMapper(KEY, REGISTERED, ROOT)
    mapper.map(LONG[: len(ROOT) + 1 + 20])
    mapper.map(LONG[: len(ROOT) + 1 + 21])
    assert mapper.take_counts() == counts(short=1)


def test_the_cache_is_bounded() -> None:
    mapper = UidMapper(KEY, REGISTERED, limit=10)
    caches = (mapper.new, mapper.kept, mapper.noted)
    short = [b"1.2.3.%d" % number for number in range(100, 200)]  # with something to count
    safe = [b"1.2.826.0.1.3680043.1.10%d" % number for number in range(100, 200)]
    olds = [*short, *safe, *(b"\\".join(pair) for pair in pairwise(safe))]
    news = [mapper.map_value(old) for old in olds]
    kept = [mapper.keep_value(old) for old in olds]
    assert all(0 < len(cache) <= 10 for cache in caches)
    for treat in (mapper.map, mapper.map_value, mapper.keep_value):
        treat(LONG)
        treat(LONG.replace(b".", b"x"))
        assert not any(LONG in cache for cache in caches)
    assert [mapper.map_value(old) for old in olds] == news
    assert [mapper.keep_value(old) for old in olds] == kept


@pytest.mark.parametrize("root", ["1.2", "0.39", "2.999.0.1", "2.25.1", "1.3." + "1" * 26])
def test_good_roots(root: str) -> None:
    assert UidMapper(KEY, REGISTERED, root).map(LONG[:64]).startswith(root.encode() + b".")


@pytest.mark.parametrize(
    "root",
    [
        "",
        "1",
        ".",
        "1.",
        ".1",
        "1..2",
        "1.2.",
        "1.02",
        "01.2",
        "1.2.00",
        "3.1",
        "1.40",
        "1.2.a",
        "1.2 ",
        "1.2\n",
        "1.-2",
        "1.2.٣",
        "1.2.²",
        "1.3." + "1" * 27,
        "1.2.840.10008",
        "1.2.840.10008.1",
    ],
)
def test_bad_roots(root: str) -> None:
    with pytest.raises(UsageError, match="the UID root "):
        UidMapper(KEY, REGISTERED, root)


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"!", bytes(32), b"k" * 32])
def test_bad_keys(key: bytes, tmp_path: Path) -> None:
    for use in (
        lambda: UidMapper(key, REGISTERED),
        lambda: RunMark(key, b"profile"),
        lambda: format_key(key),
        lambda: write_key(tmp_path / "key", key),
    ):
        with pytest.raises(UsageError):
            use()
    assert not (tmp_path / "key").exists()


# ----------------------------------------------------------------------------------------- key file


def test_new_keys() -> None:
    assert len(new_key()) == keys.KEY_BYTES
    assert new_key() != new_key()


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_key_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    mask = os.umask(0)
    try:
        write_key(path, KEY)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == format_key(KEY) == f"dcmveil-key-1 {KEY.hex()}\n"
    assert read_key(path) == read_key(str(path)) == KEY


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_key(path, KEY)
    with pytest.raises(KeyFileError, match="never overwritten"):
        write_key(path, OTHER_KEY)
    assert read_key(path) == KEY
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        write_key(link, KEY)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(KeyFileError, match="No such file"):
        write_key(tmp_path / "none" / "key", KEY)


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="No space left"):
        write_key(tmp_path / "key", KEY)
    assert not list(tmp_path.iterdir())


HEX = KEY.hex().encode()


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        b"\n" + KEY[1:],
        HEX,
        HEX.upper(),
        b" \t" + HEX + b" \r\n\n",
        b"dcmveil-key-1 " + HEX,
        b"dcmveil-key-1 " + HEX + b"\r\n",
    ],
)
def test_forms_of_a_key_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    assert read_key(path)[1:] == KEY[1:]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        KEY[:31],
        KEY + b"\n",
        HEX[:-1],
        HEX + b"0",
        HEX[:-1] + b"g",
        HEX[:62] + b" 1",
        HEX[:32] + b" " + HEX[32:],
        HEX + b"\n" + HEX,
        b"0x" + HEX[2:-1] + b"_",
        b"dcmveil-key-2 " + HEX,
        b"dcmveil-key-1" + HEX,
        b"dcmveil-key-1 " + HEX[:-2],
        b"dcmveil-key-1 dcmveil-key-1 " + HEX,
        HEX + b" " * 4096,
        b" " * 4032 + HEX,
        bytes(32),
        b"A" * 32,
        b"00" * 32,
        b"dcmveil-key-1 " + b"a7" * 32,
    ],
)
def test_what_is_no_key_is_refused_unseen(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(KeyFileError) as caught:
        read_key(path)
    message = str(caught.value)
    words = [content[start : start + 12] for start in range(len(content) - 11)]
    assert not any(word in message.encode() for word in words if word not in b"dcmveil-key-1 ")
    assert str(path) not in message


def test_missing_key_file(tmp_path: Path) -> None:
    # The key in place of its path: an easy mistake, and the message must not repeat it.
    for path in (tmp_path / "none", HEX.decode(), ""):
        with pytest.raises(KeyFileError, match="dcmveil key new FILE") as caught:
            read_key(path)
        assert HEX.decode() not in str(caught.value)
    for unusable in (tmp_path, "a\0b"):
        with pytest.raises(KeyFileError, match="cannot read"):
            read_key(unusable)
    with pytest.raises(KeyFileError, match="cannot create"):
        write_key("a\0b", KEY)


def test_little_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_bytes(HEX + b"\n" * 10_000)
    read = 0
    real = os.read

    def in_small_parts(file: int, size: int) -> bytes:
        nonlocal read
        part = real(file, min(size, 1000))
        read += len(part)
        return part

    monkeypatch.setattr(os, "read", in_small_parts)
    with pytest.raises(KeyFileError):
        read_key(path)
    assert read <= 4096
    path.write_bytes(HEX + b"\n" * 3000)
    assert read_key(path) == KEY


# ----------------------------------------------------------------------------------------- run mark

VALUES = (b"2.25.123456", b"ID 1", b"ANON^A")


def test_mark_states() -> None:
    mark = RunMark(KEY, b"profile")
    preamble = mark.make(*VALUES)
    assert len(preamble) == MARK_BYTES == 128
    assert mark.check(preamble, *VALUES) == OURS
    assert mark.check(bytes(128), *VALUES) == FRESH
    assert mark.check(b"II*\0" + bytes(124), *VALUES) == FRESH
    assert RunMark(KEY, b"other").check(preamble, *VALUES) == OTHER_PROFILE
    assert RunMark(OTHER_KEY, b"profile").check(preamble, *VALUES) == OTHER_PROFILE
    assert mark.check(preamble, b"2.25.123457", *VALUES[1:]) == BROKEN
    assert mark.check(preamble, VALUES[0], b"ID 2", VALUES[2]) == BROKEN
    assert mark.check(preamble, *VALUES[:2], b"ANON^B") == BROKEN
    assert mark.check(preamble[:-1] + b"\1", *VALUES) == BROKEN
    assert mark.check(preamble[:-1], *VALUES) == BROKEN
    assert mark.check(preamble + b"\0", *VALUES) == BROKEN
    assert mark.check(b"", *VALUES) == FRESH


def test_a_flipped_byte_is_never_ours() -> None:
    mark = RunMark(KEY, b"profile")
    preamble = mark.make(*VALUES)
    seen = set()
    for place in range(MARK_BYTES):
        for change in range(1, 256):
            damaged = bytearray(preamble)
            damaged[place] ^= change
            seen.add((place, mark.check(bytes(damaged), *VALUES)))
    expected = [FRESH] * 7 + [OTHER_PROFILE] * 17 + [BROKEN] * 104
    assert seen == set(enumerate(expected))


def test_mark_values_do_not_run_together() -> None:
    mark = RunMark(KEY, b"profile")
    marks = {
        mark.make(b"12", b"3", b""),
        mark.make(b"1", b"23", b""),
        mark.make(b"1", b"2", b"3"),
        mark.make(b"", b"", b"123"),
        RunMark(KEY, b"profile1").make(b"2", b"3", b""),
    }
    assert len(marks) == 5


@given(COMPONENT, st.text("\0 ").map(str.encode))
def test_mark_padding_does_not_count(value: bytes, padding: bytes) -> None:
    mark = RunMark(KEY, b"profile")
    preamble = mark.make(value, value, value)
    assert mark.check(preamble, value + padding, value + padding, value + padding) == OURS


def test_a_mark_looks_like_no_other_format() -> None:
    start = RunMark(KEY, b"profile").make(*VALUES)[:4]
    assert start == b"DCMV"
    assert start not in (b"DICM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


# ------------------------------------------------------------------------------ errors and start-up


def test_error_texts() -> None:
    assert str(DicomError(1234, "(0010,0010)", "reason")) == "offset 1234, (0010,0010): reason"
    assert str(DicomError(0, "", "reason")) == "offset 0: reason"
    assert str(DicomError(None, "(0010,0010)", "reason")) == "(0010,0010): reason"
    assert str(DicomError(None, None, "reason")) == "reason"
    assert issubclass(KeyFileError, UsageError)
    assert issubclass(UsageError, DcmveilError)
    copy = pickle.loads(pickle.dumps(DicomError(5, "(0010,0010)", "reason")))
    assert (copy.offset, copy.path, copy.reason) == (5, "(0010,0010)", "reason")


def run_python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(keys.__file__).parents[1])}
    command = [sys.executable, "-S", "-B", "-c", code]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_nothing_heavy_is_imported() -> None:
    code = "import sys; import dcmveil.keyed; print(*sys.modules)"
    loaded = set(run_python(code).split())
    assert {"dcmveil.keys", "dcmveil.keyed"} <= loaded
    if "_blake2" in loaded:
        assert not loaded & {"hashlib", "_hashlib", "re", "typing", "dataclasses", "enum"}


def test_hashlib_serves_where_blake2_is_missing() -> None:
    code = (
        "import sys; import hashlib; sys.modules['_blake2'] = None;"
        "from dcmveil.keyed import UidMapper;"
        f"print(UidMapper({KEY!r}, frozenset()).map({LONG!r}).hex(), 'hashlib' in sys.modules)"
    )
    assert run_python(code) == f"{UID_VECTORS[70].hex()} True"
