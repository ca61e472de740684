"""A file that is written from its start, where it lies as in its source: what an ordinary copy has to
do with it."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR, open as c_open
from posix.unistd cimport SEEK_SET, lseek

from dcmveil.faces.system cimport O_NOFOLLOW, copy_range, write_on


cdef struct Output:
    int file                    # -1: not open yet
    const char *path            # of a new file; NULL: it is open


cdef inline bint is_open(Output *output) noexcept nogil:
    """Made where there was none."""
    if output.file < 0:
        output.file = c_open(
            output.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o666
        )
    return output.file >= 0


cdef inline bint write_to(Output *output, const uint8_t *data, size_t n) noexcept:
    """Whether all of it went to the end of the output."""
    cdef bint done
    with nogil:
        done = is_open(output) and write_on(output.file, data, n) == 0
    return done


cdef inline bint copy_to(
    Output *output, int src, kernel, uint64_t start, uint64_t end
) except -1:
    """The same for bytes of a source: by the kernel, or, where that cannot be told to or would take
    long, by `kernel` (see Ordinary.copy)."""
    cdef int64_t done
    if start == end:
        return True
    if not is_open(output) or lseek(src, start, SEEK_SET) < 0:
        return False
    while start < end:
        with nogil:
            done = copy_range(src, output.file, start, end - start)
        if done < 0:
            done = kernel(src, output.file, end - start)
        if done == 0:
            return False
        start += done
    return True
