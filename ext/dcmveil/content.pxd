from libc.stdint cimport uint8_t
from libc.stddef cimport size_t

from dcmveil.state cimport Frame, Machine

cdef void read_plain(Machine *m, const uint8_t *window, size_t n) noexcept nogil
# p: the bytes at pos, `left` of them; each returns a Status
cdef int read_body(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil
cdef int read_leaf(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil
cdef int read_item(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil
cdef int read_fragment(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil
cdef int rest_of_value(Machine *m, const uint8_t *p, size_t left, bint eof) noexcept nogil
cdef int rest_of_text(Machine *m, const uint8_t *p, size_t left, bint eof) noexcept nogil
cdef int rest_of_skip(Machine *m, size_t left, bint eof) noexcept nogil
