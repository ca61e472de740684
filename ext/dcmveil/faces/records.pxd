"""Records of a journal, as they are written (see records.pyx)."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef struct Target:
    int file
    uint64_t size               # when it was planned
    int64_t changed_ns
    bint refused                # it was no longer as it was planned


cdef class Targets:
    cdef readonly Py_ssize_t count
    cdef readonly bint held
    cdef Target *_all           # owned
    cdef Py_ssize_t _room
    cdef int add_target(self, int file, uint64_t size, int64_t changed_ns) except -1


cpdef int add_file(bytearray records, bytes relative, uint64_t inode, uint64_t size) except -1
cpdef int add_done(bytearray records, bytes line) except -1
cdef int add_differences(
    bytearray records, uint64_t offset, const uint8_t *old, const uint8_t *new, size_t n, size_t gap
) except -1
cpdef bytes first_of(uint64_t bytes_in, uint64_t bytes_out, uint64_t elements, str instance)
cdef int add_line(
    bytearray records, bytes start, uint64_t size, uint64_t elements, str instance, bytes rest,
    int64_t took_us
) except -1
