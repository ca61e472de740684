"""Paths, and reads and writes of all that was asked for, as far as the file goes."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy
from posix.stat cimport struct_stat
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport pread, pwrite, write

cdef extern from *:
    """
    #include <fcntl.h>
    #include <stdint.h>
    #include <sys/stat.h>
    #include <unistd.h>
    static inline int64_t dcmveil_changed_ns(const struct stat *status) {
    #if defined(__APPLE__)
        const struct timespec *time = &status->st_ctimespec;
    #else
        const struct timespec *time = &status->st_ctim;
    #endif
        return (int64_t) time->tv_sec * 1000000000 + time->tv_nsec;
    }
    """
    int openat(int place, const char *path, int flags, ...) nogil
    int unlinkat(int place, const char *path, int flags) nogil
    const int AT_FDCWD
    const int O_NOFOLLOW
    # When a status changed.
    int64_t changed_ns "dcmveil_changed_ns"(const struct_stat *status) nogil


cdef inline int64_t now_us() noexcept:
    """Of a clock that is never set."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000 + now.tv_nsec // 1000


cdef struct Closing:        # descriptors that follow each other; they are closed by one call
    int first               # -1: none
    int last


cdef struct Opened:
    const char *path        # borrowed while they are opened; NULL: not taken
    int file                # -1: not open
    struct_stat status      # of a file that was opened with its batch


cdef class OpenFiles:
    cdef Opened *_files     # owned
    cdef Py_ssize_t count
    cdef Opened *at(self, Py_ssize_t number) except NULL


cdef struct Named:
    int place               # a folder that is open, or AT_FDCWD
    const char *name        # a path from there; borrowed


cdef class TemporaryPaths:
    cdef bytes prefix       # the folder with a slash
    cdef int place          # its descriptor
    cdef bint _is_open
    cdef size_t _count
    cpdef bytes next(self)
    cdef Named named(self, bytes path)


cdef class SharedFlag:
    cdef uint8_t *byte


cdef inline int64_t read_at(int file, uint8_t *into, size_t n, uint64_t offset) noexcept nogil:
    """Bytes read, fewer than n only where the file ends; -1 and errno."""
    cdef size_t done = 0
    cdef ssize_t got
    while done < n:
        got = pread(file, into + done, n - done, offset + done)
        if got == 0:
            break
        if got > 0:
            done += got
        elif errno != EINTR:
            return -1
    return done


cdef inline int write_at(int file, const uint8_t *data, size_t n, uint64_t offset) noexcept nogil:
    """0, or -1 and errno: a nearly full disk may have taken a part."""
    cdef ssize_t put
    while n:
        put = pwrite(file, data, n, offset)
        if put >= 0:
            data += put
            offset += put
            n -= put
        elif errno != EINTR:
            return -1
    return 0


cdef inline int write_on(int file, const uint8_t *data, size_t n) noexcept nogil:
    """The same at the position of the file."""
    cdef ssize_t put
    while n:
        put = write(file, data, n)
        if put >= 0:
            data += put
            n -= put
        elif errno != EINTR:
            return -1
    return 0


cdef int64_t copy_range(int src, int dst, uint64_t at, uint64_t n) noexcept nogil


# One after the other, and then what is left of them.
cdef void close_soon(Closing *them, int file) noexcept
cdef void close_now(Closing *them) noexcept


cdef inline bytes joined(bytes before, const char *text, Py_ssize_t n):
    """With n bytes behind it."""
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(before) + n)
    memcpy(PyBytes_AS_STRING(whole), PyBytes_AS_STRING(before), PyBytes_GET_SIZE(before))
    memcpy(PyBytes_AS_STRING(whole) + PyBytes_GET_SIZE(before), text, n)
    return whole


cdef const char *path_of(bytes path) except NULL
