"""Where sequences and items begin and end between plain elements, without a turn of the machine.

PS3.5 section 7.5. As in plain.pxd, what is not as it should be is left for content.pyx and
machine.pyx, which can read all: a length that reaches too far, a stray delimiter or one that is
missing, the limit of depth, another encoding, and what the caller is told of (the records of a
DICOMDIR, the place of (0008,0300)). They open and close such frames as well, and either way leaves
the same frames, so each goes on where the other stopped.

The frame at hand is the one that is written to; m.depth is behind until plain.pxd brings it up.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dcmveil.state cimport (DATA_SET, DEPTH_LIMIT, IMPLICIT, SEQUENCE, SNIFF_IMPLICIT, UNDEFINED,
                            Frame, Machine, new_frame)
from dcmveil.tags cimport CHARACTERISTICS, ITEM, ITEM_END, SEQUENCE_END
from dcmveil.wire cimport load32


cdef inline const uint8_t *end_in(const Frame *f, const uint8_t *stop,
                                  uint64_t here) noexcept nogil:
    """The end of what the frame bounds, or of the window where that comes first. here: of an
    address in the window, its absolute offset."""
    if f.bound < here + <uint64_t>stop:
        return <const uint8_t *>(f.bound - here)
    return stop


cdef inline Frame *plain_sequence(Machine *m, Frame *f, const uint8_t **at, const uint8_t *end,
                                  uint64_t here, uint32_t tag, bint veiled,
                                  const bint implicit) noexcept nogil:
    """Open the sequence whose header stands there. The frame on top then; the same one where the
    machine has to look at it."""
    cdef const uint8_t *p = at[0]
    cdef uint32_t length, header = 8 if implicit else 12
    if end - p < header or f == &m.stack[2 * DEPTH_LIMIT]:
        return f
    length = load32(p + header - 4, False)
    p += header
    if length != UNDEFINED and length > f.bound - (here + <uint64_t>p):
        return f
    if tag > f.last_tag:
        f.last_tag = tag
    f.fresh = False
    m.elements += 1
    at[0] = p
    f = new_frame(m, f, SEQUENCE, f.encoding, veiled, tag, length, here + <uint64_t>p)
    f.sniff = SNIFF_IMPLICIT
    return f


cdef inline Frame *plain_items(Machine *m, Frame *f, const uint8_t **at, const uint8_t *stop,
                               uint64_t here, const bint implicit) noexcept nogil:
    """Open items, and close items and sequences, up to where a data element may stand. The frame on
    top."""
    cdef uint8_t encoding = IMPLICIT if implicit else 0
    cdef const uint8_t *p = at[0]
    cdef const uint8_t *end
    cdef uint32_t tag, length
    cdef Frame *new
    while f.encoding == encoding:
        end = end_in(f, stop, here)
        if end - p < 8:
            # the end of a defined length
            if here + <uint64_t>p != f.bound or f.undefined or _is_told(f):
                break
            f = _close(m, f)
            continue
        tag = load32(p, False)
        length = load32(p + 4, False)
        if f.kind == SEQUENCE:
            if tag == ITEM << 16 | ITEM >> 16:
                # there is room: the last frame of the stack is never a sequence
                if (length != UNDEFINED and length > f.bound - (here + <uint64_t>p) - 8
                        or m.directory):
                    break
                f.items += 1
                new = new_frame(m, f, DATA_SET, encoding, f.veiled, f.tag, length,
                                here + <uint64_t>p + 8)
                new.sniff = f.sniff
                new.scope = f.scope
                f = new
                p += 8
                break
            if tag != (SEQUENCE_END << 16 | SEQUENCE_END >> 16):
                break
        elif tag != (ITEM_END << 16 | ITEM_END >> 16) or f.kind != DATA_SET:
            break
        if length or not f.undefined or _is_told(f):
            break
        f = _close(m, f)
        p += 8
    at[0] = p
    return f


cdef inline bint _is_told(const Frame *f) noexcept nogil:
    """Whether the caller is told where this frame ends."""
    return f.record or f.tag == CHARACTERISTICS


cdef inline Frame *_close(Machine *m, Frame *f) noexcept nogil:
    m.n_blocks = f.blocks
    return f - 1
