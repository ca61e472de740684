"""The grammar of DICOM files and data sets: PS3.5 chapter 7, PS3.10 chapter 7.

The laws of the grammar, here and in content.pyx:
  * It reads the window and writes only its own state. No I/O, no clock, no Python.
  * A handler either moves `pos` past something understood or returns without a trace; what was
    asked for with MORE is asked for again from the same place, so any split of the input gives
    the same operations.
  * Decisions depend on the input and on the named limits, never on the size of the window.
  * A failed machine stays failed.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t
from libc.string cimport memcmp, memset

from dcmveil.content cimport (read_body, read_fragment, read_item, read_leaf, read_plain, rest_of_skip,
                              rest_of_text, rest_of_value)
from dcmveil.plain cimport plain_in
from dcmveil.rules cimport ZERO, RuleTable, rule_of
from dcmveil.state cimport *
from dcmveil.tags cimport ITEM, ITEM_END, PATIENT_ID, SEQUENCE_END
from dcmveil.trial cimport follows, known_in, sniff
from dcmveil.vr cimport OB, UN, VR_LONG, VR_NONE, is_letter, vr_flags, vr_of
from dcmveil.wire cimport load16, load32, load_tag


cdef void machine_reset(Machine *m, const RuleTable *rules) noexcept nogil:
    """Ready for the first byte of an input. Keeps `ops`; the caller's settings are cleared."""
    cdef Op *ops = m.ops
    memset(m, 0, <uint8_t *>&m.stack - <uint8_t *>m)    # the arrays would take microseconds
    m.ops = ops
    m.rules = rules
    m.phase = IN_DATA
    m.barrier = PATIENT_ID
    open_data_set(m, &m.stack[0], 0, 0)


cdef void machine_set_encoding(Machine *m, int encoding) noexcept nogil:
    """Answer to SYNTAX: bits of Encoding."""
    m.stack[0].encoding = encoding
    m.phase = IN_DATA


cdef int machine_step(Machine *m, const uint8_t *window, size_t n, bint eof) noexcept nogil:
    """Read on. window[0] stands at `base` and n bytes are there; eof: none come after them."""
    cdef int status = GO
    cdef Frame *f
    cdef const uint8_t *p
    cdef size_t left
    while status == GO:
        if m.n_ops + OP_ROOM > OP_CAPACITY:
            return OPS
        if plain_in(m):
            read_plain(m, window, n)
            if m.n_ops + OP_ROOM > OP_CAPACITY:
                return OPS
        p = window + (m.pos - m.base)
        left = n - (m.pos - m.base)
        if m.state == AT_ELEMENT:
            f = &m.stack[m.depth]
            if m.pos >= f.bound:
                status = close_frame(m, f, 0)
            elif f.kind == DATA_SET:
                status = _element(m, f, p, left, eof)
            elif f.kind == SEQUENCE:
                status = read_item(m, f, p, left, eof)
            else:
                status = read_fragment(m, f, p, left, eof)
        elif m.state == IN_VALUE:
            status = rest_of_value(m, p, left, eof)
        elif m.state == IN_TEXT:
            status = rest_of_text(m, p, left, eof)
        elif m.state == IN_SKIP:
            status = rest_of_skip(m, left, eof)
        elif m.state == AT_START:
            status = _start(m, p, left, eof)
        elif m.state == AT_DATA_SET:
            status = _data_set(m, &m.stack[0], p, left, eof)
        elif m.state == IN_TAIL:
            status = _tail(m, p, left, eof)
        elif m.state == AT_END:
            status = DONE
        else:
            status = STOPPED
    return status


# -- the beginning ----------------------------------------------------------------------------------

cdef int _start(Machine *m, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """Preamble and prefix (PS3.10 section 7.1), or a raw data set."""
    cdef int encoding
    if left < 132 and not eof:
        m.need = 132
        return MORE
    if left == 0:
        return fail(m, EMPTY_INPUT, 0, 0)
    if left >= 132 and memcmp(p + 128, <const char *>b"DICM", 4) == 0:
        new_op(m, PREAMBLE).length = 128
        m.has_preamble = True
        m.pos = 132
        m.phase = IN_META
        m.state = AT_ELEMENT
        return GO
    if left < 8:
        return fail(m, NOT_DICOM, 0, 0)
    encoding = sniff(m.rules, p)
    if encoding < 0:
        return fail(m, NOT_DICOM, 0, 0)
    m.state = AT_ELEMENT
    m.stack[0].encoding = encoding
    if load16(p, False) == 2:
        m.phase = IN_META
    elif load16(p, False) == 0:
        m.phase = IN_COMMAND
    return GO


cdef int _end_of_meta(Machine *m) noexcept nogil:
    m.meta_end = m.pos
    m.state = AT_DATA_SET
    m.phase = IN_DATA
    open_data_set(m, &m.stack[0], 0, 0)
    if not m.encoding_told:
        return SYNTAX
    m.stack[0].encoding = m.encoding
    return GO


cdef int _data_set(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """The first header of the data set: what was told of its encoding is held against the bytes,
    and the bytes win where they are plain (transfer syntaxes that lie are common)."""
    cdef int told = f.encoding, found
    cdef bint explicit
    if left == 0 and eof:
        return fail(m, NO_DATA_SET, m.pos, 0)
    if left < 8:
        return want(m, 8, left, eof)
    f.fresh = False
    m.state = AT_ELEMENT
    if load16(p, False) == 0 and load32(p, False) == 0 and load32(p + 4, False) == 4:
        m.phase = IN_COMMAND
        f.encoding = IMPLICIT
        return GO
    found = sniff(m.rules, p)
    if told & ENCODING_UNREGISTERED:
        if found != 0:
            return fail(m, NOT_EXPLICIT, m.pos, 0)
        f.encoding = 0
    elif told & ENCODING_UNKNOWN:
        if found < 0:
            return fail(m, NO_SYNTAX, m.pos, 0)
        f.encoding = found
    else:
        if found >= 0 and (found & BIG) != (told & BIG) and not known_in(m.rules, p, told & BIG):
            return fail(m, BYTE_ORDER, m.pos, 0)
        explicit = vr_of(p[4], p[5]) != 0
        if told & IMPLICIT and explicit:
            f.encoding = told & BIG
        elif not told & IMPLICIT and not (is_letter(p[4]) and is_letter(p[5])):
            f.encoding = told | IMPLICIT
        if f.encoding != told:
            m.notes[ENCODING_DIFFERS] += 1
    return GO


# -- data element headers ---------------------------------------------------------------------------

cdef int _element(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """A data element header (PS3.5 section 7.1) and what follows from it."""
    cdef Element *e = &m.e
    cdef bint big
    cdef uint32_t tag
    cdef int status
    if m.pos + 8 > f.bound:
        return fail(m, OVERRUN, m.pos, 0)
    if left < 8:
        return _little_left(m, f, p, left, eof)
    big = f.encoding & BIG
    tag = load_tag(p, big)
    if m.depth == 0:
        status = _at_top(m, f, p, tag)
        if status != GO or m.state != AT_ELEMENT:
            return status
    if tag >> 16 == 0xFFFE:
        return _delimiter(m, f, tag, load32(p + 4, big))
    if f.fresh:
        f.fresh = False
        _sniff_item(m, f, p)
    e.tag = tag
    e.header = m.pos
    if f.encoding & IMPLICIT:
        e.vr = VR_NONE
        e.length = load32(p + 4, big)
        e.header_length = 8
    else:
        e.vr = vr_of(p[4], p[5])
        if e.vr == VR_NONE:
            return _unknown_form(m, f, p, left, eof)
        if vr_flags(e.vr) & VR_LONG:
            if left < 12:
                return want(m, 12, left, eof)
            e.length = load32(p + 8, big)
            e.header_length = 12
        else:
            e.length = load16(p + 6, big)
            e.header_length = 8
    return read_body(m, f, p, left, eof)


cdef int _little_left(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """Fewer than 8 bytes, perhaps the last ones."""
    cdef size_t i
    cdef bint zeros = True
    if not eof:
        m.need = 8
        return MORE
    if m.depth == 0 and m.phase != IN_META:
        if left == 0:
            m.state = AT_END
            return DONE
        for i in range(left):
            zeros = zeros and p[i] == 0
        # the first bytes of a header that often comes last are a cut file, not a tail
        if zeros or (m.past_pixels and p[0] != 0xFC and p[0] != 0xFA and p[0] != 0xFF):
            m.state = IN_TAIL
            return GO
    elif m.depth == 0 and left == 0:
        return fail(m, NO_DATA_SET, m.pos, 0)
    m.e.tag = 0
    return cut_at(m, m.pos + left)


cdef int _at_top(Machine *m, Frame *f, const uint8_t *p, uint32_t tag) noexcept nogil:
    """What only the top-level data set knows: where group 0002 and 0000 end, where the bytes after
    the last element begin, and the scout's barrier."""
    cdef uint8_t vr
    if m.phase == IN_META:
        if tag >> 16 != 2 or (m.pos == m.known_meta_end and m.pos):
            return _end_of_meta(m)
        return GO
    if m.phase == IN_COMMAND:
        if tag >> 16 != 0:
            m.phase = IN_DATA
            m.state = AT_DATA_SET
            f.encoding = ENCODING_UNKNOWN
        return GO
    if tag == 0 and load32(p, False) == 0 and load32(p + 4, False) == 0:
        m.state = IN_TAIL
        return GO
    if m.past_pixels:
        vr = vr_of(p[4], p[5])
        if (vr == VR_NONE if not f.encoding & IMPLICIT
                else not tag >> 16 & 1 and rule_of(m.rules, tag).vr == VR_NONE):
            if tag >> 16 != 0xFFFE or load32(p + 4, False) != 0:
                m.state = IN_TAIL
                return GO
    if tag > m.barrier:
        m.past_barrier = True
        if m.scout and not m.directory:     # of a DICOMDIR it sees all
            return BARRIER
    return GO


cdef void _sniff_item(Machine *m, Frame *f, const uint8_t *p) noexcept nogil:
    """The first header of an item may show that it is not in the encoding around it."""
    if f.sniff == SNIFF_EITHER:
        if vr_of(p[4], p[5]):
            f.encoding &= ~IMPLICIT
        else:
            f.encoding |= IMPLICIT
    elif (not f.encoding & IMPLICIT and not (is_letter(p[4]) and is_letter(p[5]))
            and (m.depth or m.phase == IN_META)):
        f.encoding |= IMPLICIT
        m.notes[ENCODING_DIFFERS] += 1


cdef int _delimiter(Machine *m, Frame *f, uint32_t tag, uint32_t length) noexcept nogil:
    """(FFFE,xxxx) where a data element could stand."""
    if tag == ITEM_END and length == 0:
        if m.depth and f.undefined:
            return close_frame(m, f, 8)
        if m.depth == 0 or m.pos + 8 == f.bound:
            m.notes[STRAY_DELIMITER] += 1
            m.pos += 8
            return GO
    elif tag == SEQUENCE_END and length == 0 and m.depth == 0:
        m.notes[STRAY_DELIMITER] += 1
        m.pos += 8
        return GO
    elif (tag == SEQUENCE_END and length == 0 or tag == ITEM) and m.depth and f.undefined:
        return close_frame(m, f, 0)      # the item's own delimiter is missing
    return fail(m, BAD_DELIMITER, m.pos, tag)


cdef int _unknown_form(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """A VR that is none of the 34: readers disagree whether its header has 8 bytes or 12, and where
    its two bytes are no letters some read it as implicit VR. Taken only where exactly one reading
    leads to a legal next header."""
    cdef Element *e = &m.e
    cdef bint big = f.encoding & BIG
    cdef uint64_t lengths[3]
    cdef int headers[3]
    cdef int i, right = 0, chosen = -1, forms = 2 if is_letter(p[4]) and is_letter(p[5]) else 3
    cdef uint64_t end
    cdef size_t need = 12
    if m.phase == IN_META:              # nothing in there may be guessed
        return fail(m, UNKNOWN_FORM, m.pos, e.tag)
    if left < 12 and not eof:
        return want(m, 12, left, eof)
    headers[0], headers[1], headers[2] = 8, 12, 8
    lengths[0] = load16(p + 6, big)
    # the two bytes before a long length are reserved, and zero
    lengths[1] = load32(p + 8, big) if left >= 12 and load16(p + 6, False) == 0 else UNDEFINED
    lengths[2] = load32(p + 4, big)
    for i in range(forms):
        end = headers[i] + lengths[i]
        if lengths[i] > FORM_LIMIT or m.pos + end > f.bound:
            continue
        if m.pos + end < f.bound:
            end += 8                    # the next header is looked at
        if end > need:
            need = end
    if left < need and not eof:
        return want(m, need, left, eof)
    for i in range(forms):
        end = headers[i] + lengths[i]
        if lengths[i] > FORM_LIMIT or m.pos + end > f.bound or end > left:
            continue
        if (m.pos + end == f.bound or (eof and end == left)
                or follows(m.rules, p + end, left - end, e.tag, f.encoding)):
            right += 1
            chosen = i
    if right != 1:
        return fail(m, UNKNOWN_FORM, m.pos, e.tag)
    m.notes[UNKNOWN_VR] += 1
    e.length = lengths[chosen]
    e.header_length = headers[chosen]
    if chosen == 2:                     # an implicit element in an explicit data set
        e.vr = VR_NONE
        return read_body(m, f, p, left, eof)
    e.known = VR_NONE
    e.means = UN
    e.value = e.header + e.header_length
    e.action = ZERO
    return read_leaf(m, f, p, left, eof)


# -- the end ----------------------------------------------------------------------------------------

cdef int _tail(Machine *m, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """Bytes after the last element. Zeros may stand after any; others only after pixel data, where
    nothing that a reader needs can follow, and they become zeros."""
    cdef size_t i
    cdef Op *op
    for i in range(left):
        if p[i] != 0:
            break
    else:
        i = left
    if i < left:
        if not m.past_pixels:
            return fail(m, BAD_TAIL, m.pos + i, 0)
        m.counts[ZERO] += m.notes[TAIL_ZEROED] == 0
        m.notes[TAIL_ZEROED] = 1
        op = new_op(m, TAIL)
        op.offset = m.pos
        op.length = left
        op.vr = OB
        op.action = ZERO
    m.pos += left
    if eof:
        m.state = AT_END
        return DONE
    m.need = 1
    return MORE
