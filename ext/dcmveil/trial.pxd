from libc.stdint cimport uint8_t, uint32_t
from libc.stddef cimport size_t

from dcmveil.rules cimport RuleTable

cdef bint starts_item(const uint8_t *p) noexcept nogil
cdef int tiles(const uint8_t *p, size_t n, int outer) noexcept nogil
cdef bint known_in(const RuleTable *t, const uint8_t *p, bint big) noexcept nogil
cdef int sniff(const RuleTable *t, const uint8_t *p) noexcept nogil
cdef bint follows(const RuleTable *t, const uint8_t *p, size_t n, uint32_t after,
                  int encoding) noexcept nogil
