"""A frozen profile and a key: answers the values that the core asks for."""

from __future__ import annotations

from . import core
from .errors import DicomError
from .keyed import UUID_ROOT, RunMark, UidMapper
from .profile.frozen import PSEUDONYM_KINDS
from .profile.tables_io import read_lines, read_text, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .core import Answer, Ask
    from .dates import DateShifter
    from .profile import Profile
    from .pseudonyms import Pseudonyms, PseudonymTable

    Crosswalk = list[tuple[str, bytes, bytes]]  # (kind, old, new)

# How the data set of each kind of transfer syntax is encoded (PS3.5 annex A).
_ENCODING_OF_KIND = {
    "implicit-le": core.IMPLICIT_LE,
    "explicit-le": core.EXPLICIT_LE,
    "explicit-be": core.EXPLICIT_BE,
    "deflated": core.EXPLICIT_LE,
    "encapsulated": core.EXPLICIT_LE,
}
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
# Basic Voice Audio and General Audio Waveform Storage: the waveform is a voice
AUDIO_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"})


SPARE_WINDOW = 1 << 18  # bytes, see session.py
_CLASSES = 256  # SOP classes remembered; there are some 200
_SPARES = 2  # an input at a time, and one that is looked at meanwhile

_PSEUDONYM_NOTES = {
    "hashed": "pseudonym from a hash, since the value is not plain ASCII: two may become equal",
    "guessable": "pseudonym of so few possible values that it can be guessed: use a table",
}


class Engine:
    """Everything that the sessions of one profile and key share."""

    def __init__(
        self,
        profile: Profile,
        key: bytes,
        uid_root: str = UUID_ROOT,
        table: PseudonymTable | None = None,
    ) -> None:
        self.profile = profile
        self._key = key
        self._table = table
        self._dates: DateShifter | None = None
        self._pseudonyms: Pseudonyms | None = None
        self.uids = UidMapper(key, frozenset(read_lines("registered_uids.txt")), uid_root)
        self.mark = RunMark(key, profile.digest)
        self._kinds = dict(rows(read_text("transfer_syntaxes.tsv")))
        self._syntaxes: dict[bytes, tuple[str, int | None, bool]] = {}
        self._classes: dict[bytes, bool] = {}
        self._spare: list[tuple[bytearray, core.Rewriter]] = []

    def take_spare(self, size: int) -> tuple[bytearray, core.Rewriter]:
        """A window of so many bytes, and a rewriter that begins as a scout: those of an earlier
        input, where they are free. To make them anew takes longer than a small file does."""
        if self._spare and size == SPARE_WINDOW:
            return self._spare.pop()
        return bytearray(size), core.Rewriter(self.profile.rules, no_answers, scout=True)

    def give_spare(self, window: bytearray, rewriter: core.Rewriter) -> None:
        """Back from an input that has ended. A window that somebody still looks at is not for
        others."""
        if len(window) != SPARE_WINDOW or len(self._spare) == _SPARES:
            return
        try:
            window.append(0)
        except BufferError:
            return
        del window[-1]
        rewriter.restart(no_answers, scout=True)
        self._spare.append((window, rewriter))

    def syntax_of(self, value: bytes) -> tuple[str, int | None, bool]:
        """The transfer syntax UID of a value field, and what encoding_of says of it."""
        known = self._syntaxes.get(value)
        if known is None:
            uid = text_of(value)
            known = (uid, *self.encoding_of(uid))
            if uid in self._kinds:  # there are some sixty of them
                self._syntaxes[value] = known
        return known

    def is_ordinary_class(self, value: bytes) -> bool:
        """Whether the value field of a SOP class names neither a DICOMDIR nor a voice."""
        known = self._classes.get(value)
        if known is None:
            uid = text_of(value)
            known = uid != DICOMDIR_CLASS and uid not in AUDIO_CLASSES
            if len(self._classes) < _CLASSES:
                self._classes[value] = known
        return known

    def encoding_of(self, syntax: str) -> tuple[int | None, bool]:
        """How the core must read a transfer syntax (None: it is not of a data set), and whether
        the data set is deflated. An empty or unregistered UID must be proved by the bytes."""
        if not syntax:
            return core.UNKNOWN, False
        kind = self._kinds.get(syntax)
        if kind is None:
            # under the DICOM root it is newer than the table, or a hiding place
            ours = syntax.startswith("1.2.840.10008.")
            return None if ours else core.UNREGISTERED, False
        return _ENCODING_OF_KIND.get(kind), kind == "deflated"

    def answers(
        self, syntax: str, patient_id: bytes, second_run: bool, crosswalk: Crosswalk | None = None
    ) -> Answers:
        """What gives the core new values for one input of that transfer syntax and patient."""
        return Answers(self, syntax, patient_id, second_run, crosswalk)

    @property
    def dates(self) -> DateShifter:
        """Made when a date is first moved: most profiles move none."""
        if self._dates is None:
            from .dates import DateShifter

            self._dates = DateShifter(self._key, *self.profile.shift_days)
        return self._dates

    @property
    def pseudonyms(self) -> Pseudonyms:
        """Made when a pseudonym is first asked for."""
        if self._pseudonyms is None:
            from .pseudonyms import Pseudonyms

            self._pseudonyms = Pseudonyms(self._key, self._table)
        return self._pseudonyms

    def hash_value(self, value: bytes) -> bytes:
        """A keyed hash in place of a value."""
        from .pseudonyms import hash_value

        return hash_value(self._key, value, len(value))

    def days_for(self, patient_id: bytes) -> int | None:
        """How far the dates of a patient move, None: they are blanked."""
        if self._table is not None:
            found = self._table.look_up(patient_id)
            if found is not None and found[1] is not None:
                return found[1]
        return self.dates.days_for(patient_id)


class Answers:
    """New values for one input. `notes` counts what a user should know of.

    second_run: the input bears the mark of an earlier run, so its keyed values stay.
    crosswalk: gets (kind, old, new) of every UID and pseudonym that becomes another one.
    """

    def __init__(
        self,
        engine: Engine,
        syntax: str,
        patient_id: bytes,
        second_run: bool,
        crosswalk: Crosswalk | None = None,
    ) -> None:
        self.notes: dict[str, int] = {}
        self._engine = engine
        self._syntax = syntax
        self._patient_id = patient_id
        self._second_run = second_run
        self._crosswalk = crosswalk
        self._days: int | None = None
        self._days_known = False
        self._new_uids = engine.uids.keep_value if second_run else engine.uids.map_value
        self._kept_uids = engine.uids.keep_value
        # what the core need not ask for; a crosswalk has to be told of every UID
        self.known_uids = None if crosswalk is not None else engine.uids.known(second_run)

    def __call__(self, asks: list[Ask]) -> list[Answer]:
        """One batch: the values of a window that need more than the rule table."""
        new: list[Answer] = []
        for action, value, vr, about in asks:
            if action == core.UID:
                new.append(self._new_uids(value))
            elif action == core.CHECK_UID:
                new.append(self._kept_uids(value))
            elif action == core.PIXELS:
                new.append(_blank_pixels(self._syntax, value, about))
            elif action == core.DOCUMENT:
                new.append(self._blank_document(value, about))
            elif action == core.PSEUDONYM:
                new.append(self._pseudonym(value, PSEUDONYM_KINDS[about]))
            elif action == core.HASH:
                new.append(value if self._second_run else self._engine.hash_value(value))
            else:
                new.append(self._date(action, value, core.VR_NAMES[vr]))
        if self._crosswalk is not None:
            self._remember(self._crosswalk, asks, new)
        return new

    def _remember(self, crosswalk: Crosswalk, asks: list[Ask], answers: list[Answer]) -> None:
        for (action, old, _, about), new in zip(asks, answers, strict=True):
            if old == new or not isinstance(new, bytes):
                continue
            if action in (core.UID, core.CHECK_UID):
                # the padding of several values stands behind the last of them
                for one, other in zip(old.split(b"\\"), new.split(b"\\"), strict=True):
                    if one != other:  # a registered one stays
                        crosswalk.append(("uid", one, other))
            elif action == core.PSEUDONYM:
                crosswalk.append((PSEUDONYM_KINDS[about], old, new))

    def set_patient(self, patient_id: bytes) -> None:
        """Whose the values are that are asked for from now on: a DICOMDIR has many patients."""
        if patient_id != self._patient_id:
            self._patient_id = patient_id
            self._days_known = False

    def _date(self, action: int, value: bytes, vr: str) -> bytes:
        from . import dates

        if action == core.YEAR:
            return dates.year_only(value)
        if action == core.ZERO_TIME:
            return dates.zero_time(value)
        if self._second_run:
            return dates.remembered(vr, value)
        if not self._days_known:
            self._days_known = True
            self._days = self._engine.days_for(self._patient_id)
        if self._days is None:
            self._note("date blanked: there is no Patient ID to move it by")
        return dates.shift(vr, value, self._days)

    def _pseudonym(self, value: bytes, kind: str) -> bytes | str:
        """A value's own pseudonym; or the one of the Patient ID, fitted to the field."""
        if self._second_run:
            return value
        from .pseudonyms import fit

        pseudonyms = self._engine.pseudonyms
        try:
            if kind == "patient-id":
                return fit(pseudonyms.replace("patient", self._patient_id), len(value))
            return pseudonyms.replace_each(kind, value)
        except DicomError as error:
            return error.reason
        finally:
            for name, count in pseudonyms.take_counts().items():
                if count:
                    self._note(_PSEUDONYM_NOTES[name])

    def _note(self, text: str) -> None:
        self.notes[text] = self.notes.get(text, 0) + 1

    def _blank_document(self, first_bytes: bytes, length: int) -> tuple[bytes, int, bytes]:
        from .documents import blank_document

        fill, valid = blank_document(first_bytes, length)
        if not valid:
            self._note("encapsulated document of no known format set to zeros")
        return fill.head, fill.fill, fill.tail


class Looker(Engine):
    """Of an engine whose sessions only look: no value is replaced that the key would decide, no
    pseudonym is missing, so an output is walked like its original."""

    def __init__(self, engine: Engine) -> None:
        vars(self).update(vars(engine))

    def answers(
        self, syntax: str, patient_id: bytes, second_run: bool, crosswalk: Crosswalk | None = None
    ) -> Answers:
        echo = _Echo(self, syntax, patient_id, second_run)
        echo.known_uids = None
        return echo


class _Echo(Answers):
    def __call__(self, asks: list[Ask]) -> list[Answer]:
        return [(b"", 0, b"") if action == core.DOCUMENT else value for action, value, _, _ in asks]


def _blank_pixels(syntax: str, fragments: bytes, geometry: tuple[int, ...]) -> bytes | str:
    """Encapsulated pixel data of the same fragments with a blank image in them, or why not."""
    from .codestreams import Geometry, blank_fragments

    height, width, samples, allocated, stored, frames = geometry
    pieces = _fragments(fragments)
    image = Geometry(height, width, samples or 1, allocated or 8, stored or allocated or 8)
    blank = blank_fragments(syntax, image, frames or 1, [length for _, length in pieces[1:]])
    if blank is None:
        return "no blank image of the same size and transfer syntax fits this icon"
    new = bytearray(fragments)
    table, size = pieces[0]
    first = pieces[1][0]
    offsets = {(start - first).to_bytes(4, "little") for start, _ in pieces[1:]}
    if any(
        fragments[i : min(i + 4, table + size)] not in offsets
        for i in range(table, table + size, 4)
    ):
        new[table : table + size] = bytes(size)  # a Basic Offset Table of something else
    for (start, length), piece in zip(pieces[1:], blank, strict=True):
        new[start : start + length] = piece
    return bytes(new)


def _fragments(value: bytes) -> list[tuple[int, int]]:
    """(start, length) of each item in an encapsulated value that the core has measured; the first
    is the Basic Offset Table (PS3.5 section A.4)."""
    pieces = []
    at = 0
    while value[at : at + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(value[at + 4 : at + 8], "little")
        pieces.append((at + 8, length))
        at += 8 + length
    return pieces


def text_of(value: bytes) -> str:
    """A value without its padding and what follows a NUL."""
    return value.partition(b"\0")[0].strip().decode("latin-1")


def no_answers(asks: list[Ask]) -> list[Answer]:
    raise AssertionError("a scout asks for nothing")
