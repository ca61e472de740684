"""Loads from the encoded bytes, in both byte orders, at any alignment.

PS3.5 section 7.3 (byte ordering). Everything here is inline: a call costs what the load costs.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "dcmveil reads little endian hosts only: add a swap in wire.pxd"
    #endif
    """
    uint16_t bswap16 "__builtin_bswap16"(uint16_t) noexcept nogil
    uint32_t bswap32 "__builtin_bswap32"(uint32_t) noexcept nogil


cdef inline uint16_t load16(const uint8_t *p, bint big) noexcept nogil:
    cdef uint16_t v
    memcpy(&v, p, 2)
    return bswap16(v) if big else v


cdef inline uint32_t load32(const uint8_t *p, bint big) noexcept nogil:
    cdef uint32_t v
    memcpy(&v, p, 4)
    return bswap32(v) if big else v


cdef inline uint64_t load64(const uint8_t *p) noexcept nogil:
    """Eight bytes, little endian."""
    cdef uint64_t v
    memcpy(&v, p, 8)
    return v


cdef inline uint32_t load_tag(const uint8_t *p, bint big) noexcept nogil:
    """(gggg,eeee) as one number: group in the high half, so tags compare in file order."""
    return (<uint32_t>load16(p, big) << 16) | load16(p + 2, big)
