"""Paths, and reads and writes of all that was asked for, as far as the file goes."""
from libc.errno cimport EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from posix.unistd cimport pread, pwrite, write


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


cdef const char *path_of(bytes path) except NULL
