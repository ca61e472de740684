"""What each value representation is: PS3.5 section 6.2 and Table 7.1-1.

A VR is a small number here, VR_NONE for "none of the 34". Two tables answer everything: one from
the two letters to the number, one from the number to its properties.
"""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:      # VR
    VR_NONE = 0
    AE, AS, AT, CS, DA, DS, DT, FD, FL, IS, LO, LT, OB, OD, OF, OL, OV, OW, PN
    SH, SL, SQ, SS, ST, SV, TM, UC, UI, UL, UN, UR, US, UT, UV
    VR_COUNT

cdef enum:
    VR_LONG = 1     # explicit header has 12 bytes: two reserved, a 4-byte length (PS3.5 7.1.2)
    VR_TEXT = 2     # characters, padded with spaces
    VR_PLAIN = 4    # default character repertoire, so that a backslash byte is always a delimiter

cdef extern from *:
    """
    #include <stdint.h>
    #define DV_AT(a, b) [(a - 'A') * 26 + (b - 'A')]
    static const uint8_t dv_vr_by_letters[26 * 26] = {
        DV_AT('A','E') = 1,  DV_AT('A','S') = 2,  DV_AT('A','T') = 3,  DV_AT('C','S') = 4,
        DV_AT('D','A') = 5,  DV_AT('D','S') = 6,  DV_AT('D','T') = 7,  DV_AT('F','D') = 8,
        DV_AT('F','L') = 9,  DV_AT('I','S') = 10, DV_AT('L','O') = 11, DV_AT('L','T') = 12,
        DV_AT('O','B') = 13, DV_AT('O','D') = 14, DV_AT('O','F') = 15, DV_AT('O','L') = 16,
        DV_AT('O','V') = 17, DV_AT('O','W') = 18, DV_AT('P','N') = 19, DV_AT('S','H') = 20,
        DV_AT('S','L') = 21, DV_AT('S','Q') = 22, DV_AT('S','S') = 23, DV_AT('S','T') = 24,
        DV_AT('S','V') = 25, DV_AT('T','M') = 26, DV_AT('U','C') = 27, DV_AT('U','I') = 28,
        DV_AT('U','L') = 29, DV_AT('U','N') = 30, DV_AT('U','R') = 31, DV_AT('U','S') = 32,
        DV_AT('U','T') = 33, DV_AT('U','V') = 34,
    };
    /* 1: long header, 2: text, 4: default repertoire; index as in the enum */
    static const uint8_t dv_vr_flags[35] = {
        0,
        /*AE*/ 6, /*AS*/ 6, /*AT*/ 0, /*CS*/ 6, /*DA*/ 6, /*DS*/ 6, /*DT*/ 6, /*FD*/ 0, /*FL*/ 0,
        /*IS*/ 6, /*LO*/ 2, /*LT*/ 2, /*OB*/ 1, /*OD*/ 1, /*OF*/ 1, /*OL*/ 1, /*OV*/ 1, /*OW*/ 1,
        /*PN*/ 2, /*SH*/ 2, /*SL*/ 0, /*SQ*/ 1, /*SS*/ 0, /*ST*/ 2, /*SV*/ 1, /*TM*/ 6, /*UC*/ 3,
        /*UI*/ 4, /*UL*/ 0, /*UN*/ 1, /*UR*/ 3, /*US*/ 0, /*UT*/ 3, /*UV*/ 1,
    };
    /* both in one load: the letters as a little endian number, and the flags above them */
    #define DV_VR(a, b, flags) (a | b << 8 | flags << 16)
    static const uint32_t dv_vr_shapes[35] = {
        0,
        DV_VR('A','E',6), DV_VR('A','S',6), DV_VR('A','T',0), DV_VR('C','S',6), DV_VR('D','A',6),
        DV_VR('D','S',6), DV_VR('D','T',6), DV_VR('F','D',0), DV_VR('F','L',0), DV_VR('I','S',6),
        DV_VR('L','O',2), DV_VR('L','T',2), DV_VR('O','B',1), DV_VR('O','D',1), DV_VR('O','F',1),
        DV_VR('O','L',1), DV_VR('O','V',1), DV_VR('O','W',1), DV_VR('P','N',2), DV_VR('S','H',2),
        DV_VR('S','L',0), DV_VR('S','Q',1), DV_VR('S','S',0), DV_VR('S','T',2), DV_VR('S','V',1),
        DV_VR('T','M',6), DV_VR('U','C',3), DV_VR('U','I',4), DV_VR('U','L',0), DV_VR('U','N',1),
        DV_VR('U','R',3), DV_VR('U','S',0), DV_VR('U','T',3), DV_VR('U','V',1),
    };
    """
    const uint8_t dv_vr_by_letters[676]
    const uint8_t dv_vr_flags[35]
    const uint32_t dv_vr_shapes[35]


cdef inline bint is_letter(uint8_t c) noexcept nogil:
    return 65 <= c <= 90


cdef inline uint8_t vr_of(uint8_t a, uint8_t b) noexcept nogil:
    """The VR of two bytes, VR_NONE when they name none of the 34."""
    cdef unsigned int i = <unsigned int>(a - 65), j = <unsigned int>(b - 65)
    if i >= 26 or j >= 26:
        return 0
    return dv_vr_by_letters[i * 26 + j]


cdef inline uint32_t vr_shape(uint8_t vr) noexcept nogil:
    """The letters in the low half, as load16 reads them; the flags in the high half."""
    return dv_vr_shapes[vr]


cdef inline uint8_t vr_flags(uint8_t vr) noexcept nogil:
    return dv_vr_flags[vr]
