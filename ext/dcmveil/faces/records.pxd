"""Records of a journal, as they are written (see records.pyx)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cpdef int add_file(bytearray records, bytes relative, uint64_t inode, uint64_t size) except -1
cpdef int add_done(bytearray records, bytes line) except -1
cdef int add_changed(bytearray records, uint64_t offset, const uint8_t *new, uint32_t n) except -1
