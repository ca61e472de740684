"""The records of a journal of patching: how they are written, and how they are carried out from
memory. What they mean, and how they are read back from a file, stands in faces/journal.py.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.errno cimport errno
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport UINT16_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close as c_close, fsync

from dcmveil.digits cimport NUMBER_DIGITS, is_uid, put_number
from dcmveil.faces.system cimport Closing, changed_ns, close_now, close_soon, write_at
from dcmveil.spans cimport next_difference
from dcmveil.wire cimport load16, load32, load64

import os

cdef enum:
    FIRST_MOST = 256            # bytes of three numbers, their names and a UID
    LAST_MOST = NUMBER_DIGITS + 9


cpdef int add_file(bytearray records, bytes relative, uint64_t inode, uint64_t size) except -1:
    """The next file: its path in the tree, and what it was when it was planned. Raises
    OverflowError for a path of 64 KiB."""
    cdef uint16_t n
    cdef char *to
    if len(relative) > UINT16_MAX:
        raise OverflowError("a path is too long for a record")
    n = len(relative)
    to = _add(records, 22 + <size_t>n)
    memcpy(to, b"FILE", 4)
    memcpy(to + 4, &n, 2)
    memcpy(to + 6, PyBytes_AS_STRING(relative), n)
    memcpy(to + 6 + n, &inode, 8)
    memcpy(to + 14 + n, &size, 8)
    return 0


cpdef int add_edit(bytearray records, uint64_t offset, bytes new) except -1:
    """Bytes of that file that will be others."""
    return add_changed(records, offset, <const uint8_t *>PyBytes_AS_STRING(new), len(new))


cdef int add_changed(bytearray records, uint64_t offset, const uint8_t *new, uint32_t n) except -1:
    cdef char *to = _add(records, 16 + <size_t>n)
    memcpy(to, b"EDIT", 4)
    memcpy(to + 4, &offset, 8)
    memcpy(to + 12, &n, 4)
    memcpy(to + 16, new, n)
    return 0


cdef int add_differences(
    bytearray records, uint64_t offset, const uint8_t *old, const uint8_t *new, size_t n, size_t gap
) except -1:
    """An edit for each span of n bytes, which begin at that offset, that changed; those with fewer
    than `gap` equal bytes between them are one."""
    cdef size_t start, end = 0
    while next_difference(old, new, n, gap, &start, &end):
        add_changed(records, offset + start, new + start, end - start)
    return 0


cpdef int add_done(bytearray records, bytes line) except -1:
    """The file was understood to its end; the line is what is reported of it."""
    memcpy(_add_done(records, len(line)), PyBytes_AS_STRING(line), len(line))
    return 0


cdef char *_add_done(bytearray records, uint32_t n) except NULL:
    """The same with room for the line."""
    cdef char *to = _add(records, 8 + <size_t>n)
    memcpy(to, b"DONE", 4)
    memcpy(to + 4, &n, 4)
    return to + 8


cdef char *_add(bytearray records, size_t n) except NULL:
    """Room for n bytes more."""
    cdef Py_ssize_t at = PyByteArray_GET_SIZE(records)
    PyByteArray_Resize(records, at + n)
    return PyByteArray_AS_STRING(records) + at


# -- the line of a file ----------------------------------------------------------------------------

cpdef bytes first_of(uint64_t bytes_in, uint64_t bytes_out, uint64_t elements, str instance):
    """The members of a file's record (docs/trees.md) that it shares with no other, and a comma."""
    cdef char text[FIRST_MOST]
    cdef bint whole
    cdef char *end = _put_first(text, bytes_in, bytes_out, elements, instance, &whole)
    first = PyBytes_FromStringAndSize(text, end - text)
    if whole:
        return first
    from json.encoder import encode_basestring_ascii    # a profile may put any text there

    return first + encode_basestring_ascii(instance).encode() + b","


cdef int add_line(
    bytearray records, bytes start, uint64_t size, uint64_t elements, str instance, bytes rest,
    int64_t took_us
) except -1:
    """add_done with `start`, first_of, `rest`, the seconds, and the end of what they are a part of."""
    cdef char text[FIRST_MOST]
    cdef char last[LAST_MOST]
    cdef const char *first = text
    cdef char *to
    cdef bint whole
    cdef size_t n = _put_first(text, size, size, elements, instance, &whole) - text
    cdef size_t last_n = _put_last(last, took_us) - last
    if not whole:
        held = first_of(size, size, elements, instance)
        first = PyBytes_AS_STRING(held)
        n = len(held)
    to = _add_done(records, <size_t>len(start) + n + <size_t>len(rest) + last_n)
    to = _put(to, PyBytes_AS_STRING(start), len(start))
    to = _put(to, first, n)
    to = _put(to, PyBytes_AS_STRING(rest), len(rest))
    _put(to, last, last_n)
    return 0


cdef char *_put_first(
    char *text, uint64_t bytes_in, uint64_t bytes_out, uint64_t elements, str instance, bint *whole
) except NULL:
    """Where it ends: before the instance, where that is not `whole`, for it is no UID."""
    cdef char *at
    cdef Py_ssize_t length
    cdef const char *uid = PyUnicode_AsUTF8AndSize(instance, &length)
    whole[0] = is_uid(uid, length)
    at = put_number(_put(text, b'"bytes_in":', 11), bytes_in, 1)
    at = put_number(_put(at, b',"bytes_out":', 13), bytes_out, 1)
    at = put_number(_put(at, b',"elements":', 12), elements, 1)
    at = _put(at, b',"instance":', 12)
    return _put(_put(_put(at, b'"', 1), uid, length), b'",', 2) if whole[0] else at


cdef char *_put_last(char *text, int64_t took_us) noexcept:
    """Where it ends."""
    cdef char *at = put_number(text, took_us // 1_000_000, 1)
    at = put_number(_put(at, b".", 1), took_us % 1_000_000, 6)
    return _put(at, b"}}", 2)


cdef inline char *_put(char *to, const char *text, size_t n) noexcept:
    """Where it ends."""
    memcpy(to, text, n)
    return to + n


# -- carried out -----------------------------------------------------------------------------------

cdef class Targets:
    """The files that the records of a journal are of: open, and as they were when they were planned.

    count  files that were added
    held   they are still open; those that are added later are closed at once
    """

    def __cinit__(self):
        self.held = True

    def __dealloc__(self):
        self.let_go()
        free(self._all)

    def add(self, int file, uint64_t size, int64_t changed_ns) -> None:
        """The next file, of that size, whose status changed at that time; from here on it is closed
        here."""
        self.add_target(file, size, changed_ns)

    cdef int add_target(self, int file, uint64_t size, int64_t changed_ns) except -1:
        cdef Target *grown
        if not self.held:
            c_close(file)
            self.count += 1
            return 0
        if self.count == self._room:
            grown = <Target *>realloc(self._all, (2 * self._room + 8) * sizeof(Target))
            if grown == NULL:
                raise MemoryError
            self._all = grown
            self._room = 2 * self._room + 8
        self._all[self.count] = Target(file, size, changed_ns, False)
        self.count += 1
        return 0

    def let_go(self) -> None:
        cdef Closing them = Closing(-1, -1)
        if self.held:
            for number in range(self.count):
                close_soon(&them, self._all[number].file)
            close_now(&them)
        self.held = False


def carry_out(bytearray records, Targets targets, bint durable) -> set[bytes]:
    """Write the edits of whole records into the files that they are of, in their order. The
    relative paths that come back were renamed, unlinked or changed since they were planned; those
    were not touched. Raises OSError, and ValueError for what are no records of so many files."""
    cdef const uint8_t *start = <const uint8_t *>PyByteArray_AS_STRING(records)
    cdef const uint8_t *end = start + PyByteArray_GET_SIZE(records)
    cdef const uint8_t *at = start
    cdef Py_ssize_t number = 0
    cdef int fault = 0
    with nogil:
        while number < targets.count and at != NULL:
            at = _carry_out_one(&targets._all[number], at, end, durable, &fault)
            number += 1
    if fault:
        raise OSError(fault, os.strerror(fault))
    if at == NULL or (at != end and (end - at < 4 or memcmp(at, b"OVER", 4) != 0)):
        raise ValueError("these are not the records of so many files")
    return _refused(start, targets)


cdef set[bytes] _refused(const uint8_t *at, Targets targets):
    """The paths of those that were not touched, in records that are whole."""
    cdef uint16_t n
    refused = set()
    for number in range(targets.count):
        n = load16(at + 4, False)
        if targets._all[number].refused:
            refused.add(PyBytes_FromStringAndSize(<const char *>at + 6, n))
        at += 22 + n
        while memcmp(at, b"EDIT", 4) == 0:
            at += 16 + <size_t>load32(at + 12, False)
        at += 8 + <size_t>load32(at + 4, False)
    return refused


cdef const uint8_t *_carry_out_one(
    Target *target, const uint8_t *at, const uint8_t *end, bint durable, int *fault
) noexcept nogil:
    """Where the records of the next file begin. NULL: these are not whole, or, with errno in
    `fault`, could not be carried out."""
    if end - at < 6 or memcmp(at, b"FILE", 4) != 0:
        return NULL
    if end - at < 22 + <ptrdiff_t>load16(at + 4, False):
        return NULL
    at += 22 + load16(at + 4, False)
    target.refused = not _is_as_planned(target)
    at = _write_edits(-1 if target.refused else target.file, at, end, fault)
    if at == NULL or end - at < 8 or memcmp(at, b"DONE", 4) != 0:
        return NULL
    if <size_t>(end - at) - 8 < load32(at + 4, False):
        return NULL
    if durable and not target.refused and fsync(target.file) != 0:
        fault[0] = errno
        return NULL
    return at + 8 + load32(at + 4, False)


cdef bint _is_as_planned(const Target *target) noexcept nogil:
    """Whether nothing has happened to it. A rename, a link or an edit changes the time of the
    status change; that costs a fraction of looking where its path leads."""
    cdef struct_stat status
    return (fstat(target.file, &status) == 0 and status.st_nlink != 0
            and <uint64_t>status.st_size == target.size and changed_ns(&status) == target.changed_ns)


cdef const uint8_t *_write_edits(
    int file, const uint8_t *at, const uint8_t *end, int *fault
) noexcept nogil:
    """Where the edits of a record end; NULL as above. No file: nothing is written."""
    cdef uint32_t n
    while end - at >= 16 and memcmp(at, b"EDIT", 4) == 0:
        n = load32(at + 12, False)
        if <size_t>(end - at) - 16 < n:
            return NULL
        if file >= 0 and write_at(file, at + 16, n, load64(at + 4)) != 0:
            fault[0] = errno
            return NULL
        at += 16 + n
    return at
