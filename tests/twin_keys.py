"""New UIDs and the mark in plain Python: no cache, no limbs, hashlib."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

COUNTS = ("short", "vanished", "foreign")


def hashed(key: bytes, domain: str, size: int, data: bytes, salt: bytes = b"") -> bytes:
    person = f"dcmveil {domain} 1".encode()
    return hashlib.blake2b(data, key=key, person=person, digest_size=size, salt=salt).digest()


def numbers(digits: int) -> tuple[int, int]:
    """The least number of so many digits that is below 2^128, and how many there are."""
    least = 10 ** (digits - 1)
    return least, min(10**digits, 2**128) - least


def suffix(digest: bytes, room: int) -> bytes:
    source = int.from_bytes(digest, "big")
    parts = [room]
    if room > 39:  # two numbers and a dot; 40 bytes are 38, a dot and one
        first = min(39, room - 2)
        parts = [first, room - first - 1]
    texts = []
    for digits in parts:
        least, count = numbers(digits)
        source, chosen = divmod(source, count)
        texts.append(str(least + chosen))
    return ".".join(texts).encode()


class Mapper:
    """As UidMapper."""

    def __init__(self, key: bytes, registered: frozenset[bytes], root: str) -> None:
        self.key, self.registered, self.root = key, registered, f"{root}.".encode()
        self.counts = dict.fromkeys(COUNTS, 0)

    def map_value(self, field: bytes) -> bytes:
        return self._each(self.map, field)

    def keep_value(self, field: bytes) -> bytes:
        return self._each(self.keep, field)

    def _each(self, treat: Callable[[bytes], bytes], field: bytes) -> bytes:
        values = field.split(b"\\")
        if len(values) == 1:
            return treat(field)
        news = [treat(value).rstrip(b"\0") for value in values]
        return b"\\".join(news).ljust(len(field), b"\0")

    def keep(self, old: bytes) -> bytes:
        uid = significant(old)
        if uid.translate(None, b"0123456789.") or len(uid) > 64 or self.foreign(uid):
            return self.map(old)
        return old if old.strip(b"\0 \t") == uid else uid.ljust(len(old), b"\0")

    def map(self, old: bytes) -> bytes:
        uid = significant(old)
        new = uid if self.stays(uid) else self.replaced(uid)
        return new.ljust(len(old), b"\0")

    def stays(self, uid: bytes) -> bool:
        head, dot, number = uid.rpartition(b".")
        of_a_group = head + dot == b"1.2.840.10008.6.1." and number.isdigit()
        return uid in self.registered or (of_a_group and len(number) < 5 and number[:1] != b"0")

    def foreign(self, uid: bytes) -> bool:
        return uid.startswith(b"1.2.840.10008.") and not self.stays(uid)

    def replaced(self, uid: bytes) -> bytes:
        self.counts["foreign"] += self.foreign(uid)
        length = min(len(uid), 64)
        if length < 6:
            self.counts["vanished"] += bool(uid)
            return b""
        root = self.root if length >= len(self.root) + 10 else b"2.25."
        room = length - len(root)
        self.counts["short"] += room < 21
        for attempt in range(1000):
            salt = attempt.to_bytes(2, "big")  # of 0 it is none
            new = root + suffix(hashed(self.key, "uid", 64, uid, salt), room)
            if new != uid:
                return new
        raise AssertionError("a thousand digests of one UID")


def significant(value: bytes) -> bytes:
    return value.split(b"\0")[0].strip(b" \t")


def mark(key: bytes, profile_digest: bytes, *values: bytes) -> bytes:
    texts = [profile_digest, *(value.rstrip(b"\0 ") for value in values)]
    data = b"".join(len(text).to_bytes(8, "big") + text for text in texts)
    of_profile = hashed(key, "prof", 16, profile_digest)
    return (b"DCMVEIL\1" + of_profile + hashed(key, "mark", 32, data)).ljust(128, b"\0")
