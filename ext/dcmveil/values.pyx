"""The fixed layout: a value field keeps its length, so what an action writes is fitted to it.

Design: spaces in a text read back as an empty value; NULs do not, and are for UI and binary
values only. A dummy is a valid value of its VR (PS3.5 section 6.2) that says nothing, cut to the
field at a legal precision. A value longer than WHOLE_LIMIT is written in pieces, so what is
written depends on the place in the value alone.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from dcmveil.state cimport PREAMBLE, TAIL, VALUE, WHOLE_LIMIT, Machine, Op
from dcmveil.rules cimport BLANK, CLEAR, DUMMY, KEEP, LEAVE, LITERAL, Literal, RuleTable
from dcmveil.vr cimport AE, AS, CS, DA, DS, DT, IS, TM, UI, UR, VR_PLAIN, VR_TEXT, vr_flags

cdef const char *WORD = b"ANON"
cdef const char *DATE = b"19000101"
cdef const char *LEGACY_DATE = b"1900.01.01"     # ACR-NEMA, PS3.5 6.2 note to DA
cdef const char *TIME = b"000000.000000"
cdef const char *DATE_TIME = b"19000101000000.000000"
cdef const char *AGE = b"000Y"


cdef uint32_t write_ops(const Machine *m, uint8_t *window) noexcept nogil:
    """Write the values of a machine's operations that nobody is asked for; how many are left."""
    cdef const Op *op
    cdef const Op *end = m.ops + m.n_ops
    cdef uint64_t start = <uint64_t>window - m.base     # where absolute offset 0 would be
    cdef uint32_t n_asks = 0
    op = m.ops
    while op != end:
        if op.kind == VALUE:
            if asks(op):
                n_asks += 1
            else:
                _write_op(m.rules, op, <uint8_t *>(start + op.offset))
        elif op.kind == PREAMBLE or op.kind == TAIL:
            memset(<uint8_t *>(start + op.offset), 0, op.length)
        op += 1
    return n_asks


cdef inline void _write_op(const RuleTable *t, const Op *op, uint8_t *span) noexcept nogil:
    """Write op.length bytes for the actions that need nothing but the table; blanks, which are most
    of all, without a call."""
    if op.action == BLANK and op.vr != AE:
        memset(span, c' ' if vr_flags(op.vr) & VR_TEXT else 0, op.length)
    else:
        write_fixed(t, op, span)


cdef int legal_length(uint8_t vr, uint64_t n) noexcept nogil:
    """The longest legal TM or DT without UTC offset of at most n characters (PS3.5 table 6.2-1)."""
    cdef int least = 2 if vr == TM else 4
    cdef int seconds = 6 if vr == TM else 14
    if n < <uint64_t>least:
        return 0
    if n < <uint64_t>seconds:
        return n & ~<uint64_t>1
    if n < <uint64_t>seconds + 2:       # a point needs a digit behind it
        return seconds
    return n if n < <uint64_t>seconds + 7 else seconds + 7


cdef void _put(uint8_t *p, uint32_t n, const char *text, uint32_t length) noexcept nogil:
    """Text, padded with spaces to n bytes."""
    if length > n:
        length = n
    memcpy(p, text, length)
    memset(p + length, c' ', n - length)


cdef void _dummy_part(uint8_t vr, uint8_t *p, uint32_t n) noexcept nogil:
    """One value of a VR in the default repertoire, n bytes wide with its padding."""
    if vr == DA:
        if n >= 10 and p[4] == c'.' and p[7] == c'.':
            _put(p, n, LEGACY_DATE, 10)
        else:
            _put(p, n, DATE, 8 if n >= 8 else 0)
    elif vr == TM:
        _put(p, n, TIME, legal_length(vr, n))
    elif vr == DT:
        _put(p, n, DATE_TIME, legal_length(vr, n))
    elif vr == AS:
        _put(p, n, AGE, 4 if n >= 4 else 0)
    elif vr == IS or vr == DS:
        _put(p, n, b"0", 1)
    else:
        _put(p, n, WORD, 4)


cdef void _dummy_parts(uint8_t vr, uint8_t *p, uint32_t n) noexcept nogil:
    """Each value of a multi-valued field, so that the number of values stays."""
    cdef uint8_t *end = p + n
    cdef uint8_t *delimiter
    while True:
        delimiter = <uint8_t *>memchr(p, c'\\', end - p)
        if delimiter == NULL:
            _dummy_part(vr, p, end - p)
            return
        _dummy_part(vr, p, delimiter - p)
        p = delimiter + 1


cdef void _padded(const Op *op, uint8_t *span, const uint8_t *text, uint32_t length,
                  uint8_t pad) noexcept nogil:
    """The part of text-and-padding that falls on this span of the value."""
    cdef uint32_t n = 0
    if op.done < length:
        n = length - op.done
        if n > op.length:
            n = op.length
        memcpy(span, text + op.done, n)
    memset(span + n, pad, op.length - n)


cdef void write_fixed(const RuleTable *t, const Op *op, uint8_t *span) noexcept nogil:
    """What _write_op does not write itself."""
    cdef uint8_t flags = vr_flags(op.vr)
    cdef uint8_t action = op.action
    cdef const Literal *literal
    cdef uint8_t *nul
    if action == KEEP:
        return
    if action == LITERAL:
        literal = &t.literals[op.arg]
        if flags & VR_TEXT or op.vr == UI:
            if op.total >= literal.length or literal.when_short != LEAVE:
                if op.total >= literal.length or literal.when_short != CLEAR:
                    _padded(op, span, literal.data, literal.length, 0 if op.vr == UI else c' ')
                else:
                    memset(span, 0 if op.vr == UI else c' ', op.length)
                return
            # the old text stays, but for what is behind a NUL; so short a value is whole in its span
            nul = <uint8_t *>memchr(span, 0, op.length)
            if nul != NULL:
                memset(nul, 0, op.length - (nul - span))
            return
        action = BLANK
    if not flags & VR_TEXT or (action != BLANK and action != DUMMY):
        memset(span, 0, op.length)
    elif op.vr == UR:
        memset(span, c' ', op.length)
    elif flags & VR_PLAIN and op.total <= WHOLE_LIMIT:
        _dummy_parts(op.vr, span, op.length)
    elif flags & VR_PLAIN and op.vr != CS and op.vr != AE:
        memset(span, c' ', op.length)
    else:
        _padded(op, span, <const uint8_t *>WORD, 4, c' ')
