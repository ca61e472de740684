"""The fixed layout: what each action writes into a value field of n bytes."""
from libc.stdint cimport uint8_t, uint64_t

from dcmveil.state cimport Op
from dcmveil.rules cimport RuleTable

cdef void write_fixed(const RuleTable *t, const Op *op, uint8_t *span) noexcept nogil
cdef int legal_length(uint8_t vr, uint64_t n) noexcept nogil
