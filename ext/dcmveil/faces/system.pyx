"""System calls of the file faces, without the objects that `os` puts around them.

For a file of some kilobytes those objects take as long as the kernel does.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_AsStringAndSize
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EINTR, EINVAL, EISDIR, ELOOP, ENOSYS, ENXIO, errno
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport strlen
from posix.fcntl cimport O_CLOEXEC, O_DIRECTORY, O_NONBLOCK, O_RDONLY, open as c_open
from posix.stat cimport S_ISREG, fstat, struct_stat
from posix.unistd cimport close as c_close

import os

from dcmveil.errors import FileError

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <stdint.h>
    #include <unistd.h>
    #if defined(__linux__)
    #include <sys/syscall.h>
    #endif
    /* A rename that never replaces: not every libc has a function for it, nor every system a call. */
    static int dcmveil_rename_new(const char *old, int place, const char *fresh) {
    #if defined(SYS_renameat2)
        enum { NOREPLACE = 1 };
        return (int) syscall(SYS_renameat2, AT_FDCWD, old, place, fresh, NOREPLACE);
    #else
        (void) old;
        (void) place;
        (void) fresh;
        errno = ENOSYS;
        return -1;
    #endif
    }
    /* Advice: where it cannot be given or taken, the file can be read all the same. */
    static void dcmveil_will_need(int file, uint64_t n) {
    #if defined(POSIX_FADV_WILLNEED)
        (void) posix_fadvise(file, 0, (off_t) n, POSIX_FADV_WILLNEED);
    #else
        (void) file;
        (void) n;
    #endif
    }
    """
    int openat(int place, const char *path, int flags, ...) nogil
    int AT_FDCWD
    int dcmveil_rename_new(const char *old, int place, const char *fresh) nogil
    void dcmveil_will_need(int file, uint64_t n) nogil


def open_regular(path, int flags=O_RDONLY, *, bint follow=False) -> int:
    """A file descriptor of a regular file. Raises OSError, and FileError for anything else: a
    symbolic link unless `follow`, a device, a FIFO (which must not block), a folder."""
    cdef bytes encoded = path if type(path) is bytes else os.fsencode(path)
    cdef const char *name = path_of(encoded)
    cdef struct_stat status
    cdef int file
    flags |= O_NONBLOCK | O_CLOEXEC | (0 if follow else O_NOFOLLOW)
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
    cdef const char *one = path_of(old)
    cdef const char *other = path_of(new)
    cdef int failed
    with nogil:
        failed = dcmveil_rename_new(one, AT_FDCWD, other)
    if failed and (errno == ENOSYS or errno == EINVAL):
        return False
    if failed:
        PyErr_SetFromErrno(OSError)
    return True


cdef struct Renaming:
    const char *old
    const char *name
    bint failed


def rename_batch(bytes folder, list batch) -> list[int]:
    """Give the files of a batch (tuples with a path second, and third a name in the folder) their
    names, in order, as rename_new does. The numbers of those that could not be named: who tries
    again learns why."""
    cdef const char *path = path_of(folder)
    cdef Py_ssize_t count = len(batch)
    cdef Renaming *all_of_them = <Renaming *>malloc(max(count, 1) * sizeof(Renaming))
    cdef int place
    if all_of_them == NULL:
        raise MemoryError
    try:
        for number in range(count):
            brief = <tuple?>batch[number]
            all_of_them[number] = Renaming(path_of(<bytes?>brief[1]), path_of(<bytes?>brief[2]), True)
        with nogil:
            place = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            if place >= 0:
                for number in range(count):
                    all_of_them[number].failed = dcmveil_rename_new(
                        all_of_them[number].old, place, all_of_them[number].name) != 0
                c_close(place)
        return [number for number in range(count) if all_of_them[number].failed]
    finally:
        free(all_of_them)


cdef class OpenFiles:
    """The files of a batch of (path in the folder, why it is not taken or ""), opened together and
    closed together; numbered as there.

    The kernel is told that the first `ahead` bytes of each are read soon, so that a disk may begin.
    What is not taken or cannot be opened stays closed: the reason is met again when it is its turn.
    """

    def __cinit__(self, bytes folder, list batch, int flags, uint64_t ahead):
        cdef Py_ssize_t count = len(batch)
        cdef const char *name = path_of(folder)
        cdef Opened *one
        cdef int place
        self._files = <Opened *>malloc(max(count, 1) * sizeof(Opened))
        if self._files == NULL:
            raise MemoryError
        for relative, reason in batch:
            one = &self._files[self.count]
            one.path = _path_or_null(relative)
            if reason:
                one.path = NULL
            one.file = -1
            self.count += 1
        flags |= O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        with nogil:
            place = c_open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            if place >= 0:
                for number in range(count):
                    _open_at(place, &self._files[number], flags, ahead)
                c_close(place)

    def __dealloc__(self):
        self.close()
        free(self._files)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, Py_ssize_t number) -> int:
        """The file descriptor, -1: it is not open. Raises IndexError."""
        return self.at(number).file

    def __setitem__(self, Py_ssize_t number, int file) -> None:
        """One that was opened later, or -1: somebody else closes it. Raises IndexError."""
        self.at(number).file = file

    def close(self) -> None:
        for number in range(self.count):
            if self._files[number].file >= 0:
                c_close(self._files[number].file)
                self._files[number].file = -1

    cdef Opened *at(self, Py_ssize_t number) except NULL:
        if not 0 <= number < self.count:
            raise IndexError("a batch has no such file")
        return &self._files[number]


cdef const char *_path_or_null(bytes path) noexcept:
    """NULL where a NUL stands in it."""
    cdef const char *name = PyBytes_AS_STRING(path)
    return name if strlen(name) == <size_t>len(path) else NULL


cdef void _open_at(int place, Opened *one, int flags, uint64_t ahead) noexcept nogil:
    """A regular file or nothing."""
    if one.path == NULL:
        return
    one.file = openat(place, one.path, flags)
    if one.file < 0:
        return
    if fstat(one.file, &one.status) != 0 or not S_ISREG(one.status.st_mode):
        c_close(one.file)
        one.file = -1
        return
    dcmveil_will_need(one.file, ahead)


cdef const char *path_of(bytes path) except NULL:
    """Raises ValueError where a NUL stands in a path: the system would read it up to there, and
    take another file."""
    cdef char *name
    PyBytes_AsStringAndSize(path, &name, NULL)
    return name
