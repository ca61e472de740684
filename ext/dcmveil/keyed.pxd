"""What the compiled faces may use of keyed.pyx without Python."""

cdef struct Text:       # a value field, or a part of one
    const char *start
    Py_ssize_t length


cdef class Digests:
    cdef object copy
    cdef object update
    cdef object digest

    cdef bytes of(self, bytes text)


cdef struct UidCounts:      # see UidMapper
    Py_ssize_t short_
    Py_ssize_t vanished
    Py_ssize_t foreign


cdef class UidMapper:
    cdef bytes key
    cdef Digests digests
    cdef frozenset registered
    cdef bytes prefix               # the root and its dot
    cdef Py_ssize_t limit
    # whole value fields, most of them of one value, in which there was nothing to count
    cdef readonly dict new
    cdef readonly dict kept
    cdef readonly dict noted        # single values with something to count: (new, what)
    cdef UidCounts counts

    cdef UidCounts take(self) noexcept
    cdef Py_ssize_t counted(self) noexcept
    cdef bytes _map(self, bytes old)
    cdef bytes _map_new(self, bytes old, int *notes)
    cdef Py_ssize_t _replace(self, bytes uid, char *to, int *notes) except -1
    cdef bytes _keep(self, bytes old)
    cdef bytes _treat_field(self, dict fields, bytes old, bint keep)
    cdef int _put(self, dict cache, bytes old, known) except -1


cdef class RunMark:
    cdef bytes head                 # of every mark: what it is, and the MAC of the profile
    cdef Digests digests

    cdef int write(self, char *preamble, const Text *values) except -1


cdef inline dict named(const UidCounts *counts):
    return {"short": counts.short_, "vanished": counts.vanished, "foreign": counts.foreign}
