"""Ordinary files in one go, with hardly an object between the system calls.

Most files of most folders are alike: a preamble without a mark, a header of some kilobytes, bulk
behind it, and no fault. For these a session and its face spend more time between the steps of the
core than in them. `Ordinary` takes the same steps in C. Whatever else it meets, it leaves: it
returns false, and the session reads that file from its start. So it raises no fault of an input and
has no policy of its own; tests/test_ordinary.py holds the two ways together.
"""
from cpython.bytearray cimport PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close as c_close

from dcmveil cimport rules as _r, state as _m
from dcmveil.core cimport Rewriter
from dcmveil.keyed cimport RunMark, Text, UidCounts, UidMapper, named
from dcmveil.spans cimport span_in, text_in
from dcmveil.state cimport Machine, Span
from dcmveil.faces.output cimport Output, around_uid, copy_to, write_to
from dcmveil.faces.records cimport Targets, add_differences, add_file, add_line
from dcmveil.faces.system cimport (
    Named, Opened, OpenFiles, SharedFlag, TemporaryPaths, changed_ns, now_us, read_at, unlinkat
)

from dcmveil.errors import DicomError
from dcmveil.report import Report

cdef enum:
    PREAMBLE = 128              # PS3.10 section 7.1
    SHORT = 8 << 10             # bytes that hold most headers
    AFTER_SKIP = 4096           # what follows bulk is a few elements, or the next fragment's item
    COPY_LEAST = 4 << 20        # bytes copied together: fewer calls, and still near what was read
    RECORDS_LIMIT = 2 << 20     # bytes of a journal; more goes by way of its file

cdef extern from *:
    const Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    NOT_ORDINARY = -2           # beside what step() of the core says

cdef class Ordinary:
    """For the files of one run, one after the other.

    engine      what the sessions of the run have
    gap         spans of changed bytes with fewer equal ones between them are one edit
    head        bytes of the first read. Of a longer file it takes SHORT, until a header does not fit
    window      the most that is looked at together: a longer element is not ordinary
    size_limit  a longer file is not ordinary
    hold_limit  nor is one whose barrier stands behind so many bytes

    Of the last file, once it is done:

    size        its bytes
    elements    as in a Report, and
    patient_id, study, series, instance
    alike       its report is that of the file that was remembered, but for what is above (without
                study and series)
    """
    cdef object engine
    cdef UidMapper uids
    cdef RunMark mark
    cdef Rewriter rewriter
    cdef size_t gap, head, capacity
    cdef size_t ask             # bytes of the first read of a file longer than head
    cdef uint64_t size_limit, hold_limit
    cdef uint8_t *window        # owned, twice the capacity
    cdef uint8_t *before        # its second half: what was read, where somebody wants to know
    cdef object answers         # of the file before, for the next one of that patient
    cdef object known_uids      # its own, and
    cdef dict answer_notes
    cdef bytes patient          # its Patient ID, as it was
    cdef str syntax
    # value fields that were looked up for the file before, and what was found
    cdef bytes syntax_field, media_class, sop_class
    cdef object encoding        # None: not ordinary
    cdef bint media_ordinary, class_ordinary
    cdef bint guess             # the next file may have them all too
    # the file at hand
    cdef int file
    cdef int64_t begun          # microseconds of a clock
    cdef struct_stat status
    cdef readonly uint64_t size
    cdef size_t filled          # bytes of the window; the first is at machine.base
    cdef readonly str patient_id, study, series, instance   # None until they are seen
    cdef str last_patient_id, last_study, last_series       # seen last
    cdef UidCounts uid_counts
    # of the file that was remembered
    cdef uint64_t like_counts[_r.ACTION_COUNT]  # (the first is of what is kept)
    cdef uint64_t like_notes[_m.NOTE_COUNT]
    cdef UidCounts like_uid_counts
    cdef dict like_answer_notes
    cdef str like_study, like_series, like_syntax
    # of the file that was named last
    cdef object named_by
    cdef str named_patient, named_study, named_series
    cdef tuple around           # its UID, in its name; None: the name is of more

    def __cinit__(self, engine, *, size_t gap, size_t head=32 << 10,
                  size_t window=256 << 10, uint64_t size_limit=16 << 30,
                  uint64_t hold_limit=64 << 20):
        if head > window or head < PREAMBLE + 4:
            raise ValueError("a window that is smaller than the first read, or than a preamble")
        self.engine = engine
        self.uids, self.mark = engine.uids, engine.mark
        self.rewriter = Rewriter(engine.profile.rules, None)
        self.gap, self.head, self.capacity = gap, head, window
        self.ask = min(head, <size_t>SHORT)
        self.size_limit, self.hold_limit = size_limit, hold_limit
        self.window = <uint8_t *>malloc(2 * window)
        if self.window == NULL:
            raise MemoryError
        self.before = self.window + window

    def __dealloc__(self):
        free(self.window)

    def plan(self, int file, bytes relative, bytearray records) -> bool:
        """Add to the records of a journal the file and an edit for each span that changes. False:
        it is not ordinary, and the records may have got some that are worth nothing."""
        return fstat(file, &self.status) == 0 and self._plan(file, relative, records)

    def copy(self, int src, int dst, kernel) -> bool:
        """Rewrite a file into an empty one. kernel(src, dst, n) copies up to n bytes from position
        to position and returns how many. False: it is not ordinary, and dst may hold a part."""
        cdef Output output = Output(dst, Named(-1, NULL))
        return fstat(src, &self.status) == 0 and self._copy(src, &output, kernel)

    def plan_batch(self, OpenFiles files, list batch, journal, counts, SharedFlag stop, list made,
                   Py_ssize_t most=PY_SSIZE_T_MAX) -> None:
        """plan() for the files of a batch from the `len(made)`-th on, until one is not ordinary, the
        journal is full, `stop` is set or `made` has got `most`. The others are in the journal,
        which closes them, and in `made` each has a Brief."""
        cdef bytearray records = journal.records
        cdef Targets targets = journal.targets
        cdef Opened *one
        cdef Py_ssize_t start
        cdef bint done
        cdef Py_ssize_t end = min(most, len(batch) - len(made)) + len(made)
        cdef bytes line_start = counts.start, line_rest = counts.rest
        warnings = counts.warnings
        while True:
            one = _next_of(files, made, end, stop)
            if one == NULL:
                return
            relative = <bytes?>batch[len(made)][0]
            start = PyByteArray_GET_SIZE(records)
            self.status = one.status
            done = False
            try:
                if self._plan(one.file, relative, records):
                    if not (line_rest and self._is_alike()):
                        counts.look()
                        line_rest, warnings = counts.rest, counts.warnings
                    self.add_line(records, line_start, line_rest)
                    if PyByteArray_GET_SIZE(records) <= RECORDS_LIMIT:
                        targets.add_target(one.file, self.size, changed_ns(&one.status))
                        one.file = -1
                        done = True
            finally:
                if not done:
                    PyByteArray_Resize(records, start)
            if not done:
                return
            made.append((relative, b"", b"", self.size, warnings))

    def copy_batch(self, OpenFiles files, list batch, TemporaryPaths temporaries, names, kernel,
                   finish, counts, SharedFlag stop, list made,
                   Py_ssize_t most=PY_SSIZE_T_MAX) -> None:
        """copy() for the files of a batch, in the same way, into files of `temporaries`.
        names.name(self, path) is the name of the output; finish(src, dst) is called for what was
        written, if it is not None. In `made` each has a Brief."""
        cdef Opened *one
        cdef Output output
        cdef Py_ssize_t end = min(most, len(batch) - len(made)) + len(made)
        cdef bint looked = bool(counts.rest)
        warnings = counts.warnings
        while True:
            one = _next_of(files, made, end, stop)
            if one == NULL:
                return
            relative = <bytes?>batch[len(made)][0]
            if fstat(one.file, &self.status) != 0:  # it may have grown since
                return
            temporary = temporaries.next()
            output = Output(-1, temporaries.named(temporary))
            if not self._copy_to(one.file, &output, kernel, finish):
                return
            try:
                if not (looked and self._is_alike()):
                    counts.look()
                    looked, warnings = True, counts.warnings
                made.append((relative, temporary, self._name(names, relative), self.size,
                             warnings))
            except BaseException:
                unlinkat(output.path.place, output.path.name, 0)
                raise

    cdef bint _copy_to(self, int src, Output *output, kernel, finish) except -1:
        """copy() into a new file. False: it is not ordinary, or could not be written; then there is
        no such file, unless there was one before."""
        cdef bint done = False
        cdef int failed = 0
        try:
            done = self._copy(src, output, kernel)
            if done and finish is not None:
                finish(src, output.file)
        except BaseException:
            done = False
            raise
        finally:
            if output.file >= 0:
                with nogil:
                    failed = c_close(output.file)
                if failed or not done:
                    unlinkat(output.path.place, output.path.name, 0)
        return done and not failed

    cdef bytes _name(self, names, bytes relative):
        """names.name(self, relative), most of which is the same for all files of a series."""
        cdef bytes name = None
        if (names is not self.named_by or self.study is not self.named_study
                or self.series is not self.named_series
                or self.patient_id is not self.named_patient):
            self.around = names.around_instance(self)
            self.named_by, self.named_patient = names, self.patient_id
            self.named_study, self.named_series = self.study, self.series
        if self.around is not None:
            name = around_uid(<bytes?>self.around[0], self.instance, <bytes?>self.around[1])
        return names.name(self, relative) if name is None else name

    cdef bint _plan(self, int file, bytes relative, bytearray records) except -1:
        cdef Py_ssize_t most = PyByteArray_GET_SIZE(records) + RECORDS_LIMIT
        cdef size_t settled
        cdef int status
        try:
            if self.status.st_nlink > 1:
                return False
            status = self._begin(file)
            if status == NOT_ORDINARY:
                return False
            add_file(records, relative, self.status.st_ino, self.size)
            while True:
                settled = self._settled()
                add_differences(records, self.rewriter.machine.base, self.before, self.window,
                                settled, self.gap)
                if PyByteArray_GET_SIZE(records) > most:
                    return False
                if status == _m.DONE:
                    return self._finish()
                status = self._go_on(status, settled)
                if status == NOT_ORDINARY:
                    return False
        except DicomError:
            return False

    cdef bint _copy(self, int src, Output *output, kernel) except -1:
        """What stays as it is goes through the kernel in long pieces: bulk, and the headers between
        the fragments of encapsulated pixel data, which lie at the same place in the output."""
        cdef Machine *m = self.rewriter.machine
        cdef uint64_t start = 0, end    # of what is equal in both, and not copied yet
        cdef size_t settled
        cdef int status
        try:
            status = self._begin(src)
            if status == NOT_ORDINARY:
                return False
            while True:
                settled = self._settled()
                end = m.base + settled
                if settled and memcmp(self.before, self.window, settled) != 0:
                    if not copy_to(output, src, kernel, start, m.base):
                        return False
                    if not write_to(output, self.window, settled):
                        return False    # the other way will fail too, and say why
                    start = end
                if status == _m.SKIP:
                    end += m.skip
                if end - start >= COPY_LEAST or status == _m.DONE:
                    if not copy_to(output, src, kernel, start, end):
                        return False
                    start = end
                if status == _m.DONE:
                    return self._finish()
                status = self._go_on(status, settled)
                if status == NOT_ORDINARY:
                    return False
        except DicomError:
            return False

    @property
    def elements(self) -> int:
        return self.rewriter.machine.elements

    def remember(self) -> None:
        """This file is what the next ones are `alike` to."""
        cdef const Machine *m = self.rewriter.machine
        memcpy(self.like_counts, m.counts, sizeof(self.like_counts))
        memcpy(self.like_notes, m.notes, sizeof(self.like_notes))
        self.like_answer_notes = dict(self.answer_notes)
        self.like_uid_counts = self.uid_counts
        self.like_study, self.like_series, self.like_syntax = self.study, self.series, self.syntax

    @property
    def alike(self) -> bool:
        return self._is_alike()

    @property
    def changed_ns(self) -> int:
        """When its status changed."""
        return changed_ns(&self.status)

    cdef bint _is_alike(self) except -1:
        cdef const Machine *m = self.rewriter.machine
        return (memcmp(self.like_counts + 1, m.counts + 1, sizeof(self.like_counts) - 8) == 0
                and memcmp(self.like_notes, m.notes, sizeof(self.like_notes)) == 0
                and self.like_study == self.study and self.like_series == self.series
                and memcmp(&self.like_uid_counts, &self.uid_counts, sizeof(UidCounts)) == 0
                and self.like_syntax == self.syntax
                and (not (self.like_answer_notes or self.answer_notes)
                     or self.like_answer_notes == self.answer_notes))

    cpdef int add_line(self, bytearray records, bytes start, bytes rest) except -1:
        """The end of what plan() has added: the line of this file, which is `start`, then what it
        shares with no other, `rest`, which it shares with those that are alike, and the seconds."""
        return add_line(records, start, self.size, self.rewriter.machine.elements, self.instance,
                        rest, now_us() - self.begun)

    def report(self) -> Report:
        cdef Rewriter r = self.rewriter
        report = Report()
        report.patient_id = self.patient_id
        report.study = self.study
        report.series = self.series
        report.instance = self.instance
        report.bytes_in = report.bytes_out = self.size
        report.elements = r.machine.elements
        report.actions = r.counts
        report.notes = r.notes
        if self.answer_notes:
            report.notes |= self.answer_notes
        report.uids = named(&self.uid_counts)
        report.transfer_syntax = self.syntax
        return report

    # -- steps -------------------------------------------------------------------------------

    # Each of these says what step() of the core says, or NOT_ORDINARY.

    cdef int _begin(self, int file) except -1:
        """The first step into a file whose status is known, past the barrier."""
        cdef size_t n
        cdef int status
        self.file = file
        self.begun = now_us()
        self.size = self.status.st_size
        if self.size > self.size_limit:
            return NOT_ORDINARY
        n = self.head if self.size <= self.head else self.ask
        status = self._begin_in(n)
        if status == NOT_ORDINARY and n < self.head:
            status = self._begin_in(self.head)
            if status != NOT_ORDINARY:
                self.ask = self.head    # its header is not short, nor are those of its series
        return status

    cdef int _begin_in(self, size_t n) except -1:
        """In its first n bytes."""
        cdef int status
        self.filled = 0
        if self._read(n, 0) < 0 or self.filled < PREAMBLE + 4:
            return NOT_ORDINARY
        if (memcmp(self.window + PREAMBLE, b"DICM", 4) != 0
                or memcmp(self.window, b"DCMVEIL", 7) == 0):
            return NOT_ORDINARY
        memcpy(self.before, self.window, self.filled)
        if self.guess and self.filled + 8 <= self.hold_limit:
            status = self._guess()
            if status != NOT_ORDINARY:
                return status
            memcpy(self.window, self.before, self.filled)
        if not self._look_ahead():
            return NOT_ORDINARY
        status = self._rewrite()
        self._mark()
        return status

    cdef int _guess(self) except -1:
        """Rewrite by the facts of the file before: most files of a folder share them, and then there
        is no need to look ahead for them. The walk shows whether they were right."""
        cdef const Machine *m = self.rewriter.machine
        cdef int status
        self.guess = False
        try:
            self._begin_rewriting()
            status = self._rewrite()
        except DicomError:
            return NOT_ORDINARY
        if (not (m.past_barrier or status == _m.DONE) or m.characteristics.seen
                or not self._was(&m.syntax, self.syntax_field)
                or not self._was(&m.media_class, self.media_class)
                or not self._was(&m.sop_class, self.sop_class)
                or not self._was(&m.patient_id, self.patient)):
            return NOT_ORDINARY
        self.guess = True
        self._mark()
        return status

    cdef bint _was(self, const Span *span, bytes field) noexcept:
        """Whether that stood in the first window before it was rewritten, as span_in has it."""
        cdef Text found = self._text_of(span)
        return (found.length == PyBytes_GET_SIZE(field)
                and memcmp(self.before + (found.start - <const char *>self.window),
                           PyBytes_AS_STRING(field), found.length) == 0)

    cdef bint _look_ahead(self) except -1:
        """Up to the barrier, for the facts that the rewriting needs. Whether the file is ordinary up
        to there; then the rewriter stands at its first byte."""
        cdef Rewriter r = self.rewriter
        cdef Machine *m = r.machine
        cdef const char *window = <const char *>self.window
        cdef int seen
        cdef bint others
        self.guess = False
        r.begin(None, None, True)
        seen = r.step_in(self.window, self.filled, self.filled == self.size)
        if seen != _m.SYNTAX:
            return False
        others = self._look_up_syntax(span_in(window, 0, self.filled, &m.syntax))
        media_class = span_in(window, 0, self.filled, &m.media_class)
        if media_class != self.media_class:
            self.media_ordinary = self.engine.is_ordinary_class(media_class)
            self.media_class = media_class
            others = True
        if self.encoding is None or not self.media_ordinary:
            return False
        r.set_encoding(self.encoding)
        seen = r.step_in(self.window, self.filled, self.filled == self.size)
        if (seen != _m.BARRIER and seen != _m.DONE) or m.pos + 8 > self.hold_limit:
            return False
        sop_class = span_in(window, 0, self.filled, &m.sop_class)
        if sop_class != self.sop_class:
            self.class_ordinary = self.engine.is_ordinary_class(sop_class)
            self.sop_class = sop_class
            others = True
        if m.characteristics.seen or not self.class_ordinary:
            return False
        patient = span_in(window, 0, self.filled, &m.patient_id)
        if self.answers is None or patient != self.patient:
            self.answers = self.engine.answers(self.syntax, patient, False)
            self.known_uids, self.answer_notes = self.answers.known_uids, self.answers.notes
            self.patient = patient
            others = True
        self.guess = not others
        return self._begin_rewriting()

    cdef bint _look_up_syntax(self, bytes field) except -1:
        """Whether it is another one."""
        if field == self.syntax_field:
            return False
        self.syntax, self.encoding, deflated = self.engine.syntax_of(field)
        if deflated:
            self.encoding = None
        self.syntax_field = field
        self.answers = None
        return True

    cdef bint _begin_rewriting(self) except -1:
        cdef Rewriter r = self.rewriter
        self.answer_notes.clear()
        r.begin(self.answers, self.known_uids, False)
        r.machine.encoding_told = True
        r.machine.encoding = self.encoding
        self.uids.take()    # those of an input that was left half-way
        self.patient_id = self.study = self.series = self.instance = None
        return True

    cdef int _rewrite(self) except -1:
        """Through what the window holds."""
        cdef Rewriter r = self.rewriter
        cdef int status
        status = r.step_in(self.window, self.filled,
                           r.machine.base + self.filled == self.size)
        if (self.patient_id is None or self.instance is None or self.study is None
                or self.series is None):
            self._see_new_values()
        return status

    cdef int _mark(self) except -1:
        """The barrier is behind us: all that the mark is bound to is in the window."""
        cdef Machine *m = self.rewriter.machine
        cdef Text[3] values = [self._text_of(&m.sop_instance), self._text_of(&m.patient_id),
                               self._text_of(&m.patient_name)]
        return self.mark.write(<char *>self.window, values)

    cdef Text _text_of(self, const Span *span) noexcept:
        """A value in the first window, as span_in has it."""
        if not span.seen or span.offset + span.length > self.filled:
            return Text(<const char *>self.window, 0)
        return Text(<const char *>self.window + span.offset, span.length)

    cdef size_t _settled(self) noexcept:
        """How many bytes of the window are as they will be."""
        cdef Machine *m = self.rewriter.machine
        return min(m.pos - m.base, <uint64_t>self.filled)

    cdef int _go_on(self, int status, size_t settled) except -1:
        """The settled bytes are out, and what is skipped: read what comes next, and rewrite it. Not
        ordinary: the file ends too early, or an element does not fit into the window."""
        cdef Machine *m = self.rewriter.machine
        cdef size_t rest = self.filled - settled
        if status == _m.SKIP:
            m.base += settled + m.skip
            self.filled = 0
            if m.base > self.size or self._read(AFTER_SKIP, m.base) < 0:
                return NOT_ORDINARY
        else:
            if m.base == 0:
                self.ask = self.head
            if rest:
                memmove(self.window, self.window + settled, rest)
            self.filled = rest
            m.base += settled
            if (m.base + rest >= self.size or m.pos - m.base + m.need > self.capacity
                    or self._read(self.capacity, m.base + rest) <= 0):
                return NOT_ORDINARY
        memcpy(self.before, self.window, self.filled)
        return self._rewrite()

    cdef int64_t _read(self, size_t n, uint64_t at) noexcept:
        """Into the window, up to n bytes from `at` on, as far as there is room and the file goes; how
        many, -1: it failed."""
        cdef int64_t got
        n = min(n, self.capacity - self.filled, self.size - min(at, self.size))
        with nogil:
            got = read_at(self.file, self.window + self.filled, n, at)
        if got > 0:
            self.filled += got
        return got

    # -- what comes of it --------------------------------------------------------------------

    cdef int _see_new_values(self) except -1:
        cdef const Machine *m = self.rewriter.machine
        cdef const char *window = <const char *>self.window
        cdef uint64_t base = m.base, end = min(m.pos, m.base + self.filled)
        patient = text_in(window, base, end, &m.patient_id, self.last_patient_id)
        study = text_in(window, base, end, &m.study_instance, self.last_study)
        series = text_in(window, base, end, &m.series_instance, self.last_series)
        instance = text_in(window, base, end, &m.sop_instance)
        if patient is not None:
            self.patient_id = self.last_patient_id = patient
        if study is not None:
            self.study = self.last_study = study
        if series is not None:
            self.series = self.last_series = series
        if instance is not None:
            self.instance = instance
        return 0

    cdef bint _finish(self) except -1:
        """True: the file is done."""
        self.patient_id = self.patient_id or ""
        self.study = self.study or ""
        self.series = self.series or ""
        self.instance = self.instance or ""
        self.uid_counts = self.uids.take()
        return True


cdef Opened *_next_of(
    OpenFiles files, list made, Py_ssize_t end, SharedFlag stop
) except? NULL:
    """The first file that is not in `made`, NULL: none, or it is not open, or it is to stop."""
    cdef Opened *one
    if len(made) >= end or stop.byte[0]:
        return NULL
    one = files.at(len(made))
    return one if one.file >= 0 else NULL
