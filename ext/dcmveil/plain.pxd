"""Plain elements: the rule of the tag alone says what happens to them.

Most elements are: nobody asks for their value, no private block, place or image hangs on them, and
all their bytes are in the window. They are read here, in one loop without a turn of the machine. It
stops with nothing done at the first element that is not plain, and content.pyx, which can read all,
reads that one. What is decided here is what content.pyx would decide: a rule is marked when the
table is frozen, and tests/test_plain.py holds the two readings together.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t
from libc.string cimport memchr

from dcmveil.nesting cimport end_in, plain_items, plain_sequence
from dcmveil.rules cimport (BLANK, BY_ROW, DUMMY, KEEP, LITERAL, NOT_PLAIN, PLAIN_SEQUENCE,
                            PLAIN_TEXT, PLAIN_VEILED, UID, Rule, RuleTable, cell_of,
                            private_rule_of, rule_number, rules_number_all)
from dcmveil.state cimport (AT_ELEMENT, DATA_SET, EMPTY_DUMMY, IMPLICIT, IN_DATA, OP_CAPACITY,
                            OP_ROOM, SNIFF_EITHER, VALUE, Frame, Machine, Op, creator_of_block)
from dcmveil.tags cimport (CHARACTER_SET, CHARACTERISTICS, FLOAT_PIXELS, PATIENT_ID, PATIENT_NAME, PIXEL_DATA,
                           SERIES_INSTANCE, SOP_CLASS, SOP_INSTANCE, STUDY_INSTANCE, WAVEFORM_DATA)
from dcmveil.vr cimport SQ, UI, UN, VR_LONG, VR_NONE, VR_TEXT, vr_flags, vr_of, vr_shape
from dcmveil.wire cimport load16, load32, load64


cdef inline bint plain_in(const Machine *m) noexcept nogil:
    """Whether there may be plain elements now: after the file meta information, where nobody wants
    to see the ones that stay."""
    return m.phase == IN_DATA and m.state == AT_ELEMENT and not m.trace


cdef inline void plain_elements(Machine *m, const uint8_t *window, size_t n,
                                const bint implicit) noexcept nogil:
    """Move on over plain elements in little endian, and over where the sequences and items begin
    and end that hold them, up to the first thing that is neither."""
    cdef uint8_t encoding = IMPLICIT if implicit else 0
    cdef const RuleTable *t = m.rules
    cdef const Rule *rules = t.rules
    cdef const Rule *r
    cdef Frame *f = &m.stack[m.depth]
    cdef Frame *before
    cdef const uint8_t *p = window + (m.pos - m.base)
    cdef const uint8_t *start
    cdef const uint8_t *value
    cdef const uint8_t *stop = window + n
    cdef const uint8_t *end         # of the data set, or of the window
    cdef const uint16_t *row = t.cells      # of the block
    cdef Op *ops = m.ops
    cdef Op *op
    cdef uint64_t here = m.base - <uint64_t>window  # of an address in the window, its offset
    cdef uint32_t n_ops = m.n_ops, more = not m.scout, veiled
    cdef uint32_t tag, length, shape, block = 0xFFFFFFFF    # all of a tag but its low byte
    cdef uint32_t elements = 0, limit
    cdef uint8_t vr, action, sequence
    while True:
        before = f
        start = p
        if (f.kind == DATA_SET and f.encoding == encoding
                and not (f.fresh and f.sniff == SNIFF_EITHER)):
            end = end_in(f, stop, here)
            sequence = NOT_PLAIN
            limit = 0xFFFDFFFF          # no item and no delimiter
            if f == &m.stack[0]:
                if m.past_pixels:
                    break
                if not m.past_barrier:
                    limit = m.barrier
            veiled = f.veiled
            while end - p >= 8:
                tag = load32(p, False)
                tag = tag << 16 | tag >> 16
                if tag > limit:
                    break
                if tag >> 8 != block:
                    block = tag >> 8
                    row = t.cells + 256 * t.page_of[t.slot_of_group[block >> 8] * 256
                                                    + (block & 0xFF)]
                value = p + 8
                if block & 0x100:
                    if tag & 0xFFFF < 0x1000 or m.n_safe:
                        break
                    if t.private_alike and not implicit:
                        r = &t.private_default
                    else:
                        r = private_rule_of(t, creator_of_block(m, f, tag), tag)
                    # a blank needs only the VR that stands there
                    vr = r.vr if implicit else vr_of(p[4], p[5])
                    if vr == VR_NONE or vr == UN or vr == SQ:
                        break
                    shape = vr_shape(vr)
                else:
                    r = &rules[row[tag & 0xFF]]
                    vr = r.vr
                    shape = vr_shape(vr)
                    if not implicit and load16(p + 4, False) != shape & 0xFFFF:
                        break
                action = r.plain[veiled]
                if action > PLAIN_TEXT:
                    sequence = action
                    break
                if implicit:
                    length = load32(p + 4, False)
                elif shape & VR_LONG << 16:
                    if end - p < 12:
                        break
                    length = load32(p + 8, False)
                    value = p + 12
                else:
                    length = load16(p + 6, False)
                if length > <size_t>(end - value):
                    break
                if action == KEEP:
                    pass
                elif action == PLAIN_TEXT:
                    if _has_nul(value, length):
                        break
                elif length:
                    if n_ops + OP_ROOM > OP_CAPACITY:
                        break
                    op = &ops[n_ops]
                    n_ops += more
                    op.offset = here + <uint64_t>value
                    op.done = 0
                    op.length = op.total = length
                    op.tag = tag
                    op.kind = VALUE
                    op.vr = vr
                    op.action = action
                    op.arg = r.veiled_arg if veiled else r.arg
                    op.header_length = value - p
                    op.encoding = encoding
                    op.veiled = veiled
                    m.counts[action] += 1
                elif action == DUMMY:
                    m.notes[EMPTY_DUMMY] += 1
                if tag > f.last_tag:
                    f.last_tag = tag
                elements += 1
                p = value + length
            if p != start:
                f.fresh = False
            start = p
            if sequence != NOT_PLAIN:
                f = plain_sequence(m, f, &p, end, here, tag, sequence == PLAIN_VEILED, implicit)
                if f == before:
                    break
        f = plain_items(m, f, &p, stop, here, implicit)
        if p == start and f == before:
            break
    m.depth = f - &m.stack[0]
    m.elements += elements
    m.pos = here + <uint64_t>p
    m.n_ops = n_ops


cdef inline bint _has_nul(const uint8_t *text, uint32_t n) noexcept nogil:
    """Most texts are too short for a call to be worth it: eight bytes at a time, the last ones
    with some before them."""
    cdef uint32_t i = 0
    if n > 64:
        return memchr(text, 0, n) != NULL
    if n >= 8:
        while i + 8 < n:
            if _zero_in(load64(text + i)):
                return True
            i += 8
        return _zero_in(load64(text + n - 8))
    while i < n:
        if text[i] == 0:
            return True
        i += 1
    return False


cdef inline bint _zero_in(uint64_t bytes) noexcept nogil:
    """Whether one of the eight bytes is 0: only there a borrow sets a high bit that was clear."""
    return (bytes - 0x0101010101010101ULL) & ~bytes & 0x8080808080808080ULL != 0


# -- when the table is frozen ---------------------------------------------------------------------

cdef inline void mark_plain(RuleTable *t) noexcept:
    """Mark the rules whose elements are plain. What is marked NOT_PLAIN without need costs time,
    never a value."""
    cdef uint32_t i
    cdef uint32_t[12] watched = [
        CHARACTER_SET, SOP_CLASS, SOP_INSTANCE, CHARACTERISTICS, PATIENT_NAME, PATIENT_ID,
        STUDY_INSTANCE, SERIES_INSTANCE, WAVEFORM_DATA, FLOAT_PIXELS, FLOAT_PIXELS + 1, PIXEL_DATA]
    for i in range(t.n_rules):
        _mark_public(t, &t.rules[i])
    rules_number_all(t)
    for i in range(t.n_slots):                      # group lengths
        _mark_cell(t, t.page_of[i * 256] * 256, 3)
    for i in range(12):
        _mark_cell(t, cell_of(t, watched[i]), 3)
    for i in range(t.scope_mask + 1 if t.scope_mask else 0):
        if t.scopes[i].key:
            _mark_cell(t, cell_of(t, <uint32_t>(t.scopes[i].key - 1)), 3)
    _mark_group(t, 0x0002, 3)
    _mark_group(t, 0x0004, 3)           # of a DICOMDIR
    _mark_group(t, 0x0028, 2)           # the geometry of an icon in a blanked sequence
    _mark_private(&t.private_default)
    for i in range(t.private_mask + 1 if t.private_mask else 0):
        _mark_private(&t.private_rules[i])
    for i in range(t.own.n):
        _mark_private(&t.own_rules[i])
    t.private_alike = _private_alike(t)


cdef inline void _mark_cell(RuleTable *t, uint32_t cell, uint32_t which) noexcept:
    """A tag is not plain, whose rule others may have; which: 1 outside, 2 inside a blanked
    sequence, 3 both."""
    cdef Rule rule = t.rules[t.cells[cell]]
    if which & 1:
        rule.plain[0] = NOT_PLAIN
    if which & 2:
        rule.plain[1] = NOT_PLAIN
    cdef int number = rule_number(t, &rule)
    if number < 0:      # then none that has the rule is
        _mark_not(&t.rules[t.cells[cell]])
    else:
        t.cells[cell] = number


cdef inline void _mark_not(Rule *r) noexcept:
    r.plain[0] = r.plain[1] = NOT_PLAIN


cdef inline void _mark_group(RuleTable *t, uint32_t group, uint32_t which) noexcept:
    """No element of a group is plain; which: as above."""
    cdef uint32_t high, low, page
    for high in range(256):
        page = t.page_of[t.slot_of_group[group] * 256 + high]
        if page:                        # on page 0 nothing is plain
            for low in range(256):
                _mark_cell(t, page * 256 + low, which)


cdef inline void _mark_public(const RuleTable *t, Rule *r) noexcept:
    _mark_not(r)
    if r.vr == SQ:
        r.plain[0] = _plain_sequence(t, r)
        r.plain[1] = PLAIN_VEILED       # whatever stands in a blanked sequence is blanked too
    elif r.vr != VR_NONE and r.vr != UN and r.vr != UI:
        r.plain[0] = _plain_action(t, r.vr, r.action, r.arg)
        r.plain[1] = _plain_action(t, r.vr, r.veiled, r.veiled_arg)


cdef inline uint8_t _plain_sequence(const RuleTable *t, const Rule *r) noexcept:
    cdef uint8_t action = r.action
    if action == KEEP and r.arg != BY_ROW:
        action = t.by_vr[SQ]
    return PLAIN_SEQUENCE if action == KEEP or action == UID else PLAIN_VEILED


cdef inline uint8_t _plain_action(const RuleTable *t, uint8_t vr, uint8_t action,
                                  uint8_t arg) noexcept:
    if action == KEEP and arg != BY_ROW:
        action = t.by_vr[vr]
    if action == KEEP and vr_flags(vr) & VR_TEXT:
        return PLAIN_TEXT
    return action if action in (KEEP, BLANK, DUMMY, LITERAL) else NOT_PLAIN


cdef inline void _mark_private(Rule *r) noexcept:
    """By the action alone: whatever VR stands there, it is blanked."""
    r.plain[0] = BLANK if r.action == BLANK else NOT_PLAIN
    r.plain[1] = BLANK if r.veiled == BLANK else NOT_PLAIN


cdef inline bint _private_alike(const RuleTable *t) noexcept:
    """Whether it is blanked, whatever the creator and the element."""
    cdef uint32_t i
    if t.own.n or t.private_default.plain[0] != BLANK or t.private_default.plain[1] != BLANK:
        return False
    for i in range(t.private_mask + 1 if t.private_mask else 0):
        if (t.private_rules[i].plain[0] != BLANK or t.private_rules[i].plain[1] != BLANK
                or t.private_rules[i].arg != t.private_default.arg
                or t.private_rules[i].veiled_arg != t.private_default.veiled_arg):
            return False
    return True
