"""The last UIDs that were written, by the tags they stood under.

Most UIDs of a file are those of the file before it: of its study, its series, its class. A dict has
them too, for an object and a hash each.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

cdef enum:
    RECENT_BITS = 5
    RECENT_COUNT = 1 << RECENT_BITS     # an MR file has ten tags with UIDs
    RECENT_BYTES = 64                   # the longest UID (PS3.5 section 9.1)

cdef struct Recent:         # a value field
    uint8_t length          # 0: none yet
    uint8_t action
    uint8_t old[RECENT_BYTES]
    uint8_t new[RECENT_BYTES]


cdef inline Recent *recent_under(Recent *all_of_them, uint32_t tag) noexcept nogil:
    """The place of a tag, which it may share with others."""
    return &all_of_them[<uint32_t>(tag * <uint32_t>0x9E3779B1) >> (32 - RECENT_BITS)]


cdef inline bint write_recent(const Recent *one, uint8_t action, uint8_t *field,
                              uint32_t length) noexcept nogil:
    """Whether the field held that one's old bytes, and has its new ones now."""
    if (one.length != length or one.action != action or length == 0
            or memcmp(one.old, field, length) != 0):
        return False
    memcpy(field, one.new, length)
    return True


cdef inline void keep_recent(Recent *one, uint8_t action, const uint8_t *old, const uint8_t *new,
                             uint32_t length) noexcept nogil:
    if length > RECENT_BYTES:
        return
    one.length = length
    one.action = action
    memcpy(one.old, old, length)
    memcpy(one.new, new, length)
