"""New UIDs, and the mark of a run: what the key decides for every file.

Both are pure functions of the key and the old values, so the same input gives the same output on
every host. In a long run each file has one UID that was not seen before, and one mark; so this is
compiled. The hash itself is Python's.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from dcmveil.digits cimport UID_BYTES, UUID_DIGITS, Divisor, bswap64, is_uid, write_suffix

from dcmveil.errors import UsageError
from dcmveil.keys import ALGORITHM_VERSION, CACHE_LIMIT, check_key, keyed_hash


cdef class Digests:
    """Of texts that all begin with what the hash has taken in already."""

    def __init__(self, hasher):
        # looked up once: a name takes longer than some of these calls
        self.copy = hasher.copy
        self.update, self.digest = type(hasher).update, type(hasher).digest

    def hex(self, bytes text not None) -> str:
        """In hexadecimal digits."""
        return self.of(text).hex()

    cdef bytes of(self, bytes text):
        hasher = self.copy()
        self.update(hasher, text)
        return self.digest(hasher)


# -------------------------------------------------------------------------------------------- UIDs

UUID_ROOT = "2.25"          # needs no registration (PS3.5 section B.2)
ROOT_BYTES = 30             # a longer root leaves too few digits in most fields

cdef enum:
    UUID_PREFIX_BYTES = 5   # "2.25."
    SHORTEST_MAPPED = UUID_PREFIX_BYTES + 1
    # With fewer digits than these, collisions come into reach of a large project: 21 digits are
    # 26 bytes under 2.25. (10^9 UIDs of 24 bytes give 0.06 expected collisions.)
    SAFE_DIGITS = 21
    # Bytes that a field must have after the user's root and its dot; with fewer, 2.25. serves.
    ROOT_ROOM = 10
    LONGEST_SUFFIX = UID_BYTES - 4      # a root has two components at least
    DIGEST_BYTES = 64
    DICOM_ROOT_BYTES = 14
    CONTEXT_GROUP_BYTES = 18
    CONTEXT_GROUP_DIGITS = 4
    BACKSLASH = 0x5C
    # what a cache remembers to count, beside the new value
    SHORT = 1
    VANISHED = 2
    FOREIGN = 4

cdef const char *DICOM_ROOT = b"1.2.840.10008."
cdef const char *CONTEXT_GROUP_ROOT = b"1.2.840.10008.6.1."     # PS3.6 Table A-3; it grows
cdef Divisor divisors[UUID_DIGITS]


cdef inline bint _is_digit(char c) noexcept:
    return 48 <= c <= 57


cdef inline Text _significant(bytes value) noexcept:
    """A UID without padding: readers disagree on what follows a NUL, so it counts for nothing."""
    cdef const char *start = PyBytes_AS_STRING(value)
    cdef const char *end = <const char *>memchr(start, 0, PyBytes_GET_SIZE(value))
    if end == NULL:
        end = start + PyBytes_GET_SIZE(value)
    while start < end and (start[0] == b" " or start[0] == b"\t"):
        start += 1
    while start < end and ((end - 1)[0] == b" " or (end - 1)[0] == b"\t"):
        end -= 1
    return Text(start, end - start)


cdef inline bint _is_of_dicom(Text uid) noexcept:
    return (uid.length >= DICOM_ROOT_BYTES
            and memcmp(uid.start, DICOM_ROOT, DICOM_ROOT_BYTES) == 0)


cdef inline bint _is_context_group(Text uid) noexcept:
    cdef Py_ssize_t i, digits = uid.length - CONTEXT_GROUP_BYTES
    if not (1 <= digits <= CONTEXT_GROUP_DIGITS
            and memcmp(uid.start, CONTEXT_GROUP_ROOT, CONTEXT_GROUP_BYTES) == 0):
        return False
    for i in range(CONTEXT_GROUP_BYTES, uid.length):
        if not _is_digit(uid.start[i]):
            return False
    return uid.start[CONTEXT_GROUP_BYTES] != b"0"


cdef inline bytes _bytes_of(Text text, bytes whole):
    if text.length == PyBytes_GET_SIZE(whole):
        return whole
    return PyBytes_FromStringAndSize(text.start, text.length)


cdef inline bytes _padded(const char *start, Py_ssize_t n, Py_ssize_t length):
    """With NULs up to the length."""
    cdef bytes field = PyBytes_FromStringAndSize(NULL, length)
    memcpy(PyBytes_AS_STRING(field), start, n)
    memset(PyBytes_AS_STRING(field) + n, 0, length - n)
    return field


cdef inline bint _has_several(bytes field) noexcept:
    return memchr(PyBytes_AS_STRING(field), BACKSLASH, PyBytes_GET_SIZE(field)) != NULL


def suffix(bytes digest not None, int room) -> bytes:
    """Components of exactly `room` bytes, 1 to 60, that a digest of 64 bytes decides: see digits.pxd.
    """
    cdef char made[LONGEST_SUFFIX]
    if len(digest) != DIGEST_BYTES or not 1 <= room <= LONGEST_SUFFIX:
        raise ValueError("a suffix has 1 to 60 bytes, and comes of 64")
    write_suffix(divisors, <const uint8_t *>PyBytes_AS_STRING(digest), room, made)
    return PyBytes_FromStringAndSize(made, room)


def _root_fault(str root) -> str:
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


cdef class UidMapper:
    """Keyed replacement of UIDs at the same length (PS3.15 Table E.1-1a, action code U).

    `registered` holds the UIDs of PS3.6 Annex A, as bytes without padding. `root` is a UID root
    of the user's organization, 30 characters at most, without a dot at its end. Raises
    UsageError for a bad key or root (PS3.5 section 9.1).

    A new UID depends on the key, the root and the old UID without its padding. Nothing is stored
    but three caches of `limit` entries, to be read alone: `new`, `kept` and `noted`. Three
    attributes count occurrences, until `take_counts`:

    short     new UIDs with so few digits that two of a large project may be equal
    vanished  UIDs of fewer than 6 bytes, too short for any new one: they became NULs
    foreign   UIDs under the root of the standard that the standard does not register

    An instance is for one thread.
    """

    def __init__(self, bytes key not None, frozenset registered not None,
                 str root not None=UUID_ROOT, *, Py_ssize_t limit=CACHE_LIMIT):
        check_key(key)
        fault = _root_fault(root)
        if fault:
            raise UsageError(f"the UID root {fault}")
        self.key = key
        self.digests = Digests(keyed_hash(key, "uid", DIGEST_BYTES))
        self.registered = registered
        self.prefix = f"{root}.".encode()
        self.limit = limit
        self.new, self.kept, self.noted = {}, {}, {}
        self.counts = UidCounts(0, 0, 0)

    def map(self, bytes old not None) -> bytes:
        """The new UID for one old UID, both with their padding and of the same length in bytes.

        `old` is one value, without backslash. A registered UID stays. The new one never equals
        the old, has the length of the old one's significant part (64 bytes at most), and is
        padded with NUL (PS3.5 sections 6.2 and 9.1).
        """
        return self._map(old)

    def map_value(self, bytes old not None) -> bytes:
        """A whole value field, each of its values mapped; the same length in bytes.

        The padding of all values moves to the end, since a NUL before a backslash hides the rest
        from many readers (PS3.5 section 6.4).
        """
        return self._treat_field(self.new, old, False) if _has_several(old) else self._map(old)

    def keep_value(self, bytes old not None) -> bytes:
        """A whole value field that the profile keeps; the same length in bytes.

        Values of digits and dots stay. Those that are not or have over 64 bytes, and UIDs under
        the root of the standard that it does not register, are mapped. What follows a NUL is
        wiped. The UIDs of a file that was mapped before are kept this way too.
        """
        return self._treat_field(self.kept, old, True)

    def known(self, bint keep) -> tuple:
        """What map_value (where keep is true: keep_value) and keep_value have returned and would
        return again, counting nothing, and these two. They stay the same dicts, for reading
        alone."""
        if keep:
            return self.kept, self.kept, self.keep_value, self.keep_value
        return self.new, self.kept, self.map_value, self.keep_value

    @property
    def short(self) -> int:
        return self.counts.short_

    @property
    def vanished(self) -> int:
        return self.counts.vanished

    @property
    def foreign(self) -> int:
        return self.counts.foreign

    def take_counts(self) -> dict[str, int]:
        """The counts since the last call, by attribute name; they start again from 0."""
        cdef UidCounts counts = self.take()
        return named(&counts)

    cdef UidCounts take(self) noexcept:
        """The same."""
        cdef UidCounts counts = self.counts
        self.counts = UidCounts(0, 0, 0)
        return counts

    cdef Py_ssize_t counted(self) noexcept:
        """All of them: 0, there is nothing to take."""
        return self.counts.short_ + self.counts.vanished + self.counts.foreign

    cdef bytes _map(self, bytes old):
        cdef PyObject *known = PyDict_GetItemWithError(self.new, old)
        cdef int notes = 0
        if known != NULL:
            return <bytes>known
        known = PyDict_GetItemWithError(self.noted, old)
        if known != NULL:
            new, notes = <tuple>known
        else:
            new = self._map_new(old, &notes)
        if notes:
            self.counts.short_ += notes & SHORT != 0
            self.counts.vanished += notes & VANISHED != 0
            self.counts.foreign += notes & FOREIGN != 0
        return new

    cdef bytes _map_new(self, bytes old, int *notes):
        cdef char made[UID_BYTES]
        cdef Text text = _significant(old)
        cdef bytes uid = _bytes_of(text, old), new
        cdef Py_ssize_t n
        if uid in self.registered or _is_context_group(text):
            new = _padded(text.start, text.length, PyBytes_GET_SIZE(old))
        else:
            n = self._replace(uid, made, notes)
            new = _padded(made, n, PyBytes_GET_SIZE(old))
        if notes[0]:
            self._put(self.noted, old, (new, notes[0]))
        else:
            self._put(self.new, old, new)
        return new

    cdef Py_ssize_t _replace(self, bytes uid, char *to, int *notes) except -1:
        """The new UID without padding: its length, and what to count."""
        cdef Text old = Text(PyBytes_AS_STRING(uid), PyBytes_GET_SIZE(uid))
        cdef Py_ssize_t length = min(old.length, <Py_ssize_t>UID_BYTES), at = len(self.prefix)
        cdef bytes digest
        if length == 0:
            return 0
        if _is_of_dicom(old):
            notes[0] |= FOREIGN
        if length < SHORTEST_MAPPED:
            notes[0] |= VANISHED
            return 0
        if length - at < ROOT_ROOM:
            at = UUID_PREFIX_BYTES
            memcpy(to, b"2.25.", UUID_PREFIX_BYTES)
        else:
            memcpy(to, PyBytes_AS_STRING(self.prefix), at)
        if length - at < SAFE_DIGITS:
            notes[0] |= SHORT
        digest = self.digests.of(uid)
        attempt = 0
        while True:
            write_suffix(divisors, <const uint8_t *>PyBytes_AS_STRING(digest), length - at, to + at)
            if length != old.length or memcmp(to, old.start, length) != 0:
                return length
            attempt += 1    # likely only at a length of a few digits
            salt = attempt.to_bytes(2, "big")
            digest = Digests(keyed_hash(self.key, "uid", DIGEST_BYTES, salt=salt)).of(uid)

    cdef bytes _keep(self, bytes old):
        cdef Text text = _significant(old)
        cdef const char *rest = text.start + text.length
        cdef const char *end = PyBytes_AS_STRING(old) + PyBytes_GET_SIZE(old)
        if (not is_uid(text.start, text.length)
                or (_is_of_dicom(text) and not _is_context_group(text)
                    and _bytes_of(text, old) not in self.registered)):
            return self._map(old)
        while rest < end:
            if rest[0] != 0 and rest[0] != b" " and rest[0] != b"\t":
                return _padded(text.start, text.length, PyBytes_GET_SIZE(old))
            rest += 1
        return old      # padding of any kind is no reason to change a byte

    cdef bytes _treat_field(self, dict fields, bytes old, bint keep):
        """Of whatever number of values; remembered where there was nothing to count."""
        cdef Py_ssize_t before = self.counted()
        cdef bytes new
        cdef list values
        if _has_several(old):
            values = [(self._keep(value) if keep else self._map(value)).rstrip(b"\0")
                      for value in old.split(b"\\")]
            new = b"\\".join(values).ljust(len(old), b"\0")
        else:
            new = self._keep(old) if keep else self._map(old)
        if self.counted() == before:
            self._put(fields, old, new)
        return new

    cdef int _put(self, dict cache, bytes old, known) except -1:
        # a longer value is rare, or no UID, and would not bound the memory
        if PyBytes_GET_SIZE(old) <= UID_BYTES + 1:
            if len(cache) >= self.limit:
                cache.clear()
            cache[old] = known
        return 0


# ---------------------------------------------------------------------------------------- run mark

FRESH = "fresh"
OURS = "ours"
OTHER_PROFILE = "other-profile"
BROKEN = "broken"

cdef enum:
    PREAMBLE = 128          # the File Preamble (PS3.10 section 7.1)
    PROFILE_MAC_BYTES = 16
    FILE_MAC_BYTES = 32
    HEAD_BYTES = 8 + PROFILE_MAC_BYTES
    VALUES = 3
    LENGTH_BYTES = 8

MARK_BYTES = PREAMBLE
# It must not start as a file that shares the preamble does: TIFF has II*\0 or MM\0*.
MARK_NAME = b"DCMVEIL"


cdef inline char *_add_with_length(char *to, const char *start, Py_ssize_t n) noexcept:
    """A value that cannot run into the next one, and where that begins."""
    cdef uint64_t length = bswap64(n)
    memcpy(to, &length, LENGTH_BYTES)
    memcpy(to + LENGTH_BYTES, start, n)
    return to + LENGTH_BYTES + n


cdef class RunMark:
    """The mark of a rewritten file, in its preamble of 128 bytes (PS3.10 section 7.1).

    8 bytes of magic and algorithm version; 16 bytes, a MAC of the profile; 32 bytes, a MAC of the
    profile and the new SOP Instance UID, Patient ID and Patient's Name; the rest zero. Raises
    UsageError for a bad key.
    """

    def __init__(self, bytes key not None, bytes profile_digest not None):
        cdef bytes shared = PyBytes_FromStringAndSize(NULL, LENGTH_BYTES + len(profile_digest))
        check_key(key)
        profile_hash = keyed_hash(key, "prof", PROFILE_MAC_BYTES)
        profile_hash.update(profile_digest)
        self.head = MARK_NAME + bytes([ALGORITHM_VERSION]) + profile_hash.digest()
        file_hash = keyed_hash(key, "mark", FILE_MAC_BYTES)
        _add_with_length(PyBytes_AS_STRING(shared), PyBytes_AS_STRING(profile_digest),
                         len(profile_digest))
        file_hash.update(shared)
        self.digests = Digests(file_hash)

    def make(self, bytes sop_instance_uid not None, bytes patient_id not None,
             bytes patient_name not None) -> bytes:
        """The preamble for a file with these values, given as encoded; padding does not count."""
        cdef Text[VALUES] values = [
            Text(PyBytes_AS_STRING(sop_instance_uid), PyBytes_GET_SIZE(sop_instance_uid)),
            Text(PyBytes_AS_STRING(patient_id), PyBytes_GET_SIZE(patient_id)),
            Text(PyBytes_AS_STRING(patient_name), PyBytes_GET_SIZE(patient_name))]
        cdef bytes preamble = PyBytes_FromStringAndSize(NULL, PREAMBLE)
        self.write(PyBytes_AS_STRING(preamble), values)
        return preamble

    cdef int write(self, char *preamble, const Text *values) except -1:
        """The same for the values in their order."""
        cdef Py_ssize_t lengths[VALUES]
        cdef Py_ssize_t n, total = 0
        cdef const char *start
        cdef char *to
        cdef bytes text, digest
        cdef int i
        for i in range(VALUES):
            start, n = values[i].start, values[i].length
            while n and (start[n - 1] == 0 or start[n - 1] == b" "):
                n -= 1
            lengths[i] = n
            total += LENGTH_BYTES + n
        text = PyBytes_FromStringAndSize(NULL, total)
        to = PyBytes_AS_STRING(text)
        for i in range(VALUES):
            to = _add_with_length(to, values[i].start, lengths[i])
        digest = self.digests.of(text)
        memcpy(preamble, PyBytes_AS_STRING(self.head), HEAD_BYTES)
        memcpy(preamble + HEAD_BYTES, PyBytes_AS_STRING(digest), FILE_MAC_BYTES)
        memset(preamble + HEAD_BYTES + FILE_MAC_BYTES, 0, PREAMBLE - HEAD_BYTES - FILE_MAC_BYTES)
        return 0

    def check(self, bytes preamble not None, bytes sop_instance_uid not None,
              bytes patient_id not None, bytes patient_name not None) -> str:
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
        if not preamble.startswith(self.head):
            return OTHER_PROFILE
        if preamble != self.make(sop_instance_uid, patient_id, patient_name):
            return BROKEN
        return OURS
