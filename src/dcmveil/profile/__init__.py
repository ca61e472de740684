"""Profiles: what PS3.15 Annex E asks for, as a rule table that the core can look up.

A profile is read from the tables beside this file. Its rows are data; nothing here knows files.
"""

from __future__ import annotations

from .. import core
from ..errors import UsageError
from .tables_io import read_text, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("basic",)
EDITION = "2026d"
_TABLE = f"e1_1_{EDITION}.tsv"

# Action codes of Table E.1-1a. A compound code depends on the Type of the attribute in its IOD,
# which a byte rewriter does not know: its last letter removes as much and breaks no Type.
ACTION_OF_CODE = {
    "X": core.BLANK,
    "Z": core.BLANK,
    "D": core.DUMMY,
    "U": core.UID,
    "U*": core.UID,
    "K": core.KEEP,
}
_ACTION_OF_WORD = {
    "keep": core.KEEP,
    "blank": core.BLANK,
    "dummy": core.DUMMY,
    "uid": core.UID,
    "document": core.DOCUMENT,
}
_WHEN_SHORT = {"set": core.CUT, "set-or-keep": core.LEAVE, "set-or-blank": core.CLEAR}

# Attributes that no row names, by VR (PS3.15 has no such rule; the project's own decision):
# a name is a name wherever it stands, and an address holds hosts and IDs.
BY_VR = {"PN": core.DUMMY, "UR": core.BLANK}


class Profile:
    """A named set of rules, frozen for the core.

    `rules` is the table, `digest` (32 bytes) tells it from any other, and is what the run mark of
    a file is bound to.
    """

    def __init__(self, name: str, rules: core.Rules, digest: bytes) -> None:
        self.name = name
        self.rules = rules
        self.digest = digest


def load(name: str = "basic") -> Profile:
    """The profile of that name. Raises UsageError when there is none."""
    if name not in NAMES:
        raise UsageError(f"no profile of that name; there are: {', '.join(NAMES)}")
    from ..keys import digest_of

    texts = [read_text(file) for file in (_TABLE, "decisions.tsv", "structure.tsv")]
    dictionary = read_text("dictionary.txt")
    rules = core.Rules()
    rules.load(dictionary.encode(), read_text("private_dictionary.txt").encode())
    for pattern, vr, action in _table_rows(texts[0]):
        known = rules.look_up(int(pattern, 16))[0] if "x" not in pattern else 1
        rules.set(pattern, None if known else vr, action)
    for pattern, word in _word_rows(texts[1]):
        action, literal = _action(rules, word)
        rules.set(pattern, None, action, None, literal)
    for pattern, word in _word_rows(texts[2]):
        action, literal = _action(rules, word)
        rules.set(pattern, None, None, action, literal)
    for vr, action in BY_VR.items():
        rules.set_vr(vr, action)
    rules.freeze()
    return Profile(name, rules, digest_of(name, dictionary, *texts))


def pattern_of(tag: str) -> str:
    """`(gggg,eeee)` of the tables as the eight digits of a rule; x stands for any digit."""
    return tag[1:5] + tag[6:10]


def _table_rows(text: str) -> Iterator[tuple[str, str | None, int]]:
    """Tag, VR and basic action of each row of Table E.1-1 but the one for private attributes,
    which the rule table blanks unless it is told otherwise."""
    for tag, _name, _keyword, vr, _retired, code, *_options in rows(text):
        if tag != "private":
            yield pattern_of(tag), vr[-2:] or None, ACTION_OF_CODE[code.rsplit("/", 1)[-1]]


def _word_rows(text: str) -> Iterator[tuple[str, str]]:
    for tag, word, _reason in rows(text):
        yield pattern_of(tag), word


def _action(rules: core.Rules, word: str) -> tuple[int, int | None]:
    """An action as the project's own tables write it, and the literal's index where it has one."""
    verb, colon, text = word.partition(":")
    if not colon:
        return _ACTION_OF_WORD[verb], None
    return core.LITERAL, rules.literal(text.encode("ascii"), _WHEN_SHORT[verb])
