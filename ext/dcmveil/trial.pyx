"""Questions that the grammar leaves open, answered by looking ahead without moving.

Does a value tile into items? In which encoding is a data set that nobody described? Does a legal
header stand here?
"""
from libc.stdint cimport uint8_t, uint32_t

from dcmveil.state cimport BIG, IMPLICIT, UNDEFINED
from dcmveil.rules cimport RuleTable, rule_of
from dcmveil.tags cimport ITEM, ITEM_END, PIXEL_DATA, SEQUENCE_END
from dcmveil.vr cimport SQ, UL, VR_LONG, vr_flags, vr_of
from dcmveil.wire cimport load16, load32, load_tag

cdef enum:
    ITEMS
    ELEMENTS
    FRAGMENTS

cdef enum:
    LEVELS = 64     # undefined lengths nested in one trial; deeper does not tile


cdef bint starts_item(const uint8_t *p) noexcept nogil:
    """Whether an item tag stands here, in either byte order."""
    return load_tag(p, False) == ITEM or load_tag(p, True) == ITEM


cdef int _header(const uint8_t *p, size_t n, int encoding, uint32_t *length) noexcept nogil:
    """Length of the data element header at p, 0 when none fits."""
    cdef uint8_t vr
    cdef bint big = encoding & BIG
    if encoding & IMPLICIT:
        length[0] = load32(p + 4, big)
        return 8
    vr = vr_of(p[4], p[5])
    if vr == 0:
        return 0
    if not vr_flags(vr) & VR_LONG:
        length[0] = load16(p + 6, big)
        return 8
    if n < 12:
        return 0
    length[0] = load32(p + 8, big)
    return 12


cdef bint _tiles_as(const uint8_t *p, size_t n, int encoding) noexcept nogil:
    """Whether items fill the n bytes exactly. Values of defined length are jumped over, so the
    time is that of the headers on this level."""
    cdef size_t ends[2 * LEVELS + 2]
    cdef uint8_t holds[2 * LEVELS + 2]      # items, elements or fragments
    cdef int depth = 0, header
    cdef size_t i = 0, end
    cdef uint32_t tag, length
    cdef bint pixels, big = encoding & BIG
    ends[0] = n
    holds[0] = ITEMS
    while True:
        end = ends[depth]
        if i == end or (i == n and end == <size_t>-1):
            if end == <size_t>-1:
                return False        # a delimiter is missing
            if depth == 0:
                return True
            depth -= 1
            continue
        if n - i < 8:
            return False
        tag = load_tag(p + i, big)
        length = load32(p + i + 4, big)
        header = 8
        if tag == SEQUENCE_END or tag == ITEM_END:
            if length or end != <size_t>-1 or (holds[depth] == ELEMENTS) == (tag == SEQUENCE_END):
                return False
            i += 8
            depth -= 1
            continue
        if (tag == ITEM) != (holds[depth] != ELEMENTS):
            return False
        pixels = tag == PIXEL_DATA or (not encoding & IMPLICIT and p[i + 4] == c'O')
        if tag != ITEM:
            header = _header(p + i, n - i, encoding, &length)
            if header == 0:
                return False
        i += header
        if holds[depth] == FRAGMENTS:
            if length > n - i:
                return False
            i += length
        elif length == UNDEFINED or tag == ITEM:
            if depth == 2 * LEVELS:
                return False
            if length != UNDEFINED and (length > n - i or (end != <size_t>-1 and length > end - i)):
                return False
            depth += 1
            ends[depth] = <size_t>-1 if length == UNDEFINED else i + length
            holds[depth] = ELEMENTS if tag == ITEM else FRAGMENTS if pixels else ITEMS
        elif length > n - i or (end != <size_t>-1 and length > end - i):
            return False
        else:
            i += length


cdef int tiles(const uint8_t *p, size_t n, int outer) noexcept nogil:
    """The encoding in which the value of n bytes is a sequence, -1 when it is none. Implicit VR
    comes first (CP-246), then explicit, then the encoding outside."""
    if _tiles_as(p, n, IMPLICIT):
        return IMPLICIT
    if _tiles_as(p, n, 0):
        return 0
    if outer & BIG and _tiles_as(p, n, outer):
        return outer
    return -1


cdef bint _is_known(const RuleTable *t, uint32_t tag) noexcept nogil:
    return rule_of(t, tag).vr != 0


cdef bint known_in(const RuleTable *t, const uint8_t *p, bint big) noexcept nogil:
    """Whether an explicit header stands here in this byte order, of a tag in the dictionary or a
    group length."""
    cdef uint32_t tag = load_tag(p, big)
    cdef uint8_t vr = vr_of(p[4], p[5])
    return vr != 0 and (_is_known(t, tag)
                        or (tag & 0x1FFFF == 0 and vr == UL and load16(p + 6, big) == 4))


cdef int sniff(const RuleTable *t, const uint8_t *p) noexcept nogil:
    """The encoding of a data set from the 8 bytes of its first header, -1 when they are none: the
    tag must be in the dictionary, or a group length."""
    cdef uint32_t tag = load_tag(p, False)
    cdef bint little, big
    if vr_of(p[4], p[5]):
        little, big = known_in(t, p, False), known_in(t, p, True)
        if little and big:      # a data set begins with a low group
            return BIG if load_tag(p, True) < tag else 0
        if little or big:
            return BIG if big else 0
    if tag & 0x1FFFF == 0 and tag >> 16 <= 0x7FE0:
        return IMPLICIT if load32(p + 4, False) == 4 else -1
    if not _is_known(t, tag):
        return -1
    if rule_of(t, tag).vr == SQ or load32(p + 4, False) < 0x10000:
        return IMPLICIT
    return -1


cdef bint follows(const RuleTable *t, const uint8_t *p, size_t n, uint32_t after,
                  int encoding) noexcept nogil:
    """Whether a legal header stands at p that may come after the tag `after`: a delimiter, or a
    greater tag that is private or in the dictionary, with a VR of the 34 where VR is explicit."""
    cdef bint big = encoding & BIG
    cdef uint32_t tag
    if n < 8:
        return False
    tag = load_tag(p, big)
    if tag == ITEM_END or tag == SEQUENCE_END or tag == ITEM:
        return True
    if tag <= after or not (tag >> 16 & 1 or tag & 0xFFFF == 0 or _is_known(t, tag)):
        return False
    return encoding & IMPLICIT or vr_of(p[4], p[5]) != 0
