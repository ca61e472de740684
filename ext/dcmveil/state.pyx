"""What every part of the grammar shares: faults, operations, and the frames of open sequences."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from dcmveil.rules cimport ZERO
from dcmveil.tags cimport (CHARACTER_SET, CHARACTERISTICS, FLOAT_PIXELS, LOWER_RECORD, MEDIA_CLASS,
                           NEXT_RECORD, PATIENT_ID, PATIENT_NAME, PIXEL_DATA, REFERENCED_INSTANCE,
                           SERIES_INSTANCE, SOP_CLASS, STUDY_INSTANCE, TRANSFER_SYNTAX)


cdef int fail(Machine *m, int fault, uint64_t offset, uint32_t tag) noexcept nogil:
    """Stop for good, for a reason of the Fault list."""
    m.state = FAILED
    m.fault = fault
    m.fault_offset = offset
    m.fault_tag = tag
    return STOPPED


cdef int want(Machine *m, size_t need, size_t left, bint eof) noexcept nogil:
    """More bytes are wanted from pos than the window has."""
    if eof:
        return cut_at(m, m.pos + left)
    m.need = need
    return MORE


cdef Op *new_op(Machine *m, uint8_t kind) noexcept nogil:
    """A new operation, scratch in a scout."""
    cdef Op *op = &m.ops[m.n_ops]
    memset(op, 0, sizeof(Op))
    op.kind = kind
    if not m.scout:
        m.n_ops += 1
    return op


cdef void see(Span *span, Element *e) noexcept nogil:
    if not span.seen:
        span.seen = True
        span.offset = e.value
        span.length = e.length


cdef int open_record(Machine *m, Frame *f, uint64_t start) noexcept nogil:
    """The item at `start`, now open in f, is a directory record."""
    f.record = True
    memset(&m.record, 0, sizeof(Record))
    m.record.start = start
    m.record.encoding = f.encoding
    return GO if m.scout else RECORD


cdef void watch_record(Record *r, Element *e) noexcept nogil:
    """What links a directory record, and what tells whose and which it is."""
    if e.tag == NEXT_RECORD:
        see(&r.next, e)
    elif e.tag == LOWER_RECORD:
        see(&r.lower, e)
    elif e.tag == REFERENCED_INSTANCE:
        see(&r.instance, e)
    elif e.tag == PATIENT_NAME:
        see(&r.patient_name, e)
    elif e.tag == PATIENT_ID:
        see(&r.patient_id, e)
    elif e.tag == STUDY_INSTANCE:
        see(&r.study_instance, e)
    elif e.tag == SERIES_INSTANCE:
        see(&r.series_instance, e)


cdef int cut_at(Machine *m, uint64_t offset) noexcept nogil:
    """The input ended at `offset`, inside a value or before something that must follow."""
    cdef Frame *f = &m.stack[m.depth]
    cdef bint pixels = (m.depth == 0 and FLOAT_PIXELS <= m.e.tag <= PIXEL_DATA
                        and (m.state == IN_SKIP or m.pos > offset)
                        or m.depth == 1 and f.kind == FRAGMENTS and f.tag == PIXEL_DATA)
    cdef Op *op
    if pixels and m.accept_cut_pixels:
        if m.state == AT_ELEMENT and offset > m.pos:    # the torn header of a fragment
            op = new_op(m, TAIL)
            op.offset = m.pos
            op.length = offset - m.pos
            op.action = ZERO
        m.notes[PIXELS_CUT] += 1
        m.state = AT_END
        m.pos = offset
        return DONE
    return fail(m, TRUNCATED, offset, m.e.tag)


cdef void value_op(Machine *m, Element *e, uint8_t action, uint32_t done, uint32_t length) noexcept nogil:
    cdef Op *op = new_op(m, VALUE)
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
    op.veiled = m.stack[m.depth].veiled
    if done == 0:
        m.counts[action] += 1


cdef Frame *push_frame(Machine *m, uint8_t kind, uint8_t encoding, uint8_t veiled, uint32_t tag,
                       uint32_t length, uint64_t start) noexcept nogil:
    """A frame on top, whose content begins at `start`. NULL when that is too deep."""
    if m.depth == 2 * DEPTH_LIMIT:
        fail(m, TOO_DEEP, start, tag)
        return NULL
    m.depth += 1
    return new_frame(m, &m.stack[m.depth - 1], kind, encoding, veiled, tag, length, start)


cdef int close_frame(Machine *m, Frame *f, uint8_t delimiter) noexcept nogil:
    """Close the top frame; `delimiter` bytes stand at pos for it (8, or 0)."""
    cdef Op *op
    if f.undefined and delimiter == 0:
        m.notes[MISSING_DELIMITER] += 1
    if m.trace and f.kind != FRAGMENTS:
        op = new_op(m, ITEM_CLOSE if f.kind == DATA_SET else SEQUENCE_CLOSE)
        op.offset = m.pos
        op.tag = f.tag
        op.header_length = delimiter
        op.total = UNDEFINED if f.undefined else 0
        op.encoding = f.encoding
    if (m.depth == 1 and f.tag == CHARACTERISTICS and f.kind == SEQUENCE
            and m.characteristics.length == 0):
        m.characteristics.length = m.pos - m.characteristics.offset
    m.n_blocks = f.blocks
    m.depth -= 1
    m.pos += delimiter
    if f.record:
        m.record.end = m.pos
        return RECORD
    return GO


cdef int note_order(Machine *m, Frame *f) noexcept nogil:
    """Tags that others depend on must stand once and in their place (PS3.5 section 7.1: ascending
    order); anything else may stand where it likes, every occurrence is treated alike."""
    cdef uint32_t tag = m.e.tag
    cdef uint32_t element = tag & 0xFFFF
    if tag > f.last_tag:
        if tag == PATIENT_ID and m.depth == 0 and f.last_tag > m.barrier:
            return fail(m, MISPLACED, m.pos, tag)
        f.last_tag = tag
    elif (tag == CHARACTER_SET or (tag >> 16 & 1 and 0x10 <= element <= 0xFF)
            or (tag == PATIENT_ID and f.record and m.record.patient_id.seen)
            or (m.depth == 0 and (tag == PATIENT_ID or tag == SOP_CLASS or (m.phase == IN_META
                and (tag == MEDIA_CLASS or tag == TRANSFER_SYNTAX))))):
        return fail(m, MISPLACED, m.pos, tag)
    return GO
