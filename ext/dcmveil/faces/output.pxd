"""A file that is written from its start, where it lies as in its source: what an ordinary copy has to
do with it."""
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR
from posix.unistd cimport SEEK_SET, lseek

from dcmveil.digits cimport is_uid
from dcmveil.faces.system cimport Named, O_NOFOLLOW, copy_range, joined, openat, write_on


cdef struct Output:
    int file                    # -1: not open yet
    Named path                  # of a new file; not used where it is open


cdef inline bint is_open(Output *output) noexcept nogil:
    """Made where there was none."""
    if output.file < 0:
        output.file = openat(
            output.path.place, output.path.name,
            O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o666
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


cdef inline bytes around_uid(bytes before, str uid, bytes behind):
    """A name with that UID in it, None: it is more than digits and dots, or begins with a dot."""
    cdef Py_ssize_t length
    cdef const char *text = PyUnicode_AsUTF8AndSize(uid, &length)
    if length == 0 or text[0] == b"." or not is_uid(text, length):
        return None
    return joined(before, text, length) + behind
