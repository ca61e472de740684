"""The records of a journal of patching: how they are written, and how they are carried out from
memory. What they mean, and how they are read back from a file, stands in faces/journal.py.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EINVAL, errno
from libc.stddef cimport size_t
from libc.stdint cimport UINT16_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from posix.stat cimport lstat, struct_stat
from posix.unistd cimport fsync

from dcmveil.faces.system cimport path_of, write_at
from dcmveil.wire cimport load16, load32, load64


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


cpdef int add_done(bytearray records, bytes line) except -1:
    """The file was understood to its end; the line is what is reported of it."""
    cdef uint32_t n = len(line)
    cdef char *to = _add(records, 8 + <size_t>n)
    memcpy(to, b"DONE", 4)
    memcpy(to + 4, &n, 4)
    memcpy(to + 8, PyBytes_AS_STRING(line), n)
    return 0


cdef char *_add(bytearray records, size_t n) except NULL:
    """Room for n bytes more."""
    cdef Py_ssize_t at = PyByteArray_GET_SIZE(records)
    PyByteArray_Resize(records, at + n)
    return PyByteArray_AS_STRING(records) + at


def carry_out(bytes root, bytearray records, list files, bint durable) -> set[bytes]:
    """Write the edits of whole records into the open files that they are of, in their order. The
    relative paths that come back no longer lead to the file that was planned, or its length is
    another one; those were not touched. Raises OSError, and ValueError for what are no records of
    so many files."""
    cdef const uint8_t *at = <const uint8_t *>PyByteArray_AS_STRING(records)
    cdef const uint8_t *end = at + PyByteArray_GET_SIZE(records)
    cdef const uint8_t *edits
    cdef int file
    cdef bint there
    cdef uint32_t n
    refused = set()
    for target in files:
        file = target
        if end - at < 6 or memcmp(at, b"FILE", 4) != 0:
            raise ValueError("no record of a file")
        relative = _path_in(at, end)
        there = _is_there(root + b"/" + relative, at + 6 + len(<bytes>relative))
        edits = at + 22 + len(<bytes>relative)
        with nogil:
            at = _write_edits(file if there else -1, edits, end)
        if at == NULL:
            PyErr_SetFromErrno(OSError)
        if end - at < 8 or memcmp(at, b"DONE", 4) != 0:
            raise ValueError("a record has no end")
        n = load32(at + 4, False)
        if <size_t>(end - at) - 8 < n:
            raise ValueError("a record has no end")
        at += 8 + <size_t>n
        if not there:
            refused.add(relative)
        elif durable and fsync(file) != 0:
            PyErr_SetFromErrno(OSError)
    if at != end and (end - at < 4 or memcmp(at, b"OVER", 4) != 0):
        raise ValueError("there are more records than files")
    return refused


cdef bytes _path_in(const uint8_t *at, const uint8_t *end):
    cdef uint16_t n = load16(at + 4, False)
    if end - at < 22 + n:
        raise ValueError("no record of a file")
    return PyBytes_FromStringAndSize(<const char *>at + 6, n)


cdef bint _is_there(bytes path, const uint8_t *identity) except -1:
    """Whether a file of this inode and size has that name."""
    cdef struct_stat status
    if lstat(path_of(path), &status) != 0:
        return False
    return (<uint64_t>status.st_ino == load64(identity)
            and <uint64_t>status.st_size == load64(identity + 8))


cdef const uint8_t *_write_edits(int file, const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Where the edits of a record end; NULL and errno: they could not be written."""
    cdef uint32_t n
    while end - at >= 16 and memcmp(at, b"EDIT", 4) == 0:
        n = load32(at + 12, False)
        if <size_t>(end - at) - 16 < n:
            errno = EINVAL
            return NULL
        if file >= 0 and write_at(file, at + 16, n, load64(at + 4)) != 0:
            return NULL
        at += 16 + n
    return at
