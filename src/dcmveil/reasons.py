"""Why a value is treated as it is: which row, default or rule of the grammar chose its action.

The core decides by a frozen table and keeps no reasons. Here the same decision is made once more
from the draft that the table was made of, with words; a test holds the two against each other.
"""

from __future__ import annotations

from . import core
from .engine import AUDIO_CLASSES, DICOMDIR_CLASS
from .profile.model import ACTIONS, covers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .core import Trace
    from .profile import Profile, Row

    Place = tuple[tuple[int, int], ...]

_MEDIA_CLASS, _SOP_CLASS, _WAVEFORM_DATA = 0x00020002, 0x00080016, 0x54001010
_FILE_ID = 0x00041500
_CREATOR_LIMIT = 128  # bytes; the core takes nothing longer for a private creator
_WHOLE_LIMIT = 65536  # bytes; the core sees no longer value whole
TEXT = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT")
)
_DATES = ("DA", "DT", "TM")
_OF_DATES = (core.SHIFT, core.YEAR, core.ZERO_TIME)
_OF_TEXT = (core.PSEUDONYM, core.HASH)


class _Rows:
    """Rows by pattern: of those that fit a tag, the last one counts."""

    def __init__(self, rows: dict[str, Row]) -> None:
        self._rows = rows
        self._wide = [pattern for pattern in rows if "x" in pattern]
        self._number = {pattern: number for number, pattern in enumerate(rows)}

    def of(self, tag: int) -> Row | None:
        text = f"{tag:08X}"
        fitting = [pattern for pattern in self._wide if covers(pattern, text)]
        if text in self._rows:
            fitting.append(text)
        return self._rows[max(fitting, key=self._number.__getitem__)] if fitting else None


class _Open:
    """A sequence that is open: whether it is blanked, and why."""

    __slots__ = ("tag", "veils", "why")

    def __init__(self, tag: int, veils: bool, why: str) -> None:
        self.tag = tag
        self.veils = veils
        self.why = why


class Reasons:
    """The reasons for one input. `of` wants every tuple of its trace, in order."""

    def __init__(self, profile: Profile) -> None:
        self._draft = profile.draft
        self._look_up = profile.rules.look_up
        self._rows = _Rows(profile.draft.rows)
        self._structure = _Rows(profile.draft.structure)
        self._open: list[_Open] = []
        # of the open data sets that reserve private blocks: place, (group, block) -> creator
        self._creators: list[tuple[Place, dict[int, str]]] = []
        self._directory = False
        self._audio = False

    def of(self, entry: Trace) -> tuple[int, str]:
        """The action that the profile leads to, and why.

        Three things are taken from the trace and not decided again: whether a private creator is a
        known one, whether the file declares a private element safe, and whether the file names in
        a DICOMDIR are to stay.
        """
        place, tag, vr_number, actual, _, _, _, _, total, old, new = entry
        vr = core.VR_NAMES[vr_number]
        self._watch(place, tag, old)
        if actual == core.WIPE:
            return actual, "text after a NUL: some readers show it and others do not"
        if actual == core.ZERO:
            return actual, "a VR that is none of the 34: nothing in it is understood"
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF and vr == "LO" and new is not None:
            return self._creator(place, tag, actual, total, old)
        veil = next((sequence for sequence in self._open if sequence.veils), None)
        action, why, whole = self._decide(place, tag, vr, veil, total)
        if tag >> 16 & 1 and actual == core.KEEP != action and veil is None and total:
            action, why = core.KEEP, "declared safe by the file itself in (0008,0300)"
        if tag == _FILE_ID and self._directory and actual == core.KEEP != action and total:
            action, why = core.KEEP, "asked for: the files keep their names"
        if new is None:
            veils = veil is not None or (whole and action not in (core.KEEP, core.UID))
            self._open.append(_Open(tag, veils, why))
            return action, why if veils else f"its items are decided one by one ({why})"
        if total == 0:
            return core.KEEP, f"empty ({why})"
        if actual == core.PIXELS:
            return actual, f"a blank image of the same size ({why})"
        return _fitted(action, vr, total, why)

    def of_top_level(self, tag: int) -> str:
        """The reason for an element of the top-level data set that no trace shows."""
        row = self._row((), tag)
        return self._default(bool(tag >> 16 & 1), "any")[1] if row is None else row.source

    def _watch(self, place: Place, tag: int, old: bytes) -> None:
        """What later decisions depend on."""
        del self._open[len(place) :]
        while self._creators and self._creators[-1][0] != place[: len(self._creators[-1][0])]:
            self._creators.pop()
        if not place and tag == _MEDIA_CLASS:
            self._directory = _text(old) == DICOMDIR_CLASS
        elif not place and tag == _SOP_CLASS:
            self._audio = _text(old) in AUDIO_CLASSES

    # -- the decision ------------------------------------------------------------------------

    def _decide(
        self, place: Place, tag: int, vr: str, veil: _Open | None, total: int
    ) -> tuple[int, str, bool]:
        """Action, reason, and whether an action other than keep blanks a sequence whole."""
        draft = self._draft
        private = bool(tag >> 16 & 1)
        known = "" if private else core.VR_NAMES[self._look_up(tag)[0]]
        whole = not draft.walk_private if private else bool(known)
        row = None
        if veil is not None:
            action, why = self._inside(veil, tag, known)
        else:
            row = self._row(place, tag)
            if row is not None:
                known = (row.vr or "") if private else known
                action, why = _code(row.action), row.source
            else:
                action, why = self._default(private, known)
        if tag & 0xFFFF == 0 and not private:
            row, known = None, "UL"
            action = core.KEEP if total == 4 and vr == "UL" else core.BLANK
            why = "a group length: it says nothing of a person"
        elif tag >> 16 == 4 and not self._directory:
            action, why = core.BLANK, "group 0004 belongs to a DICOMDIR"
        elif self._audio and tag == _WAVEFORM_DATA:
            action, why = core.BLANK, "a voice: the waveform of an audio SOP Class"
        if action == core.KEEP and row is None and not private:
            action, why = self._by_vr(vr, known, why)
        if action == core.KEEP and known == "SQ" != vr:
            action, why = core.BLANK, "a sequence encoded in another VR"
        return action, why, whole

    def _inside(self, veil: _Open, tag: int, known: str) -> tuple[int, str]:
        """Inside a blanked sequence."""
        where = (
            f"inside ({veil.tag >> 16:04X},{veil.tag & 0xFFFF:04X}), which is blanked: {veil.why}"
        )
        row = None if tag >> 16 & 1 else self._structure.of(tag)
        if row is not None:
            return _code(row.action), f"{where}; {row.source}"
        if not known:
            return core.BLANK, where
        return core.UID if known == "UI" else core.DUMMY, where

    def _row(self, place: Place, tag: int) -> Row | None:
        """The row of the longest path that the element's own path ends with, or of its tag."""
        draft = self._draft
        if draft.paths:
            path = (*(sequence for sequence, _ in place), tag)
            for start in range(len(path)):
                row = draft.paths.get(path[start:])
                if row is not None:
                    return row
        if tag >> 16 & 1:
            return draft.private.get((self._creator_of(place, tag), tag >> 16, tag & 0xFF))
        return self._rows.of(tag)

    def _default(self, private: bool, known: str) -> tuple[int, str]:
        if private:
            return ACTIONS[self._draft.private_default], "private: no row names it"
        of_vr = self._draft.by_vr.get(known)
        if known and self._draft.unlisted != "keep" and of_vr is not None:
            return _code(of_vr.action), of_vr.source
        if known:
            # a sequence that no row names is walked, whatever becomes of other attributes
            word = "keep" if known == "SQ" else self._draft.unlisted
            return ACTIONS[word], "no row names it"
        return ACTIONS[self._draft.unknown], "the dictionary does not have this tag"

    def _by_vr(self, vr: str, known: str, why: str) -> tuple[int, str]:
        """By the VR that the value is treated by, then by that of the dictionary."""
        for name in (vr, known):
            row = self._draft.by_vr.get(name)
            if row is not None and row.action != "keep":
                return _code(row.action), row.source
        return core.KEEP, why

    # -- private blocks ----------------------------------------------------------------------

    def _creator(
        self, place: Place, tag: int, actual: int, total: int, value: bytes
    ) -> tuple[int, str]:
        """A private creator, remembered for the elements of its block."""
        if not self._creators or self._creators[-1][0] != place:
            self._creators.append((place, {}))
        if total <= _CREATOR_LIMIT:
            name = value.rstrip(b" \0").lstrip(b" ").decode("latin-1")
            self._creators[-1][1][tag & 0xFFFF0000 | (tag & 0xFF) << 8] = name
        if total == 0:
            return core.KEEP, "empty (a private creator)"
        if actual == core.KEEP:
            return actual, "a private creator: readers need it for the meaning of its block"
        return core.BLANK, "a private creator of no list may be any text"

    def _creator_of(self, place: Place, tag: int) -> str:
        """The private creator of the tag's block in this data set, empty if there is none."""
        if not self._creators or self._creators[-1][0] != place:
            return ""
        return self._creators[-1][1].get(tag & 0xFFFFFF00, "")


def _code(word: str) -> int:
    """The core's number for the action of a row."""
    return ACTIONS[word.partition(":")[0]]


def _fitted(action: int, vr: str, total: int, why: str) -> tuple[int, str]:
    """What becomes of an action in a value that it does not suit."""
    if action == core.KEEP and vr == "UI":
        return core.CHECK_UID, why
    if action == core.UID and vr != "UI":
        return core.BLANK, f"{why}; no UID may stand in this VR"
    if action == core.DUMMY and vr == "UI":
        return core.UID, why
    suits = vr in _DATES if action in _OF_DATES else vr in TEXT
    if action in _OF_DATES + _OF_TEXT and (not suits or total > _WHOLE_LIMIT):
        return core.BLANK, f"{why}; this VR or length does not allow it"
    if action == core.DOCUMENT and vr in TEXT:
        return core.DUMMY, why
    return action, why


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].strip().decode("latin-1")
