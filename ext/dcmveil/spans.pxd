"""Spans of bytes between the core and Python."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_DecodeLatin1
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t
from libc.string cimport memchr, memcmp, memcpy, memset

from dcmveil.state cimport Geometry, Machine, Op, Span
from dcmveil.wire cimport load64

cdef extern from *:
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    int clz "__builtin_clzll"(uint64_t) noexcept nogil


cdef enum:      # bytes compared at a time: changes stand close together, and what is kept is long
    NEAR = 64
    FAR = 1024


cdef inline object tag_text(uint32_t tag):
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


cdef inline bytes bytes_of(const uint8_t *window, const Machine *m, const Op *op, uint32_t most):
    return PyBytes_FromStringAndSize(<const char *>window + (op.offset - m.base),
                                     min(op.length, most))


cdef inline bytes span_in(const char *window, uint64_t base, uint64_t end, const Span *span):
    if not span.seen or span.offset < base or span.offset + span.length > end:
        return b""
    return PyBytes_FromStringAndSize(window + (span.offset - base), span.length)


cdef inline tuple spans_in(const char *window, uint64_t base, uint64_t end, const Span *s):
    """The spans of a machine, in the order of SPANS in core.pyx, out of a window that stands at
    `base` and is filled up to `end`."""
    return (span_in(window, base, end, s), span_in(window, base, end, s + 1),
            span_in(window, base, end, s + 2), span_in(window, base, end, s + 3),
            span_in(window, base, end, s + 4), span_in(window, base, end, s + 5),
            span_in(window, base, end, s + 6), span_in(window, base, end, s + 7),
            span_in(window, base, end, s + 8))


cdef inline bint _is_space(char c) noexcept:
    return c == 32 or 9 <= c <= 13


cdef inline str text_in(const char *window, uint64_t base, uint64_t end, const Span *span,
                        str before=None):
    """Without padding and what follows a NUL; `before` itself, where it is that text."""
    cdef const char *first
    cdef const char *last
    if not span.seen or span.offset < base or span.offset + span.length > end:
        return None
    first = window + (span.offset - base)
    last = <const char *>memchr(first, 0, span.length)
    if last == NULL:
        last = first + span.length
    while first < last and _is_space(first[0]):
        first += 1
    while first < last and _is_space((last - 1)[0]):
        last -= 1
    if (before is not None and PyUnicode_IS_COMPACT_ASCII(before)
            and len(before) == last - first
            and memcmp(PyUnicode_DATA(before), first, last - first) == 0):
        return before
    return PyUnicode_DecodeLatin1(first, last - first, NULL)


cdef inline tuple texts_in(const char *window, const Machine *m, size_t filled):
    """In the order of TEXTS in core.pyx. Past a skip the position is behind the window."""
    cdef uint64_t end = min(m.pos, m.base + filled)
    return (text_in(window, m.base, end, &m.patient_id),
            text_in(window, m.base, end, &m.study_instance),
            text_in(window, m.base, end, &m.series_instance),
            text_in(window, m.base, end, &m.sop_instance))


cdef inline tuple geometry_of(const Machine *m):
    """(rows, columns, samples, bits allocated, bits stored, frames) of the item at hand, whose pixel
    data is asked for before it is left; 0 for what did not stand."""
    cdef const Geometry *i = &m.stack[m.depth].image
    return i.rows, i.columns, i.samples, i.allocated, i.stored, i.frames


cdef inline int write_document(const Op *op, uint8_t *span, bytes head, uint8_t fill,
                               bytes tail) except -1:
    """The part of head, fill and tail that falls on this span."""
    cdef uint64_t i, tail_at = op.total - len(tail)
    cdef uint64_t n = len(head), start = op.done, end = start + op.length
    memset(span, fill, op.length)
    if start < n:
        memcpy(span, <const char *>head + start, min(end, n) - start)
    if end > tail_at:
        i = max(start, tail_at)
        memcpy(span + (i - start), <const char *>tail + (i - tail_at), end - i)
    return 0


cdef inline list differing(const uint8_t *a, const uint8_t *b, size_t n, size_t gap):
    """The spans (start, end) in which n bytes differ; those with fewer than `gap` equal bytes
    between them are one."""
    cdef size_t start, end = 0
    spans = []
    while next_difference(a, b, n, gap, &start, &end):
        spans.append((start, end))
    return spans


cdef inline bint next_difference(const uint8_t *a, const uint8_t *b, size_t n, size_t gap,
                                 size_t *start, size_t *end) noexcept nogil:
    """The next of these spans behind *end. Whether there is one."""
    cdef size_t i = end[0], last, step, far = 0
    while n - i >= FAR and memcmp(a + i, b + i, FAR) == 0:
        i += FAR
    while n - i >= NEAR and memcmp(a + i, b + i, NEAR) == 0:
        i += NEAR
    while n - i >= 8 and load64(a + i) == load64(b + i):
        i += 8
    while i < n and a[i] == b[i]:
        i += 1
    if i == n:
        return False
    start[0] = i
    last = i        # the last byte that is known to differ
    i += 1
    while i < n and i - last <= gap:
        # whichever of these differ, they are of the span
        step = min(n - i, gap - (i - last) + 1)
        if i - last > NEAR and far != last:
            far = last      # asked once, and only where nothing has differed for a while
            if memcmp(a + i, b + i, step) == 0:
                break
        step = min(step, <size_t>NEAR)
        if memcmp(a + i, b + i, step) != 0:
            last = last_difference(a, b, i, i + step)
        i += step
    end[0] = last + 1
    return True


cdef inline size_t last_difference(const uint8_t *a, const uint8_t *b, size_t start,
                                   size_t end) noexcept nogil:
    """In these bytes, which are not equal."""
    cdef uint64_t x
    while end - start >= 8:
        x = load64(a + end - 8) ^ load64(b + end - 8)
        if x:
            return end - 1 - (clz(x) >> 3)
        end -= 8
    while a[end - 1] == b[end - 1]:
        end -= 1
    return end - 1
