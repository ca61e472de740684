"""The fixed layout: what each action writes into a value field of n bytes."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dcmveil.rules cimport (CHECK_UID, DOCUMENT, HASH, PIXELS, PSEUDONYM, SHIFT, UID, YEAR, ZERO_TIME,
                            RuleTable)
from dcmveil.state cimport Machine, Op

cdef enum:      # a bit for each action whose value comes from Python
    ASKING = (1 << UID | 1 << CHECK_UID | 1 << PIXELS | 1 << DOCUMENT | 1 << SHIFT | 1 << YEAR
              | 1 << ZERO_TIME | 1 << PSEUDONYM | 1 << HASH)

cdef uint32_t write_ops(const Machine *m, uint8_t *window) noexcept nogil
cdef void write_fixed(const RuleTable *t, const Op *op, uint8_t *span) noexcept nogil
cdef int legal_length(uint8_t vr, uint64_t n) noexcept nogil


cdef inline bint asks(const Op *op) noexcept nogil:
    """Whether the new value comes from Python."""
    return ASKING >> op.action & 1
