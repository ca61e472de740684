"""Decimal digits: of UIDs out of a number of 512 bits, in whole numbers of 64 and 128 bits."""
from libc.stdint cimport uint8_t, uint64_t

from dcmveil.wire cimport load64

cdef extern from *:
    """
    typedef unsigned __int128 dv_u128;
    """
    # Cython takes it for shorter than it is: with another type it has to meet in no division, and
    # in nothing of which the compiler makes a temporary value.
    ctypedef unsigned long long u128 "dv_u128"
    uint64_t bswap64 "__builtin_bswap64"(uint64_t) noexcept nogil

cdef enum:
    UID_BYTES = 64      # the longest UID (PS3.5 section 9.1)
    NUMBER_DIGITS = 20  # of the largest 64 bit integer
    LIMBS = 8           # of 64 bits
    UUID_DIGITS = 39    # of the largest 128 bit integer
    PART = 18           # digits that are written together
    BEHIND_PART = 1_000_000_000_000_000_000


cdef struct Divisor:    # for the numbers of so many digits
    u128 least          # of them; 0: not computed yet
    u128 count          # how many there are
    u128 shifted        # the same, up to where the highest bit is set
    int shift
    uint64_t inverse    # (2^192 - 1) / shifted, without its highest bit, 2^64


cdef inline char *put_number(char *to, uint64_t number, int digits) noexcept nogil:
    """In decimal, with at least so many digits; where it ends."""
    cdef char backwards[NUMBER_DIGITS]
    cdef int i, n = 0
    while number or n < digits:
        backwards[n] = 48 + number % 10
        number //= 10
        n += 1
    for i in range(n):
        to[i] = backwards[n - 1 - i]
    return to + n


cdef inline bint is_uid(const char *text, Py_ssize_t n) noexcept nogil:
    """Digits and dots, and no more of them than a UID has. Of what components: not looked at."""
    cdef Py_ssize_t i
    for i in range(n):
        if not (b"0" <= text[i] <= b"9" or text[i] == b"."):
            return False
    return n <= UID_BYTES


cdef inline void write_suffix(Divisor *table, const uint8_t *digest, int room,
                              char *to) noexcept nogil:
    """Components of exactly `room` bytes, 1 to 60: numbers whose first digit is not 0.

    The digest is a number of 64 bytes, big endian. What it leaves, divided by how many numbers there
    are of the wanted digits, says which of them it is; of what the first one leaves comes the next.
    An integer under 2.25. is a UUID, so none has more digits than 2^128 (PS3.5 section B.2). The
    table has room for UUID_DIGITS, and is filled as it is needed.
    """
    cdef uint64_t source[LIMBS]
    cdef int i, digits
    for i in range(LIMBS):
        source[LIMBS - 1 - i] = bswap64(load64(digest + 8 * i))
    if room > UUID_DIGITS:
        # A dot needs a digit after it, so one byte more than the first component holds takes two.
        digits = UUID_DIGITS - 1 if room == UUID_DIGITS + 1 else UUID_DIGITS
        write_number(draw(table, source, digits), digits, to)
        to[digits] = 46     # a dot
        to += digits + 1
        room -= digits + 1
    write_number(draw(table, source, room), room, to)


cdef inline u128 draw(Divisor *table, uint64_t *source, int digits) noexcept nogil:
    """A number of so many digits. The source becomes its quotient."""
    cdef Divisor *by = table + (digits - 1)
    if by.least == 0:
        prepare(by, digits)
    return by.least + divide(source, by)


cdef inline void prepare(Divisor *by, int digits) noexcept nogil:
    cdef u128 rest
    cdef bint over
    cdef int i
    by.least = 1
    for i in range(1, digits):
        by.least *= 10
    by.count = 9 * by.least if digits < UUID_DIGITS else -by.least     # 2^128 less the least
    by.shifted = by.count
    by.shift = 0
    while not by.shifted >> 127:
        by.shifted <<= 1
        by.shift += 1
    # 2^192 - 1 less 2^64 times the divisor, divided bit by bit
    rest = ~by.shifted
    by.inverse = 0
    for i in range(64):
        over = <bint>(rest >> 127)
        rest = rest << 1 | 1
        over = over or rest >= by.shifted
        if over:
            rest -= by.shifted
        by.inverse = by.inverse << 1 | over


cdef inline u128 divide(uint64_t *source, const Divisor *by) noexcept nogil:
    """What is left of the source (its low limb is the first), which becomes the quotient."""
    cdef uint64_t shifted[LIMBS + 2]
    cdef int i, words = by.shift >> 6, bits = by.shift & 63
    cdef u128 rest
    for i in range(LIMBS + 2):
        shifted[i] = 0
    for i in range(LIMBS):
        shifted[i + words] |= source[i] << bits
        shifted[i + words + 1] = source[i] >> 1 >> (63 - bits)     # 64 at once are not defined
    rest = <u128>shifted[LIMBS + 1] << 64 | shifted[LIMBS]
    for i in range(LIMBS - 1, -1, -1):
        source[i] = divide_once(&rest, shifted[i], by)
    return rest >> by.shift


cdef inline uint64_t divide_once(u128 *rest, uint64_t low, const Divisor *by) noexcept nogil:
    """2^64 times the rest, and `low`, divided: the quotient, and what is left. The rest is less than
    the divisor. (N. Möller, T. Granlund: Improved division by invariant integers, algorithm 5)"""
    cdef uint64_t high = <uint64_t>(rest[0] >> 64), middle = <uint64_t>rest[0]
    cdef uint64_t divisor_high = <uint64_t>(by.shifted >> 64)
    cdef uint64_t divisor_low = <uint64_t>by.shifted
    cdef u128 estimate = <u128>by.inverse * high + rest[0]
    cdef uint64_t quotient = <uint64_t>(estimate >> 64)
    cdef u128 left = <u128>(middle - quotient * divisor_high) << 64 | low
    left -= <u128>divisor_low * quotient
    left -= by.shifted
    quotient += 1
    if <uint64_t>(left >> 64) >= <uint64_t>estimate:
        quotient -= 1
        left += by.shifted
    if left >= by.shifted:
        quotient += 1
        left -= by.shifted
    rest[0] = left
    return quotient


cdef inline void write_number(u128 number, int digits, char *to) noexcept nogil:
    """A number of exactly so many digits."""
    cdef u128 before, behind = BEHIND_PART
    while digits > PART:
        before = number / behind
        digits -= PART
        write_part(<uint64_t>(number - before * behind), PART, to + digits)
        number = before
    write_part(<uint64_t>number, digits, to)


cdef inline void write_part(uint64_t number, int digits, char *to) noexcept nogil:
    cdef uint64_t before
    cdef unsigned int pair
    while digits > 1:
        before = number / 100
        pair = <unsigned int>(number - 100 * before)
        digits -= 2
        to[digits] = <char>(48 + pair / 10)
        to[digits + 1] = <char>(48 + pair % 10)
        number = before
    if digits:
        to[0] = <char>(48 + number)
