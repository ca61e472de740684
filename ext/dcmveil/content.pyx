"""What follows a data element's header: a value, a sequence of items, or fragments.

PS3.5 sections 6.2 (values), 7.5 (sequences), 7.8 (private blocks) and A.4 (encapsulated pixel
data). The laws are those of machine.pyx.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t
from libc.string cimport memchr

from dcmveil.plain cimport plain_elements
from dcmveil.rules cimport (BLANK, BY_ROW, CHECK_UID, DOCUMENT, DUMMY, HASH, KEEP, PIXELS, SHIFT, UID,
                            WIPE, ZERO, ZERO_TIME, Rule, ScopeRule, creator_hash, creator_of,
                            private_rule_of, rule_of, scope_rule_of)
from dcmveil.state cimport *
from dcmveil.tags cimport (CHARACTERISTICS, DIRECTORY_RECORDS, FILE_ID, FLOAT_PIXELS, FRAMES, ITEM,
                           ITEM_END, MEDIA_CLASS, MEDIA_INSTANCE, META_VERSION, PATIENT_ID,
                           PATIENT_NAME, PIXEL_DATA, SEQUENCE_END, SERIES_INSTANCE, SOP_CLASS, SOP_INSTANCE,
                           STUDY_INSTANCE, TRANSFER_SYNTAX, WAVEFORM_DATA)
from dcmveil.trial cimport starts_item, tiles
from dcmveil.vr cimport CS, DA, DT, LO, OB, OW, SQ, TM, UI, UL, UN, US, VR_NONE, VR_TEXT, vr_flags
from dcmveil.wire cimport load16, load32, load_tag


cdef void read_plain(Machine *m, const uint8_t *window, size_t n) noexcept nogil:
    """See plain.pxd."""
    if m.stack[m.depth].encoding & IMPLICIT:        # two loops, each with less to ask
        plain_elements(m, window, n, True)
    else:
        plain_elements(m, window, n, False)


# -- the rule of an element -------------------------------------------------------------------------

cdef void _decide(Machine *m, Frame *f, Element *e) noexcept nogil:
    """The rule of the element at hand: its action, and the VR that its value is treated by."""
    cdef const Rule *r
    cdef uint32_t group = e.tag >> 16
    cdef uint8_t by_vr
    cdef bint listed = True
    if group & 1:
        r = private_rule_of(m.rules, creator_of_block(m, f, e.tag), e.tag)
    else:
        r = rule_of(m.rules, e.tag)
        listed = r.vr != VR_NONE
    e.known = r.vr
    e.action = r.veiled if f.veiled else r.action
    e.arg = r.veiled_arg if f.veiled else r.arg
    e.scope = 0
    if m.rules.scope_mask:
        _apply_place(m, f, e)
    if e.tag & 0xFFFF == 0 and not group & 1:   # a group length, PS3.5 section 7.2
        e.known = UL
        e.action = KEEP if e.length == 4 and (e.vr == VR_NONE or e.vr == UL) else BLANK
    elif group == 4:
        if not m.directory:
            e.action = BLANK
        elif (e.tag == FILE_ID and m.keep_file_ids and f.record and not f.veiled
                and (e.vr == CS or e.vr == UN or e.vr == VR_NONE)):
            e.action = KEEP
            e.arg = BY_ROW
    elif e.tag == META_VERSION and e.length != 2:
        e.action = BLANK
    elif m.audio and e.tag == WAVEFORM_DATA:
        e.action = BLANK
    e.means = e.known if e.vr == VR_NONE or e.vr == UN else e.vr
    if e.means == VR_NONE:
        e.means = UN
    if group & 1 and not f.veiled and e.action != KEEP and _is_safe(m, f, e.tag):
        e.action = KEEP
        e.arg = BY_ROW
    if e.action == KEEP and e.arg != BY_ROW:
        by_vr = m.rules.by_vr[e.means]
        if by_vr == KEEP:
            by_vr = m.rules.by_vr[e.known]
        e.action = by_vr
    if e.action == KEEP and e.known == SQ and e.means != SQ:
        e.action = BLANK                        # a sequence that hides in another VR
    elif (e.action == KEEP and e.means != SQ
            and (e.known == UI or vr_flags(e.known) & VR_TEXT > vr_flags(e.means) & VR_TEXT)):
        e.means = e.known       # a UID or a text is looked at as one, whatever its VR says
    # a public tag that the dictionary does not have may be a newer sequence: its items are
    # decided one by one
    if group & 1 and m.rules.walk_private:
        listed = False
    e.veils = f.veiled or (listed and e.action != KEEP and e.action != UID)


cdef void _apply_place(Machine *m, Frame *f, Element *e) noexcept nogil:
    """Rules for a tag in one place of the tree, and the scope of its own items."""
    cdef const ScopeRule *place = scope_rule_of(m.rules, f.scope, e.tag)
    if place == NULL and f.scope:
        place = scope_rule_of(m.rules, 0, e.tag)
    if place != NULL:
        e.scope = place.next
        if place.has_rule and not f.veiled:
            e.action = place.rule.action
            e.arg = place.rule.arg


# -- private blocks ---------------------------------------------------------------------------------

cdef bint _is_safe(Machine *m, Frame *f, uint32_t tag) noexcept nogil:
    """Whether the file itself declares this private element safe (PS3.15 section E.3.10)."""
    cdef const Block *b
    if m.n_safe == 0 or tag & 0xFFFF <= 0xFF:
        return False
    b = block_of(m, f, tag)
    return (b != NULL and b.safe
            and m.safe[b.safe - 1].elements[(tag & 0xFF) >> 3] >> (tag & 7) & 1)


cdef int _reserve_block(Machine *m, Element *e, const uint8_t *value) noexcept nogil:
    """A private creator: remembered, and kept where it is a known one (without it the block's
    elements would change their VR for readers of implicit VR)."""
    cdef Block *b = &m.blocks[m.n_blocks]
    cdef uint32_t i
    if m.n_blocks == BLOCK_LIMIT:
        return fail(m, TOO_MANY_BLOCKS, m.pos, e.tag)
    m.n_blocks += 1
    b.key = (e.tag >> 16) << 8 | (e.tag & 0xFF)
    b.creator = creator_of(m.rules, value, e.length)
    b.safe = 0
    for i in range(m.n_safe):
        if (m.safe[i].group == e.tag >> 16
                and m.safe[i].creator == creator_hash(value, e.length)):
            b.safe = i + 1
    e.means = LO
    # where private attributes stay by default, an orphaned one would mean nothing
    e.action = KEEP if b.creator or b.safe or m.rules.private_default.action == KEEP else BLANK
    return GO


# -- values -----------------------------------------------------------------------------------------

cdef int read_body(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """The value of the element whose header is in m.e: a sequence, fragments or a leaf."""
    cdef Element *e = &m.e
    cdef int encoding
    e.value = e.header + e.header_length
    if e.value + (0 if e.length == UNDEFINED else e.length) > f.bound:
        return fail(m, OVERRUN, m.pos, e.tag)
    _decide(m, f, e)
    if e.vr == SQ or (e.vr == VR_NONE and e.known == SQ and not e.tag >> 16 & 1):
        if note_order(m, f) != GO:
            return STOPPED
        return _open_sequence(m, f, f.encoding, SNIFF_IMPLICIT)
    if e.length == UNDEFINED:
        # only pixel data is encapsulated (PS3.5 section A.4): some readers see items of elements in
        # any other value of undefined length, and in UN always (CP-246)
        if (e.means == OB or e.means == OW) and e.vr != UN:
            if e.tag != PIXEL_DATA and e.action == KEEP:
                e.action = BLANK
            return _open_fragments(m, f, p, left, eof)
        if e.vr != UN and (e.vr != VR_NONE or not (e.tag >> 16 & 1 or e.known == VR_NONE)):
            return fail(m, BAD_UNDEFINED, m.pos, e.tag)
        if left < <size_t>e.header_length + 4:
            return want(m, e.header_length + 4, left, eof)
        if note_order(m, f) != GO:
            return STOPPED
        # CP-246: implicit VR little endian inside, but writers differ
        encoding = IMPLICIT
        if load16(p + e.header_length, True) == 0xFFFE:
            encoding |= BIG
        return _open_sequence(m, f, encoding, SNIFF_EITHER)
    if (e.means == UN or e.means == SQ) and e.vr != SQ and (e.vr == UN or e.vr == VR_NONE):
        return _perhaps_items(m, f, p, left, eof)
    return read_leaf(m, f, p, left, eof)


cdef int read_leaf(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
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
    if SHIFT <= action <= HASH and not _suits(action, e):
        action = BLANK
    if action == DOCUMENT and (e.length == 0 or vr_flags(e.means) & VR_TEXT):
        action = DUMMY
    # the bytes that must be seen before anything is done
    need = e.header_length
    if (creator or (f.veiled and e.length <= 16)
            or (e.length <= WHOLE_LIMIT and (action != KEEP or vr_flags(e.means) & VR_TEXT))):
        need = whole
    elif action == UID or action == CHECK_UID:
        if e.length > UID_LIMIT:
            return fail(m, TOO_LONG, m.pos, e.tag)
        need = whole
    elif action == DOCUMENT:
        need = e.header_length + DOCUMENT_HEAD
    if left < need:
        return want(m, need, left, eof)
    if note_order(m, f) != GO:
        return STOPPED
    if creator:
        if _reserve_block(m, e, p + e.header_length) != GO:
            return STOPPED
        action = e.action
    if m.depth == 0 and FLOAT_PIXELS <= e.tag <= PIXEL_DATA:
        m.past_pixels = True
    if m.depth == 0 and e.tag <= SERIES_INSTANCE:
        _watch(m, e)
    elif f.veiled and e.tag >> 16 == 0x28:
        _see_image(f, e, p + e.header_length)
    elif f.record:
        watch_record(&m.record, e)
    m.elements += 1
    if m.trace and (action == KEEP or e.length == 0):
        need = left - e.header_length
        value_op(m, e, KEEP, 0, need if need < e.length else e.length)
    m.pos = e.value
    m.done = 0
    m.wipe_noted = False
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
        value_op(m, e, action, 0, e.length)
        m.pos += e.length
        if action == DOCUMENT and not m.scout:
            return OPS
    else:
        e.action = action
        m.state = IN_VALUE
    return GO


cdef inline bint _suits(uint8_t action, Element *e) noexcept nogil:
    """Whether a keyed action can write into this VR, and into a value that is seen whole."""
    if e.length > WHOLE_LIMIT:
        return False
    if action <= ZERO_TIME:
        return e.means == DA or e.means == DT or e.means == TM
    return vr_flags(e.means) & VR_TEXT != 0


cdef inline void _after_value(Machine *m) noexcept nogil:
    m.state = AT_ELEMENT


cdef void _watch(Machine *m, Element *e) noexcept nogil:
    """Values that the caller asks for; those that others depend on must stand before the barrier."""
    if e.tag == STUDY_INSTANCE:
        see(&m.study_instance, e)
    elif e.tag == SERIES_INSTANCE:
        see(&m.series_instance, e)
    elif m.past_barrier:
        return
    elif e.tag == PATIENT_ID:
        see(&m.patient_id, e)
    elif e.tag == PATIENT_NAME:
        see(&m.patient_name, e)
    elif e.tag == SOP_INSTANCE:
        see(&m.sop_instance, e)
    elif e.tag == SOP_CLASS:
        see(&m.sop_class, e)
    elif m.phase == IN_META:
        if e.tag == MEDIA_CLASS:
            see(&m.media_class, e)
        elif e.tag == MEDIA_INSTANCE:
            see(&m.media_instance, e)
        elif e.tag == TRANSFER_SYNTAX:
            see(&m.syntax, e)


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


cdef int rest_of_value(Machine *m, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """One more piece of a value that is rewritten without being seen whole."""
    cdef Element *e = &m.e
    cdef uint32_t piece = e.length - m.done
    if piece == 0:
        _after_value(m)
        return GO
    if left == 0:
        return want(m, 1, left, eof)
    if piece > left:
        piece = left
    if e.action == WIPE:
        _note_wipe(m, p, piece)
    value_op(m, e, e.action, m.done, piece)
    m.done += piece
    m.pos += piece
    if e.action == DOCUMENT and m.done == piece and not m.scout:
        return OPS                  # its blank is chosen by the first piece
    return GO


cdef void _note_wipe(Machine *m, const uint8_t *text, uint32_t n) noexcept nogil:
    """Count a wiped text once, and only where there was something to wipe."""
    cdef uint32_t i
    if m.wipe_noted:
        return
    for i in range(n):
        if text[i] != 0:
            m.wipe_noted = True
            m.notes[TEXT_WIPED] += 1
            m.counts[WIPE] += 1
            return


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
            _note_wipe(m, text + i, n - i)
            value_op(m, e, WIPE, m.done + at, n - at)
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


cdef int rest_of_text(Machine *m, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    cdef uint32_t piece = m.e.length - m.done
    if left == 0:
        return want(m, 1, left, eof)
    _text(m, p, piece if piece < left else left)
    return GO


cdef int rest_of_skip(Machine *m, size_t left, bint eof) noexcept nogil:
    """The rest of a bulk value passes unread: inside the window at once, beyond it as a skip."""
    cdef uint64_t end = m.e.value + m.e.length
    cdef uint64_t rest = end - m.pos
    if rest <= left:
        m.pos = end
        _after_value(m)
        return GO
    if eof:
        return cut_at(m, m.pos + left)
    m.pos += left
    if m.scout or rest - left < SKIP_LEAST:
        m.need = 1 if m.scout else rest - left
        return MORE
    m.skip = rest - left
    m.pos = end
    _after_value(m)
    return SKIP


# -- sequences --------------------------------------------------------------------------------------

cdef int _open_sequence(Machine *m, Frame *f, uint8_t encoding, uint8_t sniffing) noexcept nogil:
    """PS3.5 section 7.5."""
    cdef Element *e = &m.e
    cdef Op *op
    cdef Frame *new = push_frame(m, SEQUENCE, encoding, e.veils, e.tag, e.length, e.value)
    if new == NULL:
        return STOPPED
    if m.trace:
        op = new_op(m, SEQUENCE_OPEN)
        op.offset = e.value
        op.tag = e.tag
        op.total = e.length
        op.header_length = e.header_length
        op.vr = SQ
        op.action = e.action
        op.encoding = f.encoding
        op.veiled = e.veils
    if e.tag == CHARACTERISTICS and m.depth == 1 and not m.characteristics.seen:
        m.characteristics.seen = True
        m.characteristics.offset = e.value
        m.characteristics_encoding = encoding
    new.sniff = sniffing
    new.scope = e.scope
    m.elements += 1
    m.pos = e.value
    return GO


cdef int _perhaps_items(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """A value of defined length that may be a sequence although its VR does not say so."""
    cdef Element *e = &m.e
    cdef int encoding
    cdef size_t need = e.header_length + <size_t>e.length
    if e.length == 0:
        return read_leaf(m, f, p, left, eof)
    if e.length >= 8:
        if left < <size_t>e.header_length + 4:
            return want(m, e.header_length + 4, left, eof)
        if starts_item(p + e.header_length):
            if e.length > TRIAL_LIMIT:
                # too long to hold: it is walked, and where it does not hold together the file is
                # refused
                if note_order(m, f) != GO:
                    return STOPPED
                return _open_sequence(m, f, IMPLICIT | (BIG if p[e.header_length] == 0xFF else 0),
                                      SNIFF_EITHER)
            if left < need:
                return want(m, need, left, eof)
            encoding = tiles(p + e.header_length, e.length, f.encoding)
            if encoding >= 0:
                if note_order(m, f) != GO:
                    return STOPPED
                return _open_sequence(m, f, encoding, SNIFF_NOTHING)
    if e.known == SQ:
        return fail(m, NOT_ITEMS, m.pos, e.tag)
    return read_leaf(m, f, p, left, eof)


cdef int read_item(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    """An item or the end of a sequence of items."""
    cdef uint32_t tag, length
    cdef Frame *new
    cdef Op *op
    cdef uint8_t sniffing = f.sniff, scope = f.scope
    if m.pos + 8 > f.bound:
        return fail(m, OVERRUN, m.pos, f.tag)
    if left < 8:
        m.e.tag = f.tag
        return want(m, 8, left, eof)
    tag = load_tag(p, f.encoding & BIG)
    length = load32(p + 4, f.encoding & BIG)
    if tag == ITEM:
        if length != UNDEFINED and m.pos + 8 + length > f.bound:
            return fail(m, OVERRUN, m.pos, f.tag)
        f.items += 1
        new = push_frame(m, DATA_SET, f.encoding, f.veiled, f.tag, length, m.pos + 8)
        if new == NULL:
            return STOPPED
        new.sniff = sniffing
        new.scope = scope
        if m.trace:
            op = new_op(m, ITEM_OPEN)
            op.offset = m.pos + 8
            op.tag = f.tag
            op.total = length
            op.header_length = 8
            op.encoding = f.encoding
        m.pos += 8
        if m.directory and f.tag == DIRECTORY_RECORDS and m.depth == 2:
            return open_record(m, new, m.pos - 8)
        return GO
    if tag == SEQUENCE_END and length == 0:
        if f.undefined:
            return close_frame(m, f, 8)
        m.notes[STRAY_DELIMITER] += 1
        m.pos += 8
        return GO
    if tag == ITEM_END and length == 0:
        m.notes[STRAY_DELIMITER] += 1
        m.pos += 8
        return GO
    return fail(m, EXPECTED_ITEM, m.pos, f.tag)


# -- encapsulated pixel data ------------------------------------------------------------------------

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
        if note_order(m, f) != GO:
            return STOPPED
        e.length = length
        value_op(m, e, PIXELS, 0, length)
        m.elements += 1
        m.pos = value + length
        return GO if m.scout else OPS   # now, so that a refusal has the path
    if note_order(m, f) != GO:
        return STOPPED
    if m.depth == 0 and e.tag == PIXEL_DATA:
        m.past_pixels = True
    m.elements += 1
    m.pos = value
    if push_frame(m, FRAGMENTS, f.encoding, e.action != KEEP, e.tag, UNDEFINED, value) == NULL:
        return STOPPED
    return GO


cdef int _measure_fragments(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof,
                            size_t *length) noexcept nogil:
    """The length of all fragments with their headers, once all are in the window."""
    cdef size_t i = m.measured if m.measured_at == m.pos else 0
    cdef size_t header = m.e.header_length
    cdef uint32_t tag, n
    while True:
        if i > PIXELS_LIMIT:
            return fail(m, ICON_TOO_LONG, m.pos, m.e.tag)
        if left < i + 8:
            m.measured_at, m.measured = m.pos, i    # not from the first one again
            return want(m, header + i + 8, header + left, eof)
        tag = load_tag(p + i, f.encoding & BIG)
        n = load32(p + i + 4, f.encoding & BIG)
        if tag == SEQUENCE_END and n == 0:
            length[0] = i + 8
            break
        if tag != ITEM or n == UNDEFINED:
            return fail(m, BAD_FRAGMENT, m.e.value + i, m.e.tag)
        i += 8 + <size_t>n
    if m.e.value + length[0] > f.bound:
        return fail(m, OVERRUN, m.pos, m.e.tag)
    return GO


cdef int read_fragment(Machine *m, Frame *f, const uint8_t *p, size_t left, bint eof) noexcept nogil:
    cdef Element *e = &m.e
    cdef uint32_t tag, length
    if m.pos + 8 > f.bound:
        return fail(m, OVERRUN, m.pos, f.tag)
    if left < 8:
        e.tag = f.tag
        return want(m, 8, left, eof)
    tag = load_tag(p, f.encoding & BIG)
    length = load32(p + 4, f.encoding & BIG)
    if tag == SEQUENCE_END and length == 0:
        return close_frame(m, f, 8)
    if tag != ITEM or length == UNDEFINED:
        return fail(m, BAD_FRAGMENT, m.pos, f.tag)
    if m.pos + 8 + length > f.bound:
        return fail(m, OVERRUN, m.pos, f.tag)
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
