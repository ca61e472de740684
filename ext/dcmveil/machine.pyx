"""The grammar of DICOM data sets: PS3.5 chapters 7 and 10 and annex A, PS3.10 chapter 7.

The laws of this file:
  * It reads the window and writes only its own state. No I/O, no clock, no Python.
  * A handler either moves `pos` past something understood or returns without a trace; what was
    asked for with MORE is asked for again from the same place, so any split of the input gives
    the same operations.
  * Decisions depend on the input and on the named limits, never on the size of the window.
  * A failed machine stays failed.
"""
from libc.string cimport memchr, memcmp, memset

from dcmveil.rules cimport (BLANK, CHECK_UID, DOCUMENT, DUMMY, KEEP, PIXELS, UID, WIPE, ZERO, Rule,
                            creator_of, private_rule_of, rule_of)
from dcmveil.tags cimport (CHARACTER_SET, FLOAT_PIXELS, FRAMES, ITEM, ITEM_END, MEDIA_CLASS,
                           PATIENT_ID, PATIENT_NAME, PIXEL_DATA, SEQUENCE_END, SOP_CLASS,
                           SOP_INSTANCE, TRANSFER_SYNTAX, WAVEFORM_DATA)
from dcmveil.trial cimport follows, sniff, starts_item, tiles
from dcmveil.vr cimport (LO, OB, OW, SQ, UI, UL, UN, US, VR_LONG, VR_NONE, VR_TEXT, is_letter,
                         vr_flags, vr_of)
from dcmveil.wire cimport load16, load32, load_tag

cdef uint64_t NOWHERE = 0xFFFFFFFFFFFFFFFF


cdef void machine_reset(Machine *m, const RuleTable *rules) noexcept nogil:
    """Ready for the first byte of an input. Keeps `ops`; the caller's settings are cleared."""
    cdef Op *ops = m.ops
    memset(m, 0, sizeof(Machine))
    m.ops = ops
    m.rules = rules
    m.phase = IN_DATA
    m.barrier = PATIENT_ID
    _open_data_set(m, &m.stack[0], 0, 0)


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
        p = window + (m.pos - m.base)
        left = n - (m.pos - m.base)
        if m.state == AT_ELEMENT:
            f = &m.stack[m.depth]
            if m.pos >= f.bound:
                status = _close(m, f, 0)
            elif f.kind == DATA_SET:
                status = _element(m, f, p, left, eof)
            elif f.kind == SEQUENCE:
                status = _item(m, f, p, left, eof)
            else:
                status = _fragment(m, f, p, left, eof)
        elif m.state == IN_VALUE:
            status = _rest_of_value(m, left, eof)
        elif m.state == IN_TEXT:
            status = _rest_of_text(m, p, left, eof)
        elif m.state == IN_SKIP:
            status = _rest_of_skip(m, left, eof)
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


cdef int machine_cut(Machine *m, uint64_t offset) noexcept nogil:
    """The input ended at `offset`, inside a value or before something that must follow."""
    cdef Frame *f = &m.stack[m.depth]
    cdef bint pixels = (m.depth == 0 and FLOAT_PIXELS <= m.e.tag <= PIXEL_DATA
                        and (m.state == IN_SKIP or m.pos > offset)
                        or m.depth == 1 and f.kind == FRAGMENTS and f.tag == PIXEL_DATA)
    if pixels and m.accept_cut_pixels:
        m.notes[PIXELS_CUT] += 1
        m.state = AT_END
        return DONE
    return _fault(m, TRUNCATED, offset, m.e.tag)


# -- small things ----------------------------------------------------------------------------

cdef int _fault(Machine *m, int fault, uint64_t offset, uint32_t tag) noexcept nogil:
    m.state = FAILED
    m.fault = fault
    m.fault_offset = offset
    m.fault_tag = tag
    return STOPPED


cdef inline int _want(Machine *m, size_t need, size_t left, bint eof) noexcept nogil:
    """More bytes are wanted from pos than the window has."""
    if eof:
        return machine_cut(m, m.pos + left)
    m.need = need
    return MORE


cdef inline Op *_op(Machine *m, uint8_t kind) noexcept nogil:
    """A new operation, scratch in a scout."""
    cdef Op *op = &m.ops[m.n_ops]
    memset(op, 0, sizeof(Op))
    op.kind = kind
    if not m.scout:
        m.n_ops += 1
    return op


cdef void _value_op(Machine *m, Element *e, uint8_t action, uint32_t done, uint32_t length) noexcept nogil:
    cdef Op *op = _op(m, VALUE)
    op.header = e.header
    op.offset = e.value + done
    op.done = done
    op.length = length
    op.total = e.length
    op.tag = e.tag
    op.vr = e.means
    op.action = action
    op.arg = e.arg
    op.header_length = e.header_length
    op.encoding = m.stack[m.depth].encoding
    op.image = m.stack[m.depth].image
    if done == 0:
        m.counts[action] += 1


cdef inline void _see(Span *span, Element *e) noexcept nogil:
    if not span.seen:
        span.seen = True
        span.offset = e.value
        span.length = e.length


# -- frames ----------------------------------------------------------------------------------

cdef void _open_data_set(Machine *m, Frame *f, uint8_t encoding, uint8_t veiled) noexcept nogil:
    memset(f, 0, sizeof(Frame))
    f.kind = DATA_SET
    f.bound = NOWHERE
    f.encoding = encoding
    f.veiled = veiled
    f.fresh = True
    f.blocks = m.n_blocks


cdef Frame *_push(Machine *m, uint8_t kind, uint8_t encoding, uint8_t veiled, uint32_t tag,
                  uint32_t length, uint64_t start) noexcept nogil:
    """A frame on top, whose content begins at `start`. NULL when that is too deep."""
    cdef uint64_t outer = m.stack[m.depth].bound
    cdef Frame *f
    if m.depth == 2 * DEPTH_LIMIT:
        _fault(m, TOO_DEEP, start, tag)
        return NULL
    m.depth += 1
    f = &m.stack[m.depth]
    _open_data_set(m, f, encoding, veiled)
    f.kind = kind
    f.tag = tag
    f.undefined = length == UNDEFINED
    f.bound = outer if f.undefined else start + length
    return f


cdef int _close(Machine *m, Frame *f, uint8_t delimiter) noexcept nogil:
    """Close the top frame; `delimiter` bytes stand at pos for it (8, or 0)."""
    cdef Op *op
    if f.undefined and delimiter == 0:
        m.notes[MISSING_DELIMITER] += 1
    if f.kind != FRAGMENTS:
        op = _op(m, ITEM_CLOSE if f.kind == DATA_SET else SEQUENCE_CLOSE)
        op.header = op.offset = m.pos
        op.tag = f.tag
        op.header_length = delimiter
        op.total = UNDEFINED if f.undefined else 0
        op.encoding = f.encoding
    elif m.depth == 1 and f.tag == PIXEL_DATA:
        m.past_pixels = True
    m.n_blocks = f.blocks
    m.depth -= 1
    m.pos += delimiter
    return GO


# -- the beginning ---------------------------------------------------------------------------

cdef int _start(Machine *m, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """Preamble and prefix (PS3.10 section 7.1), or a raw data set."""
    cdef int encoding
    if left < 132 and not eof:
        m.need = 132
        return MORE
    if left == 0:
        return _fault(m, EMPTY_INPUT, 0, 0)
    if left >= 132 and memcmp(p + 128, <const char *>b"DICM", 4) == 0:
        _op(m, PREAMBLE).length = 128
        m.has_preamble = True
        m.pos = 132
        m.phase = IN_META
        m.state = AT_ELEMENT
        return GO
    if left < 8:
        return _fault(m, NOT_DICOM, 0, 0)
    encoding = sniff(m.rules, p)
    if encoding < 0:
        return _fault(m, NOT_DICOM, 0, 0)
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
    _open_data_set(m, &m.stack[0], 0, 0)
    return SYNTAX


cdef int _data_set(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """The first header of the data set: what was told of its encoding is held against the bytes,
    and the bytes win where they are plain (transfer syntaxes that lie are common)."""
    cdef int told = f.encoding, found
    cdef bint explicit
    if left == 0 and eof:
        return _fault(m, NO_DATA_SET, m.pos, 0)
    if left < 8:
        return _want(m, 8, left, eof)
    f.fresh = False
    m.state = AT_ELEMENT
    if load16(p, False) == 0 and load32(p, False) == 0 and load32(p + 4, False) == 4:
        m.phase = IN_COMMAND
        f.encoding = IMPLICIT
        return GO
    found = sniff(m.rules, p)
    if told & ENCODING_UNREGISTERED:
        if found != 0:
            return _fault(m, NOT_EXPLICIT, m.pos, 0)
        f.encoding = 0
    elif told & ENCODING_UNKNOWN:
        if found < 0:
            return _fault(m, NOT_DICOM, m.pos, 0)
        f.encoding = found
    else:
        if found >= 0 and (found & BIG) != (told & BIG):
            return _fault(m, BYTE_ORDER, m.pos, 0)
        explicit = vr_of(p[4], p[5]) != 0
        if told & IMPLICIT and explicit:
            f.encoding = told & BIG
        elif not told & IMPLICIT and not (is_letter(p[4]) and is_letter(p[5])):
            f.encoding = told | IMPLICIT
        if f.encoding != told:
            m.notes[ENCODING_DIFFERS] += 1
    return GO


# -- data elements ---------------------------------------------------------------------------

cdef int _element(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """A data element header (PS3.5 section 7.1) and what follows from it."""
    cdef Element *e = &m.e
    cdef bint big
    cdef uint32_t tag
    cdef int status
    if m.pos + 8 > f.bound:
        return _fault(m, OVERRUN, m.pos, f.tag)
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
                return _want(m, 12, left, eof)
            e.length = load32(p + 8, big)
            e.header_length = 12
        else:
            e.length = load16(p + 6, big)
            e.header_length = 8
    return _body(m, f, p, left, eof)


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
        return _fault(m, NO_DATA_SET, m.pos, 0)
    m.e.tag = 0
    return machine_cut(m, m.pos + left)


cdef int _at_top(Machine *m, Frame *f, const uint8_t *p, uint32_t tag) noexcept nogil:
    """What only the top-level data set knows: where group 0002 and 0000 end, where the bytes after
    the last element begin, and the scout's barrier."""
    cdef uint8_t vr
    if m.phase == IN_META:
        if tag >> 16 != 2:
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
    if m.scout and tag > m.barrier:
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
            return _close(m, f, 8)
        if m.depth == 0 or m.pos + 8 == f.bound:
            m.notes[STRAY_DELIMITER] += 1
            m.pos += 8
            return GO
    elif tag == SEQUENCE_END and length == 0 and m.depth == 0:
        m.notes[STRAY_DELIMITER] += 1
        m.pos += 8
        return GO
    elif (tag == SEQUENCE_END and length == 0 or tag == ITEM) and m.depth and f.undefined:
        return _close(m, f, 0)      # the item's own delimiter is missing
    return _fault(m, BAD_DELIMITER, m.pos, tag)


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
    if left < 12 and not eof:
        return _want(m, 12, left, eof)
    headers[0], headers[1], headers[2] = 8, 12, 8
    lengths[0] = load16(p + 6, big)
    lengths[1] = load32(p + 8, big) if left >= 12 else UNDEFINED
    lengths[2] = load32(p + 4, big)
    for i in range(forms):
        end = headers[i] + lengths[i]
        if lengths[i] > FORM_LIMIT or m.pos + end > f.bound:
            continue
        if m.pos + end < f.bound and end + 8 > need:
            need = end + 8
    if left < need and not eof:
        return _want(m, need, left, eof)
    for i in range(forms):
        end = headers[i] + lengths[i]
        if lengths[i] > FORM_LIMIT or m.pos + end > f.bound or end > left:
            continue
        if (m.pos + end == f.bound or (eof and end == left)
                or follows(m.rules, p + end, left - end, e.tag, f.encoding)):
            right += 1
            chosen = i
    if right != 1:
        return _fault(m, UNKNOWN_FORM, m.pos, e.tag)
    m.notes[UNKNOWN_VR] += 1
    e.length = lengths[chosen]
    e.header_length = headers[chosen]
    if chosen == 2:                     # an implicit element in an explicit data set
        e.vr = VR_NONE
        return _body(m, f, p, left, eof)
    e.known = VR_NONE
    e.means = UN
    e.value = e.header + e.header_length
    e.action = ZERO
    return _leaf(m, f, p, left, eof)


cdef int _note_order(Machine *m, Frame *f) noexcept nogil:
    """Tags that others depend on must stand once and in their place (PS3.5 section 7.1: ascending
    order); anything else may stand where it likes, every occurrence is treated alike."""
    cdef uint32_t tag = m.e.tag
    cdef uint32_t element = tag & 0xFFFF
    if tag > f.last_tag:
        if tag == PATIENT_ID and m.depth == 0 and f.last_tag > m.barrier:
            return _fault(m, MISPLACED, m.pos, tag)
        f.last_tag = tag
    elif (tag == CHARACTER_SET or (tag == PATIENT_ID and m.depth == 0)
            or (tag >> 16 & 1 and 0x10 <= element <= 0xFF)):
        return _fault(m, MISPLACED, m.pos, tag)
    return GO


cdef int _body(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """The value of the element whose header is in m.e: a sequence, fragments or a leaf."""
    cdef Element *e = &m.e
    cdef int encoding
    e.value = e.header + e.header_length
    if e.value + (0 if e.length == UNDEFINED else e.length) > f.bound:
        return _fault(m, OVERRUN, m.pos, e.tag)
    _decide(m, f, e)
    if e.vr == SQ or (e.vr == VR_NONE and e.known == SQ and not e.tag >> 16 & 1):
        if _note_order(m, f) != GO:
            return STOPPED
        return _open_sequence(m, f, f.encoding, SNIFF_IMPLICIT)
    if e.length == UNDEFINED:
        if e.means == OB or e.means == OW:
            return _open_fragments(m, f, p, left, eof)
        if e.vr != UN and (e.vr != VR_NONE or not (e.tag >> 16 & 1 or e.known == VR_NONE)):
            return _fault(m, BAD_UNDEFINED, m.pos, e.tag)
        if left < <size_t>e.header_length + 4:
            return _want(m, e.header_length + 4, left, eof)
        if _note_order(m, f) != GO:
            return STOPPED
        # CP-246: implicit VR little endian inside, but writers differ
        encoding = IMPLICIT
        if load16(p + e.header_length, True) == 0xFFFE:
            encoding |= BIG
        return _open_sequence(m, f, encoding, SNIFF_EITHER)
    if (e.means == UN or e.means == SQ) and e.vr != SQ and (e.vr == UN or e.vr == VR_NONE):
        return _perhaps_items(m, f, p, left, eof)
    return _leaf(m, f, p, left, eof)


cdef void _decide(Machine *m, Frame *f, Element *e) noexcept nogil:
    """The rule of the element at hand: its action, and the VR that its value is treated by."""
    cdef const Rule *r
    cdef uint32_t group = e.tag >> 16
    cdef uint8_t by_vr
    cdef bint listed = True
    if group & 1:
        r = private_rule_of(m.rules, _creator(m, f, e.tag), e.tag)
    else:
        r = rule_of(m.rules, e.tag)
        listed = r.vr != VR_NONE
    e.known = r.vr
    e.action = r.veiled if f.veiled else r.action
    e.arg = r.arg
    if e.tag & 0xFFFF == 0 and not group & 1:   # a group length, PS3.5 section 7.2
        e.known = UL
        e.action = KEEP if e.length == 4 and (e.vr == VR_NONE or e.vr == UL) else BLANK
    elif group == 4 and not m.directory:
        e.action = BLANK
    elif m.audio and e.tag == WAVEFORM_DATA:
        e.action = BLANK
    e.means = e.known if e.vr == VR_NONE or e.vr == UN else e.vr
    if e.means == VR_NONE:
        e.means = UN
    if e.action == KEEP:
        by_vr = m.rules.by_vr[e.means]
        if by_vr == KEEP:
            by_vr = m.rules.by_vr[e.known]
        e.action = by_vr
        if e.known == SQ and e.means != SQ:     # a sequence that hides in another VR
            e.action = BLANK
    # a public tag that the dictionary does not have may be a newer sequence: its items are
    # decided one by one
    e.veils = f.veiled or (listed and e.action != KEEP and e.action != UID)


# -- private blocks --------------------------------------------------------------------------

cdef uint16_t _creator(Machine *m, Frame *f, uint32_t tag) noexcept nogil:
    """The id of the known private creator that reserved the tag's block in this data set. The
    blocks of one data set ascend, since a misplaced creator is refused."""
    cdef uint32_t key = (tag >> 16) << 8 | (tag >> 8 & 0xFF)
    cdef uint32_t low = f.blocks, high = m.n_blocks, middle
    while low < high:
        middle = (low + high) >> 1
        if m.blocks[middle].key < key:
            low = middle + 1
        else:
            high = middle
    if low < m.n_blocks and m.blocks[low].key == key:
        return m.blocks[low].creator
    return 0


cdef int _reserve_block(Machine *m, Element *e, const uint8_t *value) noexcept nogil:
    """A private creator: remembered, and kept where it is a known one (without it the block's
    elements would change their VR for readers of implicit VR)."""
    cdef Block *b = &m.blocks[m.n_blocks]
    if m.n_blocks == BLOCK_LIMIT:
        return _fault(m, TOO_MANY_BLOCKS, m.pos, e.tag)
    m.n_blocks += 1
    b.key = (e.tag >> 16) << 8 | (e.tag & 0xFF)
    b.creator = creator_of(m.rules, value, e.length)
    e.means = LO
    e.action = KEEP if b.creator else BLANK
    return GO


# -- leaves ----------------------------------------------------------------------------------

cdef int _leaf(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """A value that holds no items."""
    cdef Element *e = &m.e
    cdef size_t whole = e.header_length + <size_t>e.length
    cdef size_t need
    cdef uint32_t element = e.tag & 0xFFFF
    cdef bint creator = (e.tag >> 16 & 1 and 0x10 <= element <= 0xFF and e.length <= CREATOR_LIMIT
                         and e.action != ZERO
                         and (e.vr == UN or e.vr == VR_NONE or vr_flags(e.vr) & VR_TEXT))
    cdef uint8_t action = e.action
    if action == KEEP and e.means == UI:
        action = CHECK_UID
    if action == UID and e.means != UI:
        action = BLANK              # a UID where none belongs
    if action == DUMMY and e.means == UI:
        action = UID
    if action == DOCUMENT and (e.length == 0 or vr_flags(e.means) & VR_TEXT):
        action = DUMMY
    # the bytes that must be seen before anything is done
    need = e.header_length
    if (creator or (f.veiled and e.length <= 16)
            or (e.length <= WHOLE_LIMIT and (action != KEEP or vr_flags(e.means) & VR_TEXT))):
        need = whole
    elif action == UID or action == CHECK_UID:
        if e.length > UID_LIMIT:
            return _fault(m, TOO_LONG, m.pos, e.tag)
        need = whole
    elif action == DOCUMENT:
        need = e.header_length + DOCUMENT_HEAD
    if left < need:
        return _want(m, need, left, eof)
    if _note_order(m, f) != GO:
        return STOPPED
    if creator:
        if _reserve_block(m, e, p + e.header_length) != GO:
            return STOPPED
        action = e.action
    if m.depth == 0 and e.tag <= PATIENT_ID:
        _watch(m, e)
    elif f.veiled and e.tag >> 16 == 0x28:
        _see_image(f, e, p + e.header_length)
    m.elements += 1
    m.pos = e.value
    m.done = 0
    if e.length == 0:
        if action == DUMMY or action == DOCUMENT:
            m.notes[EMPTY_DUMMY] += 1
    elif action == KEEP:
        m.state = IN_TEXT if vr_flags(e.means) & VR_TEXT else IN_SKIP
        if left >= whole:           # the common case without another turn
            if m.state == IN_SKIP:
                m.pos += e.length
                _after_value(m)
            else:
                _text(m, p + e.header_length, e.length)
    elif left >= whole:
        _value_op(m, e, action, 0, e.length)
        m.pos += e.length
        if action == DOCUMENT and not m.scout:
            return OPS
    else:
        e.action = action
        m.state = IN_VALUE
    return GO


cdef inline void _after_value(Machine *m) noexcept nogil:
    m.state = AT_ELEMENT
    if m.depth == 0 and FLOAT_PIXELS <= m.e.tag <= PIXEL_DATA:
        m.past_pixels = True


cdef void _watch(Machine *m, Element *e) noexcept nogil:
    if e.tag == PATIENT_ID:
        _see(&m.patient_id, e)
    elif e.tag == PATIENT_NAME:
        _see(&m.patient_name, e)
    elif e.tag == SOP_INSTANCE:
        _see(&m.sop_instance, e)
    elif e.tag == SOP_CLASS:
        _see(&m.sop_class, e)
    elif e.tag == MEDIA_CLASS and m.phase == IN_META:
        _see(&m.media_class, e)
    elif e.tag == TRANSFER_SYNTAX and m.phase == IN_META:
        _see(&m.syntax, e)


cdef void _see_image(Frame *f, Element *e, const uint8_t *value) noexcept nogil:
    """Image pixel attributes of an item, for a blank code stream of the same geometry."""
    cdef uint16_t v
    cdef uint32_t i, element = e.tag & 0xFFFF
    if e.tag == FRAMES:
        f.image.frames = 0
        for i in range(e.length if e.length <= 16 else 0):
            if 48 <= value[i] <= 57 and f.image.frames < 100000000:
                f.image.frames = f.image.frames * 10 + (value[i] - 48)
        return
    if e.length != 2 or e.means != US:
        return
    v = load16(value, f.encoding & BIG)
    if element == 0x0002:
        f.image.samples = v
    elif element == 0x0010:
        f.image.rows = v
    elif element == 0x0011:
        f.image.columns = v
    elif element == 0x0100:
        f.image.allocated = v
    elif element == 0x0101:
        f.image.stored = v


cdef int _rest_of_value(Machine *m, size_t left, bint eof) noexcept nogil:
    """One more piece of a value that is rewritten without being seen whole."""
    cdef Element *e = &m.e
    cdef uint32_t piece = e.length - m.done
    if piece == 0:
        _after_value(m)
        return GO
    if left == 0:
        return _want(m, 1, left, eof)
    if piece > left:
        piece = left
    _value_op(m, e, e.action, m.done, piece)
    m.done += piece
    m.pos += piece
    if e.action == DOCUMENT and m.done == piece and not m.scout:
        return OPS                  # its blank is chosen by the first piece
    return GO


cdef void _text(Machine *m, const uint8_t *text, uint32_t n) noexcept nogil:
    """n more bytes of a kept text. What stands after a NUL is shown by some readers and not by
    others, so it goes."""
    cdef Element *e = &m.e
    cdef const uint8_t *nul = <const uint8_t *>memchr(text, 0, n)
    cdef uint32_t at, i
    if nul != NULL:
        at = nul - text
        for i in range(at, n):
            if text[i] != 0:
                break
        else:
            i = n
        if i < n:
            m.notes[TEXT_WIPED] += 1
            m.counts[WIPE] += 1
            _value_op(m, e, WIPE, m.done + at, n - at)
        if m.done + n < e.length:   # all the rest is after the NUL
            e.action = WIPE
            m.state = IN_VALUE
            m.done += n
            m.pos += n
            return
    m.done += n
    m.pos += n
    if m.done == e.length:
        _after_value(m)


cdef int _rest_of_text(Machine *m, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    cdef uint32_t piece = m.e.length - m.done
    if left == 0:
        return _want(m, 1, left, eof)
    _text(m, p, piece if piece < left else left)
    return GO


cdef int _rest_of_skip(Machine *m, size_t left, bint eof) noexcept nogil:
    """The rest of a bulk value passes unread: inside the window at once, beyond it as a skip."""
    cdef uint64_t end = m.e.value + m.e.length
    cdef uint64_t rest = end - m.pos
    if rest <= left:
        m.pos = end
        _after_value(m)
        return GO
    if eof:
        return machine_cut(m, m.pos + left)
    m.pos += left
    if m.scout or rest - left < SKIP_LEAST:
        m.need = 1 if m.scout else rest - left
        return MORE
    m.skip = rest - left
    m.pos = end
    _after_value(m)
    return SKIP


# -- sequences -------------------------------------------------------------------------------

cdef int _open_sequence(Machine *m, Frame *f, uint8_t encoding, uint8_t sniffing) noexcept nogil:
    """PS3.5 section 7.5."""
    cdef Element *e = &m.e
    cdef Op *op = _op(m, SEQUENCE_OPEN)
    cdef Frame *new = _push(m, SEQUENCE, encoding, e.veils, e.tag, e.length, e.value)
    if new == NULL:
        return STOPPED
    op.header = e.header
    op.offset = e.value
    op.tag = e.tag
    op.total = e.length
    op.header_length = e.header_length
    op.vr = SQ
    op.action = e.action
    op.encoding = f.encoding
    new.sniff = sniffing
    m.elements += 1
    m.pos = e.value
    return GO


cdef int _perhaps_items(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """A value of defined length that may be a sequence although its VR does not say so."""
    cdef Element *e = &m.e
    cdef int encoding
    cdef size_t need = e.header_length + <size_t>e.length
    if e.length == 0:
        return _leaf(m, f, p, left, eof)
    if e.length >= 8:
        if left < <size_t>e.header_length + 4:
            return _want(m, e.header_length + 4, left, eof)
        if starts_item(p + e.header_length):
            if e.length > TRIAL_LIMIT:
                # too long to hold: it is walked, and where it does not hold together the file is
                # refused
                if _note_order(m, f) != GO:
                    return STOPPED
                return _open_sequence(m, f, IMPLICIT | (BIG if p[e.header_length] == 0xFF else 0),
                                      SNIFF_EITHER)
            if left < need:
                return _want(m, need, left, eof)
            encoding = tiles(p + e.header_length, e.length, f.encoding)
            if encoding >= 0:
                if _note_order(m, f) != GO:
                    return STOPPED
                return _open_sequence(m, f, encoding, SNIFF_NOTHING)
    if e.known == SQ:
        return _fault(m, NOT_ITEMS, m.pos, e.tag)
    return _leaf(m, f, p, left, eof)


cdef int _item(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """An item or the end of a sequence of items."""
    cdef uint32_t tag, length
    cdef Frame *new
    cdef Op *op
    cdef uint8_t sniffing = f.sniff
    if m.pos + 8 > f.bound:
        return _fault(m, OVERRUN, m.pos, f.tag)
    if left < 8:
        m.e.tag = f.tag
        return _want(m, 8, left, eof)
    tag = load_tag(p, f.encoding & BIG)
    length = load32(p + 4, f.encoding & BIG)
    if tag == ITEM:
        if length != UNDEFINED and m.pos + 8 + length > f.bound:
            return _fault(m, OVERRUN, m.pos, f.tag)
        f.items += 1
        new = _push(m, DATA_SET, f.encoding, f.veiled, f.tag, length, m.pos + 8)
        if new == NULL:
            return STOPPED
        new.sniff = sniffing
        op = _op(m, ITEM_OPEN)
        op.header = m.pos
        op.offset = m.pos + 8
        op.tag = f.tag
        op.total = length
        op.header_length = 8
        op.encoding = f.encoding
        m.pos += 8
        return GO
    if tag == SEQUENCE_END and length == 0:
        if f.undefined:
            return _close(m, f, 8)
        m.notes[STRAY_DELIMITER] += 1
        m.pos += 8
        return GO
    if tag == ITEM_END and length == 0:
        m.notes[STRAY_DELIMITER] += 1
        m.pos += 8
        return GO
    return _fault(m, EXPECTED_ITEM, m.pos, f.tag)


# -- encapsulated pixel data -----------------------------------------------------------------

cdef int _open_fragments(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """PS3.5 section A.4: items without elements, then a sequence delimiter."""
    cdef Element *e = &m.e
    cdef uint64_t value = e.value
    cdef size_t length = 0
    cdef int status
    if e.tag == PIXEL_DATA and f.veiled:
        status = _measure_fragments(m, f, p + e.header_length, left - e.header_length, eof, &length)
        if status != GO:
            return status
        if _note_order(m, f) != GO:
            return STOPPED
        e.length = length
        _value_op(m, e, PIXELS, 0, length)
        m.elements += 1
        m.pos = value + length
        return GO
    if _note_order(m, f) != GO:
        return STOPPED
    m.elements += 1
    m.pos = value
    if _push(m, FRAGMENTS, f.encoding, e.action != KEEP, e.tag, UNDEFINED, value) == NULL:
        return STOPPED
    return GO


cdef int _measure_fragments(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof,
                            size_t *length) noexcept nogil:
    """The length of all fragments with their headers, once all are in the window."""
    cdef size_t i = 0, header = m.e.header_length
    cdef uint32_t tag, n
    while True:
        if i > PIXELS_LIMIT:
            return _fault(m, ICON_TOO_LONG, m.pos, m.e.tag)
        if left < i + 8:
            return _want(m, header + i + 8, header + left, eof)
        tag = load_tag(p + i, f.encoding & BIG)
        n = load32(p + i + 4, f.encoding & BIG)
        if tag == SEQUENCE_END and n == 0:
            length[0] = i + 8
            break
        if tag != ITEM or n == UNDEFINED:
            return _fault(m, BAD_FRAGMENT, m.e.value + i, m.e.tag)
        i += 8 + <size_t>n
    if m.e.value + length[0] > f.bound:
        return _fault(m, OVERRUN, m.pos, m.e.tag)
    return GO


cdef int _fragment(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    cdef Element *e = &m.e
    cdef uint32_t tag, length
    if m.pos + 8 > f.bound:
        return _fault(m, OVERRUN, m.pos, f.tag)
    if left < 8:
        e.tag = f.tag
        return _want(m, 8, left, eof)
    tag = load_tag(p, f.encoding & BIG)
    length = load32(p + 4, f.encoding & BIG)
    if tag == SEQUENCE_END and length == 0:
        return _close(m, f, 8)
    if tag != ITEM or length == UNDEFINED:
        return _fault(m, BAD_FRAGMENT, m.pos, f.tag)
    if m.pos + 8 + length > f.bound:
        return _fault(m, OVERRUN, m.pos, f.tag)
    f.items += 1
    e.tag = f.tag
    e.header = m.pos
    e.value = m.pos + 8
    e.length = length
    e.header_length = 8
    e.means = OB
    e.action = BLANK if f.veiled else KEEP
    m.pos += 8
    m.done = 0
    if length:
        m.state = IN_VALUE if f.veiled else IN_SKIP
    return GO


# -- the end ---------------------------------------------------------------------------------

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
            return _fault(m, BAD_TAIL, m.pos + i, 0)
        m.notes[TAIL_ZEROED] = 1
        m.counts[ZERO] += 1
        op = _op(m, TAIL)
        op.header = op.offset = m.pos
        op.length = left
        op.vr = OB
        op.action = ZERO
    m.pos += left
    if eof:
        m.state = AT_END
        return DONE
    m.need = 1
    return MORE
