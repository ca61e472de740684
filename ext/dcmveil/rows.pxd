"""Rows as text: all of a rule table's rows in one call."""
from libc.stdint cimport uint8_t
from libc.stddef cimport size_t

from dcmveil.rules cimport RuleTable, UNCHANGED, rules_set
from dcmveil.vr cimport VR_NONE, vr_of

cdef enum:
    ROW_BYTES = 21


cdef inline int _hex(uint8_t c) noexcept:
    return c - c'0' if c'0' <= c <= c'9' else c - c'A' + 10 if c'A' <= c <= c'F' else -1


cdef inline int _byte(const uint8_t *p) noexcept:
    """Two hexadecimal digits and the blank or line end before them; -1: others stand there."""
    cdef int high = _hex(p[1]), low = _hex(p[2])
    return high << 4 | low if p[0] == c' ' and high >= 0 and low >= 0 else -1


cdef inline int _set_row(RuleTable *t, const uint8_t *p) noexcept:
    cdef int action = _byte(p + 11), veiled = _byte(p + 14), arg = _byte(p + 17)
    cdef uint8_t vr = UNCHANGED
    if p[9] != c'-' or p[10] != c'-':
        vr = vr_of(p[9], p[10])
    if (action < 0 or veiled < 0 or arg < 0 or vr == VR_NONE or p[8] != c' '
            or p[ROW_BYTES - 1] != c'\n'):
        return -1
    return rules_set(t, p, vr, action, veiled, arg)


cdef inline size_t rules_set_rows(RuleTable *t, const uint8_t *text, size_t n) noexcept:
    """Lines `ggggeeee VR AA VV RR`: the arguments of rules_set, `--` and FF for UNCHANGED. Where it
    stopped: n, or the first line that is malformed or does not fit."""
    cdef size_t i = 0
    while n - i >= ROW_BYTES and _set_row(t, text + i) == 0:
        i += ROW_BYTES
    return i
