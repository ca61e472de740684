"""The only face of the machine to Python: rules in, windows rewritten in place, errors out."""
from cpython.buffer cimport (Py_buffer, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release,
                             PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.dict cimport PyDict_GetItemWithError
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from dcmveil cimport rules as _r
from dcmveil cimport state as _m
from dcmveil.machine cimport machine_reset, machine_set_encoding, machine_step
from dcmveil.plain cimport mark_plain
from dcmveil.recent cimport Recent, keep_recent, recent_under, write_recent
from dcmveil.rows cimport rules_set_rows
from dcmveil.rules cimport (Rule, creator_hash, rule_of, rules_add_literal, rules_check,
                            rules_free, rules_load_dictionary, rules_load_private, rules_new,
                            rules_set, rules_set_known, rules_set_private, rules_set_scope)
from dcmveil.spans cimport (bytes_of, differing, geometry_of, spans_in, tag_text, texts_in,
                           write_document)
from dcmveil.state cimport Frame, Machine, Op, cut_at
from dcmveil.tags cimport FIRST_RECORD
from dcmveil.values cimport asks, write_ops
from dcmveil.vr cimport vr_of

from dcmveil.errors import DicomError, NotDicomError

# actions, as rules and reports number them
KEEP, BLANK, DUMMY, UID, LITERAL, DOCUMENT = (
    _r.KEEP, _r.BLANK, _r.DUMMY, _r.UID, _r.LITERAL, _r.DOCUMENT)
SHIFT, YEAR, ZERO_TIME, PSEUDONYM, HASH = (
    _r.SHIFT, _r.YEAR, _r.ZERO_TIME, _r.PSEUDONYM, _r.HASH)
CHECK_UID, WIPE, ZERO, PIXELS = _r.CHECK_UID, _r.WIPE, _r.ZERO, _r.PIXELS
ACTION_NAMES = ("keep", "blank", "dummy", "uid", "literal", "document", "shift", "year",
                "zero time", "pseudonym", "hash", "check uid", "wipe", "zero", "pixels")
BY_ROW, UNCHANGED = _r.BY_ROW, _r.UNCHANGED
VR_NAMES = ("", "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB",
            "OD", "OF", "OL", "OV", "OW", "PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC",
            "UI", "UL", "UN", "UR", "US", "UT", "UV")
# where a literal does not fit
CUT, LEAVE, CLEAR = _r.CUT, _r.LEAVE, _r.CLEAR
# what step() returns
MORE, SKIP, SYNTAX, BARRIER, RECORD, DONE = (
    _m.MORE, _m.SKIP, _m.SYNTAX, _m.BARRIER, _m.RECORD, _m.DONE)
# bits of an encoding
EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE = 0, _m.IMPLICIT, _m.BIG
UNKNOWN, UNREGISTERED = _m.ENCODING_UNKNOWN, _m.ENCODING_UNREGISTERED
PATIENT_ID = 0x00100020
NOTE_NAMES = ("empty value where the profile wants a dummy", "stray delimiter",
              "missing delimiter", "bytes after the last element set to zero",
              "data set not in the encoding that it names", "unknown VR",
              "pixel data cut short", "text after a NUL wiped")
REASONS = (
    "", "empty input", "not a DICOM file or data set", "the input ends too early",
    "no data set after the file meta information",
    "no transfer syntax is named, and the first bytes do not tell the encoding",
    "unregistered transfer syntax, and the data set is not explicit VR little endian",
    "the data set is not in the byte order of its transfer syntax",
    "the length reaches past the end of what encloses it",
    "undefined length where the VR does not allow it", "no item where one must stand",
    "neither a fragment nor a sequence delimiter where one must stand",
    "a delimiter or an item where none may stand", "sequences nested too deep",
    "repeated or misplaced, and other values depend on it",
    "unknown VR, and its header can be read in more than one way or in none",
    "a sequence whose value does not hold items", "the value is longer than the limit",
    "too many private blocks", "bytes after the last element that are not zero",
    "the encapsulated pixel data of an icon is longer than the limit")
SPANS = ("syntax", "media_class", "media_instance", "sop_class", "sop_instance", "patient_name",
         "patient_id", "study_instance", "series_instance")
TEXTS = ("patient_id", "study_instance", "series_instance", "sop_instance")
RECORD_SPANS = ("next", "lower", "instance", "patient_name", "patient_id", "study_instance",
                "series_instance")

cdef enum:      # less than this is done with the lock of Python held: others wait for microseconds
    SHORT_WINDOW = 64 << 10
    FEW_OPS = 256


def _octet(value: int | None) -> int:
    return _r.UNCHANGED if value is None else value


cdef class Rules:
    """A frozen rule table: the dictionary's VR and the profile's action for every tag.

    `unknown` is the action for public tags that the dictionary does not have. Built by load first,
    then the others, then freeze. Raises ValueError for anything malformed; after freeze() no
    lookup can leave the table.
    """
    def __cinit__(self, int unknown=_r.BLANK):
        self.table = rules_new(unknown)
        if self.table == NULL:
            raise MemoryError

    def __dealloc__(self):
        rules_free(self.table)

    def _check(self, ok: bool, what: str) -> None:
        if not ok:
            raise ValueError(f"malformed {what}")

    def _open(self) -> None:
        """Before any change: a frozen table has been checked, and must stay as it was."""
        if self.frozen:
            raise ValueError("the rules are frozen")

    def load(self, bytes dictionary, bytes private_dictionary) -> None:
        """Public dictionary (lines `ggggeeee VR`) and private one (`@CREATOR`, `GGGG EE VR`)."""
        self._open()
        self._check(rules_load_dictionary(self.table, dictionary, len(dictionary)) == 0,
                    "dictionary")
        self._check(rules_load_private(self.table, private_dictionary,
                                       len(private_dictionary)) == 0, "private dictionary")

    def literal(self, bytes data, int when_short) -> int:
        """Index of fixed bytes; when_short (CUT, LEAVE, CLEAR) is for fields too short for them."""
        self._open()
        index = rules_add_literal(self.table, data, len(data), when_short)
        self._check(index >= 0, "literal")
        return index

    def set(self, str pattern, vr: str | None = None, action: int | None = None,
            veiled: int | None = None, arg: int | None = None) -> None:
        """A rule for the tags of `pattern` (8 digits, upper case, x for any); None: unchanged. `arg`
        belongs to the action, or to `veiled` where that alone is set."""
        self._open()
        encoded = pattern.encode("ascii")
        code = _r.UNCHANGED if vr is None else vr_of(ord(vr[0]), ord(vr[1]))
        self._check(len(encoded) == 8 and code != 0
                    and rules_set(self.table, encoded, code, _octet(action), _octet(veiled),
                                  _octet(arg)) == 0, f"rule {pattern}")

    def set_rows(self, bytes lines) -> None:
        """Many rules in one call: lines `ggggeeee VR AA VV RR`, the arguments of `set` in upper case
        hexadecimal digits, `--` and FF for None."""
        self._open()
        at = rules_set_rows(self.table, lines, len(lines))
        self._check(at == <size_t>len(lines), f"rule {lines[at:at + 8]!r}")

    def set_vr(self, str vr, int action) -> None:
        """The action for attributes of a VR that no row names."""
        self._open()
        code = vr_of(ord(vr[0]), ord(vr[1]))
        self._check(code != 0 and 0 <= action <= _r.HASH, f"rule for {vr}")
        self.table.by_vr[code] = action

    def set_known(self, int action) -> None:
        """The action of every tag that the dictionary has, before any row is set."""
        self._open()
        self._check(0 <= action <= _r.HASH, "action")
        rules_set_known(self.table, action)

    def set_private(self, str creator, int group, int low, action: int | None = None,
                    veiled: int | None = None, arg: int | None = None) -> None:
        """A rule for one element of the blocks that a private creator reserves in a group: the low
        byte of its element number (PS3.5 section 7.8.1)."""
        self._open()
        encoded = creator.encode()
        self._check(group & 1 and 0 <= low <= 255
                     and rules_set_private(self.table, encoded, len(encoded), group << 16 | low,
                                           _octet(action), _octet(veiled), _octet(arg)) == 0,
                     "private rule")

    def set_private_default(self, int action, bint walk) -> None:
        """The action for private attributes that no rule names, before the others are set; walk:
        decide on the items of a private sequence one by one."""
        self._open()
        self._check(0 <= action <= _r.DUMMY, "action")
        self.table.private_default.action = action
        self.table.private_default.arg = _r.BY_ROW if action == _r.KEEP else 0
        self.table.walk_private = walk
        for i in range(self.table.private_mask + 1 if self.table.private_mask else 0):
            self.table.private_rules[i].action = action
            self.table.private_rules[i].arg = self.table.private_default.arg

    def set_scope(self, int scope, uint32_t tag, action: int | None, int arg, int next) -> None:
        """A rule for one place: in `scope` (0: anywhere) the tag has this action (None: that of
        its row), and its items are in the scope `next`."""
        self._open()
        self._check(rules_set_scope(self.table, scope, tag, _octet(action), arg, next) == 0,
                     "path rule")

    def freeze(self) -> None:
        self._open()
        self._check(rules_check(self.table) == 0, "rule table")
        mark_plain(self.table)
        self.frozen = True

    def look_up(self, uint32_t tag) -> tuple[int, int, int, int, int]:
        """(VR code, action, action in a blanked sequence, their arguments) of a public tag."""
        cdef const Rule *r = rule_of(self.table, tag)
        return r.vr, r.action, r.veiled, r.arg, r.veiled_arg

    def tags_known(self) -> int:
        """How many of the 2^32 tags the dictionary has, with repeating groups counted out."""
        cdef uint64_t n = 0
        cdef uint32_t group, element
        for group in range(65536):
            if self.table.slot_of_group[group]:
                for element in range(65536):
                    n += rule_of(self.table, group << 16 | element).vr != 0
        return n


cdef class Rewriter:
    """One input, rewritten window by window in the fixed layout.

    The caller owns the window: a writable buffer of which the first `filled` bytes are input, the
    first of them at absolute offset `base`.

        |-- settled --|-- held --|-- free --|
        0         settled      filled     len(window)

    step() rewrites in place and says what it waits for. Bytes before `settled` are final.

    answer: called with a list of (action, value bytes, VR number, about) for the values that need
    a key or a code stream; returns for each the new bytes of the same length, or for DOCUMENT
    (head, fill byte, tail), or a str: why the input must be refused. `about` is the geometry of an
    icon, the length of a document, the rule's argument for anything else.

    trace: a list that gets a Trace tuple for every value and every sequence, kept ones too.
    """
    def __cinit__(self, Rules rules not None, answer, *, bint scout=False, bint audio=False,
                  bint accept_cut_pixels=False, trace=None):
        if not rules.frozen:
            raise ValueError("the rules are not frozen")
        self.machine = <Machine *>calloc(1, sizeof(Machine))
        if self.machine == NULL:
            raise MemoryError
        self.machine.ops = <Op *>calloc(_m.OP_CAPACITY, sizeof(Op))
        if self.machine.ops == NULL:
            raise MemoryError
        self.rules = rules
        self.restart(answer, scout=scout, audio=audio, accept_cut_pixels=accept_cut_pixels,
                     trace=trace)

    def restart(self, answer, *, bint scout=False, bint audio=False, bint accept_cut_pixels=False,
                trace=None, known=None, encoding=None) -> None:
        """As new, for another input or for the same one again, under the same rules.

        known: whole value fields of UIDs and their new values, those of kept UIDs, both as dicts of
        bytes; then the functions that answer for fields that these have not. Such UIDs are not
        asked for. encoding: as for set_encoding, known beforehand; then step() does not return
        SYNTAX.
        """
        # a trace shows each operation as it was asked for
        self.begin(answer, known if trace is None else None, scout)
        cdef Machine *m = self.machine
        m.audio = audio
        m.accept_cut_pixels = accept_cut_pixels
        if encoding is not None:
            m.encoding_told = True
            m.encoding = encoding
        m.trace = trace is not None
        self.trace = trace
        self.path = [] if m.trace else None

    cdef int begin(self, answer, known, bint scout) except -1:
        """restart() with what nearly every input has."""
        machine_reset(self.machine, self.rules.table)
        self.machine.scout = scout
        self.answer = answer
        if known is None:
            self.new_uids = self.kept_uids = self.map_uid = self.keep_uid = None
        else:
            self.new_uids, self.kept_uids, self.map_uid, self.keep_uid = known
            if self.new_uids is not self.recent_new or self.kept_uids is not self.recent_kept:
                memset(self.recent, 0, sizeof(self.recent))
                self.recent_new, self.recent_kept = self.new_uids, self.kept_uids
        self.trace = self.path = self.failure = None
        self.head = self.tail = b""
        return 0

    def __dealloc__(self):
        if self.machine != NULL:
            free(self.machine.ops)
        free(self.machine)

    def step(self, window, size_t filled, bint eof) -> int:
        """Read on and rewrite. Returns MORE, SKIP, SYNTAX, BARRIER, RECORD or DONE.

        Raises DicomError, now and at every later call, when the input is not understood.
        """
        cdef Py_buffer view
        PyObject_GetBuffer(window, &view, PyBUF_WRITABLE)
        try:
            if (filled > <size_t>view.len or self.machine.pos < self.machine.base
                    or self.machine.pos - self.machine.base > filled):
                raise ValueError("filled lies outside the window")
            return self.step_in(<uint8_t *>view.buf, filled, eof)
        finally:
            PyBuffer_Release(&view)

    cdef int step_in(self, uint8_t *window, size_t filled, bint eof) except -1:
        """The same for a window that is there and large enough."""
        cdef int status
        if self.failure is not None:
            raise self.failure
        while True:
            if filled <= SHORT_WINDOW:
                status = machine_step(self.machine, window, filled, eof)
            else:
                with nogil:
                    status = machine_step(self.machine, window, filled, eof)
            try:
                self._apply(window)
            except Exception as error:
                self.failure = error
                raise
            if status != _m.OPS:
                break
        if status == _m.STOPPED:
            self._raise()
        return status

    def drop(self, uint64_t n) -> None:
        """The first n bytes left the window (with SKIP: and the skipped ones went by)."""
        self.machine.base += n

    def cut(self, uint64_t offset) -> None:
        """The input ended at `offset`, before all that was to be skipped. Raises DicomError unless
        cut pixel data is accepted."""
        if self.failure is not None:
            raise self.failure
        if cut_at(self.machine, offset) == _m.STOPPED:
            self._raise()

    def set_encoding(self, int encoding) -> None:
        """Answer to SYNTAX: EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, UNKNOWN or UNREGISTERED."""
        machine_set_encoding(self.machine, encoding)

    def declare_safe(self, int group, bytes creator, elements) -> None:
        """Private elements (low bytes) of a creator's blocks that the file declares safe, None for
        all of them. Those past the limit are not safe."""
        cdef _m.SafeBlock *block = &self.machine.safe[self.machine.n_safe]
        if self.machine.n_safe == _m.SAFE_LIMIT:
            return
        block.group = group
        block.creator = creator_hash(creator, len(creator))
        memset(block.elements, 0 if elements is not None else 255, 32)
        for low in elements or ():
            block.elements[<int>low >> 3] |= 1 << (low & 7)
        self.machine.n_safe += 1

    @property
    def characteristics(self) -> tuple[int, int, int] | None:
        """(absolute offset, length, encoding) of the items of the top-level (0008,0300)."""
        cdef Machine *m = self.machine
        if not m.characteristics.seen:
            return None
        return (m.characteristics.offset, m.characteristics.length, m.characteristics_encoding)

    def set_meta_end(self, uint64_t offset) -> None:
        """Where a scout saw the file meta information end: there it ends again, also where the
        bytes after it are not the ones that the scout saw (deflated, then inflated)."""
        self.machine.known_meta_end = offset

    def set_directory(self, bint keep_file_ids) -> None:
        """It is a DICOMDIR (PS3.10 chapter 8). step() returns RECORD where a directory record
        begins, but not to a scout, and where it has ended. A scout goes to the end."""
        self.machine.directory = True
        self.machine.keep_file_ids = keep_file_ids
        self.machine.barrier = FIRST_RECORD     # no Patient ID belongs behind it

    @property
    def record(self) -> tuple[int, int, bool, tuple[tuple[int, int], ...]]:
        """With RECORD: absolute offsets of the record's item tag and of what follows the item (0:
        it begins), whether it is big endian, and (absolute offset, length) of each of RECORD_SPANS,
        (0, 0) where there is none."""
        cdef _m.Record *r = &self.machine.record
        cdef _m.Span *spans = &r.next
        return (r.start, r.end, bool(r.encoding & _m.BIG),
                tuple([(spans[i].offset, spans[i].length) for i in range(<int>len(RECORD_SPANS))]))

    @property
    def position(self) -> int:
        """Absolute offset up to which the input was understood; past a skip, its end."""
        return self.machine.pos

    @property
    def base(self) -> int:
        return self.machine.base

    @property
    def need(self) -> int:
        """With MORE: how many bytes are wanted from `position` on, at least 1."""
        return self.machine.need

    @property
    def skip(self) -> int:
        """With SKIP: how many input bytes after the window pass unread."""
        return self.machine.skip

    @property
    def has_preamble(self) -> bool:
        return self.machine.has_preamble

    @property
    def meta_end(self) -> int:
        """Absolute offset of the first byte after the file meta information; 0: there is none."""
        return self.machine.meta_end

    @property
    def elements(self) -> int:
        return self.machine.elements

    @property
    def counts(self) -> dict[str, int]:
        """Values per action, keep left out."""
        cdef int i
        found = {}
        for i in range(1, _r.ACTION_COUNT):
            if self.machine.counts[i]:
                found[ACTION_NAMES[i]] = self.machine.counts[i]
        return found

    @property
    def notes(self) -> dict[str, int]:
        """What was tolerated, and how often."""
        cdef int i
        found = {}
        for i in range(_m.NOTE_COUNT):
            if self.machine.notes[i]:
                found[NOTE_NAMES[i]] = self.machine.notes[i]
        return found

    def values(self, window, size_t filled) -> tuple[bytes, ...]:
        """The values of SPANS as they stand in the window, b"" for one that was not seen or is not
        there as a whole."""
        cdef Machine *m = self.machine
        cdef Py_buffer view
        PyObject_GetBuffer(window, &view, PyBUF_SIMPLE)
        try:
            return spans_in(<const char *>view.buf, m.base, m.base + min(filled, <size_t>view.len),
                            &m.syntax)
        finally:
            PyBuffer_Release(&view)

    def texts(self, window, size_t filled) -> tuple[str | None, ...]:
        """The values of TEXTS without padding and what follows a NUL; None for one that was not
        seen, or does not stand settled in the window."""
        cdef Machine *m = self.machine
        cdef Py_buffer view
        PyObject_GetBuffer(window, &view, PyBUF_SIMPLE)
        try:
            return texts_in(<const char *>view.buf, m, min(filled, <size_t>view.len))
        finally:
            PyBuffer_Release(&view)

    # -- applying operations -----------------------------------------------------------------

    cdef int _apply(self, uint8_t *window) except -1:
        """Write what the operations ask for; those that need Python are asked for at one time."""
        cdef Machine *m = self.machine
        cdef uint32_t i, n_asks
        if m.trace:
            olds = [bytes_of(window, m, &m.ops[i], _m.TRACE_LIMIT) for i in range(m.n_ops)]
        if m.n_ops <= FEW_OPS:
            n_asks = write_ops(m, window)
        else:
            with nogil:
                n_asks = write_ops(m, window)
        if n_asks:
            self._ask(window)
        if self.trace is not None:
            self._add_to_trace(window, olds)
        m.n_ops = 0
        return 0

    cdef int _ask(self, uint8_t *window) except -1:
        """One batch of questions to Python, and the answers written."""
        cdef Machine *m = self.machine
        cdef Op *op
        cdef uint32_t i
        cdef bint more = False
        questions = []
        for i in range(m.n_ops):
            op = &m.ops[i]
            if op.kind == _m.VALUE and asks(op):
                if op.done == 0 and self.new_uids is not None and self._write_uid(op, window):
                    continue
                more = True
                if op.done:
                    continue
                if op.action == _r.DOCUMENT:
                    about = op.total
                else:
                    about = geometry_of(m) if op.action == _r.PIXELS else op.arg
                most = _m.DOCUMENT_HEAD if op.action == _r.DOCUMENT else op.length
                questions.append((op.action, bytes_of(window, m, op, most), op.vr, about))
        if not more:
            return 0
        answers = iter(self.answer(questions) if questions else ())
        for i in range(m.n_ops):
            op = &m.ops[i]
            if op.kind != _m.VALUE or not asks(op):
                continue
            new = next(answers) if op.done == 0 else None
            if op.action == _r.DOCUMENT:
                if op.done == 0:
                    self.head, self.fill, self.tail = new
                write_document(op, window + (op.offset - m.base), self.head, self.fill, self.tail)
                continue
            if isinstance(new, str):
                m.fault_tag = op.tag    # of an icon the stack still has the path
                path = self._path() if op.action == _r.PIXELS else tag_text(op.tag)
                raise DicomError(op.offset - op.header_length, path, new)
            if len(new) != op.length:
                raise ValueError("an answer changes the length of a value")
            memcpy(window + (op.offset - m.base), <const char *><bytes>new, op.length)
        return 0

    cdef bint _write_uid(self, Op *op, uint8_t *window) except -1:
        """Write a UID out of the dicts, or by the functions that fill them. Whether it is one; then
        the operation asks no more."""
        cdef PyObject *known
        cdef uint8_t *field = window + (op.offset - self.machine.base)
        cdef Recent *recent = recent_under(self.recent, op.tag)
        cdef bint new = op.action == _r.UID
        if not new and op.action != _r.CHECK_UID:
            return False
        if write_recent(recent, op.action, field, op.length):
            op.action = _r.KEEP
            return True
        old = bytes_of(window, self.machine, op, op.length)
        known = PyDict_GetItemWithError(self.new_uids if new else self.kept_uids, old)
        if known != NULL:
            answer = <object>known
        else:
            answer = self.map_uid(old) if new else self.keep_uid(old)
        if len(<bytes?>answer) != op.length:
            raise ValueError("an answer changes the length of a value")
        if known != NULL:   # of others something may have to be counted each time
            keep_recent(recent, op.action, field, <const uint8_t *>PyBytes_AS_STRING(answer),
                        op.length)
        memcpy(field, PyBytes_AS_STRING(answer), op.length)
        op.action = _r.KEEP
        return True

    cdef int _add_to_trace(self, uint8_t *window, list olds) except -1:
        """Every operation of this window, for those who want to see them one by one."""
        cdef Machine *m = self.machine
        cdef Op *op
        cdef uint32_t i
        for i in range(m.n_ops):
            op = &m.ops[i]
            if op.kind == _m.ITEM_OPEN:
                self.path[len(self.path) - 1][1] += 1
            elif op.kind == _m.SEQUENCE_CLOSE:
                self.path.pop()
            if op.kind == _m.VALUE or op.kind == _m.SEQUENCE_OPEN:
                place = tuple([(tag, item) for tag, item in self.path])
                new = (None if op.kind == _m.SEQUENCE_OPEN
                       else bytes_of(window, m, op, _m.TRACE_LIMIT))
                self.trace.append((place, op.tag, op.vr, op.action, bool(op.veiled), op.offset,
                                   op.done, op.length, op.total, olds[i], new))
            if op.kind == _m.SEQUENCE_OPEN:
                self.path.append([op.tag, -1])
        return 0

    # -- errors ------------------------------------------------------------------------------

    cdef object _path(self):
        cdef Machine *m = self.machine
        cdef Frame *f
        cdef int i
        parts = []
        for i in range(1, m.depth + 1):
            f = &m.stack[i]
            if f.kind != _m.DATA_SET:
                parts.append(f"{tag_text(f.tag)}[{f.items - 1}]" if f.items else tag_text(f.tag))
        if m.fault_tag and not (m.depth and m.stack[m.depth].kind != _m.DATA_SET
                                and m.fault_tag == m.stack[m.depth].tag):
            parts.append(tag_text(m.fault_tag))
        return "/".join(parts)

    cdef object _raise(self):
        """The one place where a fault becomes an exception."""
        cdef Machine *m = self.machine
        kind = NotDicomError if m.fault in (_m.EMPTY_INPUT, _m.NOT_DICOM) else DicomError
        self.failure = kind(m.fault_offset, self._path() or None, REASONS[m.fault])
        raise self.failure


def differences(before, after, size_t gap) -> list[tuple[int, int]]:
    """The spans [start, end) in which two buffers of one length differ, in order; those with fewer
    than `gap` equal bytes between them are one."""
    cdef Py_buffer a, b
    PyObject_GetBuffer(before, &a, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(after, &b, PyBUF_SIMPLE)
        try:
            if a.len != b.len:
                raise ValueError("buffers of different lengths have no common spans")
            return differing(<const uint8_t *>a.buf, <const uint8_t *>b.buf, a.len, gap)
        finally:
            PyBuffer_Release(&b)
    finally:
        PyBuffer_Release(&a)
