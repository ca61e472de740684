"""What the project key decides: new UIDs, and the mark of a run.

Everything here is a pure function of the key and the old value, so the same input gives the same
output on every host. Each purpose hashes in a domain of its own; a new one (dates, pseudonyms)
takes a new name in `keyed_hash` and changes nothing that exists.
"""

from __future__ import annotations

import os

# A pipe runs one process per file, and hashlib takes milliseconds to import (it loads OpenSSL).
# The module below is the one that hashlib itself takes blake2b from; some builds leave it out.
try:
    from _blake2 import blake2b as blake2b
except ImportError:
    from hashlib import blake2b as blake2b

from .errors import KeyFileError, UsageError

TYPE_CHECKING = False  # as typing has it, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .core import KnownUids

KEY_BYTES = 32

# Any change of an output for the same key and input is a new version.
ALGORITHM_VERSION = 1

# ---------------------------------------------------------------------------------------- key file

_KEY_PREFIX = b"dcmveil-key-1 "
_HEX_DIGITS = b"0123456789abcdefABCDEF"
# A key file has fewer than 100 bytes. The limit keeps a wrong path, such as a device, harmless.
_KEY_FILE_LIMIT = 4096
_O_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows only: no translation of line ends


def _key_fault(key: bytes) -> str:
    """What is wrong with a key, or an empty string."""
    if len(key) != KEY_BYTES:
        return f"a key has {KEY_BYTES} bytes"
    if key.count(key[0]) == KEY_BYTES:
        return "a key of one repeated byte is no secret"
    return ""


def check_key(key: bytes) -> None:
    fault = _key_fault(key)
    if fault:
        raise UsageError(fault)


def new_key() -> bytes:
    """A new secret key: 32 bytes from the operating system's random source."""
    return os.urandom(KEY_BYTES)


def format_key(key: bytes) -> str:
    """The one line of a key file, with its line end.

    Raises UsageError for a key that is not 32 bytes, or is one repeated byte.
    """
    check_key(key)
    return f"{_KEY_PREFIX.decode()}{key.hex()}\n"


def write_key(path: str | os.PathLike[str], key: bytes) -> None:
    """Create a key file that only its owner can read (mode 0600).

    Raises KeyFileError if the file exists (it is never overwritten) or cannot be written, and
    UsageError for a key that is not 32 bytes, or is one repeated byte.
    """
    line = format_key(key).encode()
    try:
        # The mode is set by the same call that creates: the key is never readable by others.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _O_BINARY, 0o600)
    except FileExistsError:
        raise KeyFileError("the key file exists already, and is never overwritten") from None
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot create the key file: {_why(error)}") from None
    try:
        with open(file, "wb") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(file)  # data may be rewritten under this key at once: it must not get lost
    except OSError as error:
        _remove(path)  # half a key is in the way of the next attempt
        raise KeyFileError(f"cannot write the key file: {_why(error)}") from None


def read_key(path: str | os.PathLike[str]) -> bytes:
    """The key in a file: the line of `format_key`, 64 hexadecimal digits, or 32 raw bytes.

    White space around the two text forms is ignored. Not more than 4 KiB are read. Raises
    KeyFileError if the file is missing, unreadable or not a key; the message shows neither
    content nor path, because the key itself is easily given in place of the path.
    """
    try:
        content = _read_start(path)
    except FileNotFoundError:
        raise KeyFileError(
            "the key file does not exist; this command makes one: dcmveil key new FILE"
        ) from None
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot read the key file: {_why(error)}") from None
    key = _parse_key(content)
    if key is None:
        raise KeyFileError(
            "the key file does not hold a key: one line 'dcmveil-key-1' and 64 hexadecimal "
            "digits, the digits alone, or 32 raw bytes"
        )
    fault = _key_fault(key)
    if fault:
        raise KeyFileError(fault)
    return key


def _parse_key(content: bytes) -> bytes | None:
    if len(content) == KEY_BYTES:
        return content
    if len(content) >= _KEY_FILE_LIMIT:
        return None  # the rest was not read
    digits = content.strip().removeprefix(_KEY_PREFIX)
    # bytes.fromhex alone would allow white space between the digits.
    if len(digits) != 2 * KEY_BYTES or digits.translate(None, _HEX_DIGITS):
        return None
    return bytes.fromhex(digits.decode())


def _read_start(path: str | os.PathLike[str]) -> bytes:
    file = os.open(path, os.O_RDONLY | _O_BINARY)
    try:
        content = b""
        while len(content) < _KEY_FILE_LIMIT:
            part = os.read(file, _KEY_FILE_LIMIT - len(content))
            if not part:
                break
            content += part
        return content
    finally:
        os.close(file)


def _remove(path: str | os.PathLike[str]) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # the error that led here says more


def _why(error: Exception) -> str:
    """The reason alone: the full text of an OSError shows the path."""
    return getattr(error, "strerror", None) or "not a usable path"


# -------------------------------------------------------------------------------------- keyed hash


def keyed_hash(key: bytes, domain: str, size: int, salt: bytes = b"") -> blake2b:
    """An empty keyed hash of `size` bytes; two domains never give related digests."""
    person = f"dcmveil {domain} {ALGORITHM_VERSION}".encode()  # blake2b takes 16 bytes
    return blake2b(key=key, person=person, digest_size=size, salt=salt)


def digest_of(*texts: str | bytes) -> bytes:
    """32 bytes that tell these texts from any others; no key, no secret."""
    digest = blake2b(digest_size=32)
    for text in texts:
        digest.update(_with_length(text.encode() if isinstance(text, str) else text))
    return digest.digest()


# -------------------------------------------------------------------------------------------- UIDs

UID_BYTES = 64  # the longest UID (PS3.5 section 9.1)
UUID_ROOT = "2.25"  # needs no registration (PS3.5 section B.2)
UUID_DIGITS = 39  # of the largest 128 bit integer
SHORTEST_MAPPED = len(UUID_ROOT) + 2  # bytes: "2.25." and one digit

# With fewer digits than these, collisions come into reach of a large project: 21 digits are
# 26 bytes under 2.25. (10^9 UIDs of 24 bytes give 0.06 expected collisions.)
SAFE_DIGITS = 21

ROOT_BYTES = 30  # a longer root leaves too few digits in most fields
# Bytes that a field must have after the user's root and its dot; with fewer, 2.25. serves.
ROOT_ROOM = 10

DICOM_ROOT = b"1.2.840.10008."
CONTEXT_GROUP_ROOT = b"1.2.840.10008.6.1."  # PS3.6 Table A-3; it grows with every edition
CONTEXT_GROUP_DIGITS = 4

# Entries of some 300 bytes, so 5 MB. Files of one study share most of their UIDs.
CACHE_LIMIT = 16384

_UID_CHARACTERS = b"0123456789."
_PADDING = b" \t"
_BACKSLASH = 0x5C  # a search for a number is several times faster than for bytes

# What the cache remembers to count, beside the new value.
_SHORT = 1
_VANISHED = 2
_FOREIGN = 4


def _significant(value: bytes) -> bytes:
    """A UID without padding: readers disagree on what follows a NUL, so it counts for nothing."""
    return value.partition(b"\0")[0].strip(_PADDING)


def _is_legal(uid: bytes) -> bool:
    return not uid.translate(None, _UID_CHARACTERS)


def _root_fault(root: str) -> str:
    """What is wrong with a UID root, or an empty string."""
    if len(root) > ROOT_BYTES:
        return f"has more than {ROOT_BYTES} characters"
    parts = root.split(".")
    if len(parts) < 2:
        return "needs two components at least"
    for part in parts:
        if not (part.isascii() and part.isdigit()):
            return "must be numbers with single dots between them, and no dot at its end"
        if part[0] == "0" and part != "0":
            return "has a component with a leading zero"
    if int(parts[0]) > 2 or (int(parts[0]) < 2 and int(parts[1]) > 39):
        return "starts with no arc of ISO/IEC 8824"
    if f"{root}.".encode().startswith(DICOM_ROOT):
        return "belongs to the DICOM standard"
    return ""


# digits -> the least number that has so many, and how many there are. An integer under 2.25. is a
# UUID, so it ends at 2^128 (PS3.5 section B.2).
_LEAST = [0] + [10**digits for digits in range(UUID_DIGITS)]
_COUNT = [9 * least for least in _LEAST[:-1]] + [(1 << 128) - _LEAST[UUID_DIGITS]]


def _suffix(digest: bytes, room: int) -> bytes:
    """Components of exactly `room` bytes: numbers whose first digit is not 0. The digest has 512
    bits, the longest suffix takes 200."""
    source = int.from_bytes(digest, "big")
    if room <= UUID_DIGITS:
        return b"%d" % (_LEAST[room] + source % _COUNT[room])
    # A dot needs a digit after it, so one byte more than the first component holds takes two.
    digits = UUID_DIGITS - 1 if room == UUID_DIGITS + 1 else UUID_DIGITS
    source, first = divmod(source, _COUNT[digits])
    rest = room - digits - 1
    return b"%d.%d" % (_LEAST[digits] + first, _LEAST[rest] + source % _COUNT[rest])


class UidMapper:
    """Keyed replacement of UIDs at the same length (PS3.15 Table E.1-1a, action code U).

    `registered` holds the UIDs of PS3.6 Annex A, as bytes without padding. `root` is a UID root
    of the user's organization, 30 characters at most, without a dot at its end. Raises
    UsageError for a bad key or root (PS3.5 section 9.1).

    A new UID depends on the key, the root and the old UID without its padding. Nothing is stored
    but a bounded cache. Three attributes count occurrences, until `take_counts`:

    short     new UIDs with so few digits that two of a large project may be equal
    vanished  UIDs of fewer than 6 bytes, too short for any new one: they became NULs
    foreign   UIDs under the root of the standard that the standard does not register

    An instance is for one thread.
    """

    __slots__ = (
        "_empty_hash",
        "_kept",
        "_key",
        "_new",
        "_noted",
        "_prefix",
        "_registered",
        "foreign",
        "short",
        "vanished",
    )

    def __init__(self, key: bytes, registered: frozenset[bytes], root: str = UUID_ROOT) -> None:
        check_key(key)
        fault = _root_fault(root)
        if fault:
            raise UsageError(f"the UID root {fault}")
        self._key = key
        self._empty_hash = keyed_hash(key, "uid", 64)
        self._registered = registered
        self._prefix = f"{root}.".encode()
        # whole value fields, most of them of one value, in which there was nothing to count
        self._new: dict[bytes, bytes] = {}
        self._kept: dict[bytes, bytes] = {}
        self._noted: dict[bytes, tuple[bytes, int]] = {}  # single values with something to count
        self.short = 0
        self.vanished = 0
        self.foreign = 0

    def map(self, old: bytes) -> bytes:
        """The new UID for one old UID, both with their padding and of the same length in bytes.

        `old` is one value, without backslash. A registered UID stays. The new one never equals
        the old, has the length of the old one's significant part (64 bytes at most), and is
        padded with NUL (PS3.5 sections 6.2 and 9.1).
        """
        new = self._new.get(old)
        if new is not None:
            return new
        new, notes = self._noted.get(old) or self._map_new(old)
        if notes:
            self._count(notes)
        return new

    def map_value(self, old: bytes) -> bytes:
        """A whole value field, each of its values mapped; the same length in bytes.

        The padding of all values moves to the end, since a NUL before a backslash hides the rest
        from many readers (PS3.5 section 6.4).
        """
        return self._remember(self._new, self.map, old) if _BACKSLASH in old else self.map(old)

    def keep_value(self, old: bytes) -> bytes:
        """A whole value field that the profile keeps; the same length in bytes.

        Values of digits and dots stay. Those that are not or have over 64 bytes, and UIDs under
        the root of the standard that it does not register, are mapped. What follows a NUL is
        wiped. The UIDs of a file that was mapped before are kept this way too.
        """
        return self._remember(self._kept, self._keep, old)

    def known(self, keep: bool) -> KnownUids:
        """What map_value (where keep is true: keep_value) and keep_value have returned and would
        return again, counting nothing, and these two. They stay the same dicts, for reading
        alone."""
        new, map_value = (self._kept, self.keep_value) if keep else (self._new, self.map_value)
        return new, self._kept, map_value, self.keep_value

    def _remember(
        self, fields: dict[bytes, bytes], treat: Callable[[bytes], bytes], old: bytes
    ) -> bytes:
        before = self.short + self.vanished + self.foreign
        new = _each_value(treat, old)
        if self.short + self.vanished + self.foreign == before:
            _put(fields, old, new)
        return new

    def take_counts(self) -> dict[str, int]:
        """The counts since the last call, by attribute name; they start again from 0."""
        counts = {"short": self.short, "vanished": self.vanished, "foreign": self.foreign}
        self.short = self.vanished = self.foreign = 0
        return counts

    def _count(self, notes: int) -> None:
        if notes & _SHORT:
            self.short += 1
        if notes & _VANISHED:
            self.vanished += 1
        if notes & _FOREIGN:
            self.foreign += 1

    def _keep(self, old: bytes) -> bytes:
        uid = _significant(old)
        if not _is_legal(uid) or len(uid) > UID_BYTES or self._is_foreign(uid):
            return self.map(old)
        if old.strip(b"\0" + _PADDING) == uid:
            return old  # padding of any kind is no reason to change a byte
        return uid.ljust(len(old), b"\0")

    def _is_registered(self, uid: bytes) -> bool:
        if uid in self._registered:
            return True
        if not uid.startswith(CONTEXT_GROUP_ROOT):
            return False
        number = uid[len(CONTEXT_GROUP_ROOT) :]
        return (
            len(number) <= CONTEXT_GROUP_DIGITS and number.isdigit() and not number.startswith(b"0")
        )

    def _is_foreign(self, uid: bytes) -> bool:
        return uid.startswith(DICOM_ROOT) and not self._is_registered(uid)

    def _map_new(self, old: bytes) -> tuple[bytes, int]:
        uid = _significant(old)
        new, notes = (uid, 0) if self._is_registered(uid) else self._replace(uid)
        if len(new) < len(old):
            new = new.ljust(len(old), b"\0")
        if notes:
            _put(self._noted, old, (new, notes))
        else:
            _put(self._new, old, new)
        return new, notes

    def _replace(self, uid: bytes) -> tuple[bytes, int]:
        """The new UID without padding, and what to count."""
        if not uid:
            return b"", 0
        notes = _FOREIGN if uid.startswith(DICOM_ROOT) else 0
        length = min(len(uid), UID_BYTES)
        if length < SHORTEST_MAPPED:
            return b"", notes | _VANISHED
        prefix = self._prefix
        if length - len(prefix) < ROOT_ROOM:
            prefix = b"2.25."
        room = length - len(prefix)
        if room < SAFE_DIGITS:
            notes |= _SHORT
        hasher = self._empty_hash.copy()
        hasher.update(uid)
        new = prefix + _suffix(hasher.digest(), room)
        attempt = 0
        while new == uid:  # likely only at a length of a few digits
            attempt += 1
            hasher = keyed_hash(self._key, "uid", 64, salt=attempt.to_bytes(2, "big"))
            hasher.update(uid)
            new = prefix + _suffix(hasher.digest(), room)
        return new, notes


def _put(cache: dict[bytes, Any], old: bytes, known: Any) -> None:
    # a longer value is rare, or no UID, and would not bound the memory
    if len(old) <= UID_BYTES + 1:
        if len(cache) >= CACHE_LIMIT:
            cache.clear()
        cache[old] = known


def _each_value(treat: Callable[[bytes], bytes], field: bytes) -> bytes:
    if _BACKSLASH not in field:
        return treat(field)
    values = [treat(value).rstrip(b"\0") for value in field.split(b"\\")]
    return b"\\".join(values).ljust(len(field), b"\0")


# ---------------------------------------------------------------------------------------- run mark

MARK_BYTES = 128  # the File Preamble (PS3.10 section 7.1)

FRESH = "fresh"
OURS = "ours"
OTHER_PROFILE = "other-profile"
BROKEN = "broken"

# It must not start as a file that shares the preamble does: TIFF has II*\0 or MM\0*.
MARK_NAME = b"DCMVEIL"
_MARK_MAGIC = MARK_NAME + bytes([ALGORITHM_VERSION])
_PROFILE_MAC_BYTES = 16
_FILE_MAC_BYTES = 32


class RunMark:
    """The mark of a rewritten file, in its preamble of 128 bytes (PS3.10 section 7.1).

    8 bytes of magic and algorithm version; 16 bytes, a MAC of the profile; 32 bytes, a MAC of the
    profile and the new SOP Instance UID, Patient ID and Patient's Name; the rest zero. Raises
    UsageError for a bad key.
    """

    __slots__ = ("_file_hash", "_head", "_patient", "_patient_text")

    def __init__(self, key: bytes, profile_digest: bytes) -> None:
        check_key(key)
        profile_hash = keyed_hash(key, "prof", _PROFILE_MAC_BYTES)
        profile_hash.update(profile_digest)
        self._head = _MARK_MAGIC + profile_hash.digest()
        self._file_hash = keyed_hash(key, "mark", _FILE_MAC_BYTES)
        self._file_hash.update(_with_length(profile_digest))
        # of the file before: most files of a run follow others of their patient
        self._patient: tuple[bytes, bytes] | None = None
        self._patient_text = b""

    def make(self, sop_instance_uid: bytes, patient_id: bytes, patient_name: bytes) -> bytes:
        """The preamble for a file with these values, given as encoded; padding does not count."""
        patient = patient_id, patient_name
        if patient != self._patient:
            of_both = [_with_length(value.rstrip(b"\0 ")) for value in patient]
            self._patient, self._patient_text = patient, b"".join(of_both)
        file_hash = self._file_hash.copy()
        file_hash.update(_with_length(sop_instance_uid.rstrip(b"\0 ")) + self._patient_text)
        return (self._head + file_hash.digest()).ljust(MARK_BYTES, b"\0")

    def check(
        self, preamble: bytes, sop_instance_uid: bytes, patient_id: bytes, patient_name: bytes
    ) -> str:
        """What the preamble of a file with these values says.

        FRESH          there is no mark
        OURS           made under this key and profile, for these values
        OTHER_PROFILE  made under another profile, key or algorithm version
        BROKEN         made under this key and profile, but not for these values, or damaged
        """
        # Plain comparison: a MAC is compared once a file, and its timing reaches no one who could
        # try again and again.
        if not preamble.startswith(MARK_NAME):
            return FRESH
        if not preamble.startswith(self._head):
            return OTHER_PROFILE
        if preamble != self.make(sop_instance_uid, patient_id, patient_name):
            return BROKEN
        return OURS


def _with_length(value: bytes) -> bytes:
    """A value that cannot run into the next one."""
    return len(value).to_bytes(8, "big") + value
