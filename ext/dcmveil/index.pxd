"""Numbers found by a key of 64 bits, by open addressing. Memory grows with what is in it."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free


cdef struct Index:      # all zero: an empty one
    uint64_t *keys      # 0 is free
    uint32_t *numbers
    uint32_t mask
    uint32_t n


cdef inline uint32_t spread(uint64_t key, uint32_t mask) noexcept nogil:
    return <uint32_t>((key * 0x9E3779B97F4A7C15ULL) >> 32) & mask


cdef inline uint32_t index_place(const Index *index, uint64_t key) noexcept nogil:
    """Where a key stands, or would; there must be some room."""
    cdef uint32_t i = spread(key, index.mask)
    while index.keys[i] and index.keys[i] != key:
        i = (i + 1) & index.mask
    return i


cdef inline uint32_t index_get(const Index *index, uint64_t key) noexcept nogil:
    """The number of a key, 0: it has none."""
    return index.numbers[index_place(index, key)] if index.n else 0


cdef inline int index_reserve(Index *index, uint32_t n) noexcept:
    """Room for n keys in all, half of it free. -1: no memory, and nothing changed."""
    cdef Index larger
    cdef uint32_t i, j, size = 64
    if n < 1 << 30 and (index.mask + 1) // 2 > n:
        return 0
    while size < 1 << 31 and size // 2 <= n:
        size *= 2
    larger.mask, larger.n = size - 1, index.n
    larger.keys = <uint64_t *>calloc(size, sizeof(uint64_t))
    larger.numbers = <uint32_t *>calloc(size, sizeof(uint32_t))
    if larger.keys == NULL or larger.numbers == NULL:
        free(larger.keys)
        free(larger.numbers)
        return -1
    for i in range(index.mask + 1 if index.mask else 0):
        if index.keys[i]:
            j = index_place(&larger, index.keys[i])
            larger.keys[j], larger.numbers[j] = index.keys[i], index.numbers[i]
    index_free(index)
    index[0] = larger
    return 0


cdef inline int index_put(Index *index, uint64_t key, uint32_t number) noexcept:
    """Give a key (not 0) a number (not 0). -1: no memory, and nothing changed."""
    cdef uint32_t i
    if index_reserve(index, index.n + 1) < 0:
        return -1
    i = index_place(index, key)
    index.n += index.keys[i] == 0
    index.keys[i], index.numbers[i] = key, number
    return 0


cdef inline void index_free(Index *index) noexcept:
    free(index.keys)
    free(index.numbers)
    index.keys, index.numbers, index.mask, index.n = NULL, NULL, 0, 0
