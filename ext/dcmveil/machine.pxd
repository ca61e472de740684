from libc.stdint cimport uint8_t
from libc.stddef cimport size_t

from dcmveil.rules cimport RuleTable
from dcmveil.state cimport Machine

cdef void machine_reset(Machine *m, const RuleTable *rules) noexcept nogil
cdef int machine_step(Machine *m, const uint8_t *window, size_t n, bint eof) noexcept nogil
cdef void machine_set_encoding(Machine *m, int encoding) noexcept nogil
