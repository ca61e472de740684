"""The fixed layout: what each action writes into a value field of n bytes."""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from dcmveil.rules cimport BLANK, RuleTable
from dcmveil.state cimport Op
from dcmveil.vr cimport AE, VR_TEXT, vr_flags

cdef void write_fixed(const RuleTable *t, const Op *op, uint8_t *span) noexcept nogil
cdef int legal_length(uint8_t vr, uint64_t n) noexcept nogil


cdef inline void write_op(const RuleTable *t, const Op *op, uint8_t *span) noexcept nogil:
    """Write op.length bytes for the actions that need nothing but the table; blanks, which are most
    of all, without a call."""
    if op.action == BLANK and op.vr != AE:
        memset(span, c' ' if vr_flags(op.vr) & VR_TEXT else 0, op.length)
    else:
        write_fixed(t, op, span)
