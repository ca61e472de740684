"""Bulk from one file to another, with nearly nothing of the interpreter between its pieces.

On one processor the other end of a pipe runs between any two pieces, and whoever comes back to cold
caches pays for all that it touches.
"""
from cpython.buffer cimport (Py_buffer, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint64_t
from posix.stat cimport S_ISFIFO, fstat, struct_stat
from posix.unistd cimport read, write

import os

from dcmveil.faces.stream import NOTHING_TO_READ, TAKES_NO_MORE

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <unistd.h>
    /* As much as possible from one to the other inside the kernel. One of them is a pipe. */
    static ssize_t dcmveil_splice(int from, int to, size_t n) {
    #if defined(SPLICE_F_MOVE)
        return splice(from, NULL, to, NULL, n, 0);
    #else
        (void) from;
        (void) to;
        (void) n;
        errno = ENOSYS;
        return -1;
    #endif
    }
    /* A request: the user may have used up what he may have. */
    static void dcmveil_widen(int pipe, int n) {
    #if defined(F_SETPIPE_SZ)
        (void) fcntl(pipe, F_SETPIPE_SZ, n);
    #else
        (void) pipe;
        (void) n;
    #endif
    }
    """
    ssize_t dcmveil_splice(int source, int target, size_t n) nogil
    void dcmveil_widen(int pipe, int n) nogil

cdef enum:
    PIPE = 1 << 20  # bytes that a pipe is asked to hold: the most that a user may have on Linux

cdef enum Outcome:
    DONE            # all went by, or the input has ended
    LOOK            # there is more; a signal may have come
    NOT_READ
    NOT_WRITTEN


cdef class Passage:
    """The way from one descriptor to another: inside the kernel where it can (one of them is a
    pipe), else through the room of the caller."""
    cdef int source, target
    cdef bint splices
    cdef uint8_t *room
    cdef size_t size, got, put  # of the room: what was read, and what of it was written
    cdef uint64_t left
    cdef int error

    def __init__(self, int source, int target):
        cdef int file
        cdef struct_stat status
        self.source, self.target = source, target
        for file in (source, target):
            if fstat(file, &status) == 0 and S_ISFIFO(status.st_mode):
                self.splices = True
                dcmveil_widen(file, PIPE)

    def carry(self, uint64_t n, room) -> int:
        """Pass n bytes; how many went, fewer where the input has ended. Raises OSError."""
        cdef Py_buffer view
        cdef Outcome outcome = LOOK
        PyObject_GetBuffer(room, &view, PyBUF_WRITABLE)
        try:
            self.room, self.size = <uint8_t *>view.buf, view.len
            self.got = self.put = 0
            self.left = n
            while outcome == LOOK:
                with nogil:
                    outcome = self.go()
                PyErr_CheckSignals()
        finally:
            PyBuffer_Release(&view)
        if outcome != DONE:
            if self.error == EAGAIN:
                raise BlockingIOError(NOTHING_TO_READ if outcome == NOT_READ else TAKES_NO_MORE)
            raise OSError(self.error, os.strerror(self.error))
        return n - self.left

    cdef Outcome go(self) noexcept nogil:
        """One piece. A signal may come while a call does its work: it then says how much, the next
        one may wait for ever, and so the caller looks after each."""
        cdef ssize_t n
        if self.left == 0:
            return DONE
        if self.splices:
            n = dcmveil_splice(self.source, self.target, min(self.left, <uint64_t>PIPE))
            if n == 0:
                return DONE
            if n > 0:
                self.left -= n
            elif errno != EINTR:
                # an output that is appended to, or what reading and writing will say
                self.splices = False
            return LOOK
        if self.put == self.got:
            n = read(self.source, self.room, min(self.left, <uint64_t>self.size))
            if n < 0:
                return self.failed(NOT_READ)
            if n == 0:
                return DONE
            self.got, self.put = n, 0
        n = write(self.target, self.room + self.put, self.got - self.put)
        if n < 0:
            return self.failed(NOT_WRITTEN)
        self.put += n
        self.left -= n
        return LOOK

    cdef Outcome failed(self, Outcome what) noexcept nogil:
        self.error = errno
        return LOOK if self.error == EINTR else what
