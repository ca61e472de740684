"""A file that is written where it lies as in its source: what an ordinary copy has to do with it."""
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR
from posix.unistd cimport SEEK_SET, close as c_close, lseek

from dcmveil.digits cimport is_uid
from dcmveil.faces.system cimport Named, O_NOFOLLOW, copy_range, joined, openat, unlinkat, write_at


cdef enum:
    RANGES = 2                  # of one file: its pixels, and what is behind them
    RANGE_MOST = 4 << 20        # bytes of one that is put off


cdef struct Range:
    uint64_t start, end


cdef struct Output:
    int file                    # -1: not open yet
    Named path                  # of a new file; not used where it is open
    int src                     # its source, open too
    # What is copied later. While the bytes of one file are copied those of our own code leave the
    # caches; so the bulk of some files goes together, behind the headers of them all.
    int count                   # -1: nothing is put off
    Range[RANGES] later


cdef inline void begin(Output *output, int src, Named path, bint later) noexcept:
    """Of that source, and not open yet. Whether something may be put off."""
    output.file = -1
    output.path = path
    output.src = src
    output.count = 0 if later else -1


cdef inline bint is_open(Output *output) noexcept nogil:
    """Made where there was none."""
    if output.file < 0:
        output.file = openat(
            output.path.place, output.path.name,
            O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o666
        )
    return output.file >= 0


cdef inline bint write_to(
    Output *output, const uint8_t *data, size_t n, uint64_t offset
) noexcept:
    """Whether all of it was written."""
    cdef bint done
    with nogil:
        done = is_open(output) and write_at(output.file, data, n, offset) == 0
    return done


cdef inline bint copy_to(Output *output, kernel, uint64_t start, uint64_t end) except -1:
    """The same for bytes of the source, now or later."""
    if start == end:
        return True
    if 0 <= output.count < RANGES and end - start <= RANGE_MOST:
        output.later[output.count] = Range(start, end)
        output.count += 1
        return True
    return copy_now(output, kernel, start, end)


cdef inline bint copy_now(Output *output, kernel, uint64_t start, uint64_t end) except -1:
    """By the kernel, or, where that cannot be told to or would take long, by `kernel` (see
    Ordinary.copy)."""
    cdef int64_t done
    if (not is_open(output) or lseek(output.src, start, SEEK_SET) < 0
            or lseek(output.file, start, SEEK_SET) < 0):
        return False
    while start < end:
        with nogil:
            done = copy_range(output.src, output.file, start, end - start)
        if done < 0:
            done = kernel(output.src, output.file, end - start)
        if done == 0:
            return False
        start += done
    return True


cdef inline bint copy_rest(Output *output, kernel) except -1:
    """What was put off."""
    cdef int number
    for number in range(output.count):
        if not copy_now(output, kernel, output.later[number].start, output.later[number].end):
            return False
    return True


cdef inline bint close_output(Output *output) noexcept:
    """Whether the system has taken all of it; else there is no such file."""
    cdef int failed
    with nogil:
        failed = c_close(output.file)
        if failed:
            unlinkat(output.path.place, output.path.name, 0)
    output.file = -1
    return not failed


cdef inline void abandon(Output *output) noexcept:
    """Away with a new file, if it was made."""
    if output.file >= 0:
        c_close(output.file)
        unlinkat(output.path.place, output.path.name, 0)
        output.file = -1


cdef inline bint end_all(Output *outputs, int *begun, kernel, finish, list made) except -1:
    """The rest of these outputs, which are those of the last of `made`, and are closed. False: one
    could not be ended; neither it nor those behind it are made."""
    cdef int left, number = 0, count = begun[0]
    cdef bint done = True
    begun[0] = 0
    try:
        while number < count and done:
            done = copy_rest(&outputs[number], kernel)
            if done and finish is not None:
                finish(outputs[number].src, outputs[number].file)
            done = done and close_output(&outputs[number])
            number += done
    finally:
        for left in range(number, count):
            abandon(&outputs[left])
        del made[len(made) - (count - number):]     # they hold the paths
    return done


cdef inline bytes around_uid(bytes before, str uid, bytes behind):
    """A name with that UID in it, None: it is more than digits and dots, or begins with a dot."""
    cdef Py_ssize_t length
    cdef const char *text = PyUnicode_AsUTF8AndSize(uid, &length)
    if length == 0 or text[0] == b"." or not is_uid(text, length):
        return None
    return joined(before, text, length) + behind
