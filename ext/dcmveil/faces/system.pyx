"""System calls of the file faces, without the objects that `os` puts around them.

For a file of some kilobytes those objects take as long as the kernel does.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AsStringAndSize, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EINTR, EINVAL, EISDIR, ELOOP, ENOSYS, ENXIO, errno
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK, O_RDONLY, open as c_open
from posix.stat cimport S_ISREG, fstat, lstat, struct_stat
from posix.unistd cimport close as c_close, fsync

from dcmveil.faces.system cimport write_at
from dcmveil.wire cimport load16, load32, load64

import os

from dcmveil.errors import FileError

cdef int NOFOLLOW = os.O_NOFOLLOW

cdef extern from *:
    """
    #include <errno.h>
    #include <unistd.h>
    #if defined(__linux__)
    #include <sys/syscall.h>
    #endif
    /* A rename that never replaces: not every libc has a function for it, nor every system a call. */
    static int dcmveil_rename_new(const char *old, const char *fresh) {
    #if defined(SYS_renameat2)
        enum { AT_CWD = -100, NOREPLACE = 1 };
        return (int) syscall(SYS_renameat2, AT_CWD, old, AT_CWD, fresh, NOREPLACE);
    #else
        (void) old;
        (void) fresh;
        errno = ENOSYS;
        return -1;
    #endif
    }
    """
    int dcmveil_rename_new(const char *old, const char *fresh) nogil


def open_regular(path, int flags=O_RDONLY, *, bint follow=False) -> int:
    """A file descriptor of a regular file. Raises OSError, and FileError for anything else: a
    symbolic link unless `follow`, a device, a FIFO (which must not block), a folder."""
    cdef bytes encoded = path if type(path) is bytes else os.fsencode(path)
    cdef const char *name = _name(encoded)
    cdef struct_stat status
    cdef int file
    flags |= O_NONBLOCK | O_CLOEXEC | (0 if follow else NOFOLLOW)
    while True:
        with nogil:
            file = c_open(name, flags)
        if file >= 0:
            break
        if errno == ELOOP and not follow:
            raise FileError("a symbolic link")
        if errno == EISDIR or errno == ENXIO:
            raise FileError("not a regular file")
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()
    if fstat(file, &status) != 0:
        c_close(file)
        PyErr_SetFromErrno(OSError)
    if not S_ISREG(status.st_mode):
        c_close(file)
        raise FileError("not a regular file")
    return file


def rename_new(bytes old, bytes new) -> bool:
    """Give a file a name that nothing has yet. False: not on this system or file system. Raises
    OSError."""
    cdef const char *one = _name(old)
    cdef const char *other = _name(new)
    cdef int failed
    with nogil:
        failed = dcmveil_rename_new(one, other)
    if failed and (errno == ENOSYS or errno == EINVAL):
        return False
    if failed:
        PyErr_SetFromErrno(OSError)
    return True


def carry_out(bytes root, bytearray records, list files, bint durable) -> set[bytes]:
    """Write the edits of whole records (see faces/journal.py) into the open files that they are of,
    in their order. The relative paths that come back no longer lead to the file that was planned,
    or its length is another one; those were not touched. Raises OSError, and ValueError for what
    are no records of so many files."""
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


cdef const char *_name(bytes path) except NULL:
    """Raises ValueError where a NUL stands in a path: the system would read it up to there, and
    take another file."""
    cdef char *name
    PyBytes_AsStringAndSize(path, &name, NULL)
    return name


cdef bytes _path_in(const uint8_t *at, const uint8_t *end):
    cdef uint16_t n = load16(at + 4, False)
    if end - at < 22 + n:
        raise ValueError("no record of a file")
    return PyBytes_FromStringAndSize(<const char *>at + 6, n)


cdef bint _is_there(bytes path, const uint8_t *identity) except -1:
    """Whether a file of this inode and size has that name."""
    cdef struct_stat status
    if lstat(_name(path), &status) != 0:
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
