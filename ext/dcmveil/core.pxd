from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from dcmveil.recent cimport RECENT_COUNT, Recent
from dcmveil.rules cimport RuleTable
from dcmveil.state cimport Machine, Op

cdef class Rules:
    cdef RuleTable *table   # owned
    cdef readonly bint frozen


cdef class Rewriter:
    cdef Machine *machine   # owned
    cdef Rules rules        # keeps the table alive
    cdef object answer
    cdef dict new_uids      # value fields whose new bytes are known, or None
    cdef dict kept_uids
    cdef object map_uid     # what those become that are not, and are known from then on
    cdef object keep_uid
    cdef Recent recent[RECENT_COUNT]    # out of these dicts:
    cdef dict recent_new
    cdef dict recent_kept
    cdef list trace         # every value, as it was and as it is now; None: nobody asks
    cdef list path          # of the trace, one entry an open sequence or item
    cdef bytes head         # of the encapsulated document being written
    cdef bytes tail
    cdef uint8_t fill
    cdef object failure     # the exception that ended this input, raised again at every later call

    cdef int begin(self, answer, known, bint scout) except -1
    cdef int step_in(self, uint8_t *window, size_t filled, bint eof) except -1
    cdef int _apply(self, uint8_t *window) except -1
    cdef int _ask(self, uint8_t *window) except -1
    cdef bint _write_uid(self, Op *op, uint8_t *window) except -1
    cdef int _add_to_trace(self, uint8_t *window, list olds) except -1
    cdef object _path(self)
    cdef object _raise(self)
