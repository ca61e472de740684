"""A profile while it is put together: rows with their reasons, and the switches beside them.

Whatever a profile comes from (the tables of the standard, options, a file of the user), it becomes
a Draft; `freeze` turns a Draft into the rule table of the core.
"""

from __future__ import annotations

from .. import core
from ..keys import digest_of
from .frozen import PSEUDONYM_KINDS, SHIFT_DAYS, Profile
from .tables_io import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# What a row can do, and the core's action for it. An argument follows a colon where the word has
# one: the text of a literal, the kind of a pseudonym.
ACTIONS = {
    "keep": core.KEEP,
    "blank": core.BLANK,
    "dummy": core.DUMMY,
    "uid": core.UID,
    "document": core.DOCUMENT,
    "shift": core.SHIFT,
    "year": core.YEAR,
    "zero-time": core.ZERO_TIME,
    "pseudonym": core.PSEUDONYM,
    "hash": core.HASH,
    "set": core.LITERAL,
    "set-or-keep": core.LITERAL,
    "set-or-blank": core.LITERAL,
}
_WHEN_SHORT = {"set": core.CUT, "set-or-keep": core.LEAVE, "set-or-blank": core.CLEAR}


class Row:
    """What happens to one tag or pattern of tags, and why.

    pattern  ggggeeee in upper case, x for any hexadecimal digit
    action   a word of ACTIONS, with its argument after a colon
    source   where the row comes from, for people
    vr       VR for tags that the dictionary does not have, None: as there
    """

    __slots__ = ("action", "pattern", "source", "vr")

    def __init__(self, pattern: str, action: str, source: str, vr: str | None = None) -> None:
        self.pattern = pattern
        self.action = action
        self.source = source
        self.vr = vr

    def __repr__(self) -> str:
        return f"Row({self.pattern}, {self.action}, {self.source})"


class Draft:
    """A profile that can still be changed. `rows` are in order: of two that name a tag, the one
    that was set last counts.

    rows        for tags anywhere outside a blanked sequence
    structure   for tags inside a blanked sequence
    by_vr       actions for attributes that no row names, by VR
    private     (creator, group, low byte of the element) -> row
    paths       (tag of a sequence, ..., tag) -> row, matched at the end of an element's path
    unlisted    action for public attributes of the dictionary that no row names
    unknown     action for public tags that the dictionary does not have
    private_default, walk_private
                action for private attributes that no row names, and whether the items of their
                sequences are decided on one by one
    honours_characteristics
                a file's own (0008,0300) may declare private elements safe
    shift_days  least and most days that dates move by
    codes       of CID 7050, for the profile and each option
    base        the profile that ships that this one is made from, empty: none
    edition     of PS3.15, where the profile has several
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.title = ""
        self.options: tuple[str, ...] = ()
        self.rows: dict[str, Row] = {}
        self.structure: dict[str, Row] = {}
        self.by_vr: dict[str, Row] = {}
        self.private: dict[tuple[str, int, int], Row] = {}
        self.paths: dict[tuple[int, ...], Row] = {}
        self.unlisted = "keep"
        self.unknown = "blank"
        self.private_default = "blank"
        self.walk_private = False
        self.honours_characteristics = False
        self.shift_days = SHIFT_DAYS
        self.codes: list[str] = []
        self.base = ""
        self.edition = ""

    def row_of(self, tag: str) -> Row | None:
        """The row that counts for a tag, or for a pattern that lies in that of a row."""
        last = None
        for pattern, row in self.rows.items():
            if pattern == tag or ("x" in pattern and covers(pattern, tag)):
                last = row
        return last

    def set(self, row: Row) -> None:
        """Add a row, after all others; one of the same pattern is replaced."""
        self.rows.pop(row.pattern, None)
        self.rows[row.pattern] = row

    def freeze(self) -> Profile:
        """The rule table of this profile. Raises ValueError for rows that do not fit it."""
        dictionary = read_bytes("dictionary.txt")
        rules = core.Rules(unknown=ACTIONS[self.unknown])
        rules.load(dictionary, read_bytes("private_dictionary.txt"))
        if self.unlisted != "keep":
            rules.set_known(ACTIONS[self.unlisted])
            for pattern, vr in _by_vr(dictionary.decode(), {"SQ", *self.by_vr}):
                # a sequence that no row names is walked: its items are decided on one by one
                of_vr = self.by_vr.get(vr)
                rules.set(pattern, None, ACTIONS[of_vr.action] if of_vr else core.KEEP)
        if self.private_default != "blank" or self.walk_private:
            rules.set_private_default(ACTIONS[self.private_default], self.walk_private)
        codes = Codes(rules)
        rules.set_rows(self.lines(codes, rules))
        for vr, row in self.by_vr.items():
            rules.set_vr(vr, ACTIONS[row.action])
        for (creator, group, low), row in self.private.items():
            action, argument = codes[row.action]
            rules.set_private(creator, group, low, action, None, argument)
        for scope, tag, place, following in scopes(self.paths):
            code, argument = (None, 0) if place is None else codes[place.action]
            rules.set_scope(scope, tag, code, argument, following)
        rules.freeze()
        return Profile(self.name, rules, digest_of(dictionary, *self._facts()), self)

    def lines(self, codes: Codes, rules: core.Rules) -> bytes:
        """The rows as `rules`, which has the dictionary and nothing else yet, takes them."""
        look_up = rules.look_up
        lines = []
        for row in self.rows.values():
            action, argument = codes[row.action]
            vr, veiled = "--", core.UNCHANGED
            if (
                row.vr is not None
                and "x" not in row.pattern
                and not look_up(int(row.pattern, 16))[0]
            ):
                # newer than the dictionary
                vr, veiled = row.vr, core.UID if row.vr == "UI" else core.DUMMY
            lines.append(f"{row.pattern} {vr} {action:02X} {veiled:02X} {argument:02X}\n")
        for row in self.structure.values():
            action, argument = codes[row.action]
            lines.append(f"{row.pattern} -- FF {action:02X} {argument if action else 255:02X}\n")
        return "".join(lines).encode("ascii")

    def _facts(self) -> Iterator[str]:
        """All that the outcome depends on, for the digest. Names and reasons do not count."""
        yield from (self.unlisted, self.unknown, self.private_default)
        yield f"{self.walk_private} {self.honours_characteristics} {self.shift_days}"
        for table in (self.rows, self.structure, self.by_vr, self.private, self.paths):
            yield "\n".join([f"{key} {row.action} {row.vr}" for key, row in table.items()])


class Codes(dict[str, tuple[int, int]]):
    """The core's action and argument for the word of a row, found once for each word."""

    def __init__(self, rules: core.Rules) -> None:
        self._rules = rules

    def __missing__(self, word: str) -> tuple[int, int]:
        verb, _, argument = word.partition(":")
        action = ACTIONS[verb]
        number = 0
        if action == core.LITERAL:
            number = self._rules.literal(*literal_of(word))
        elif action == core.PSEUDONYM:
            number = PSEUDONYM_KINDS.index(argument or "patient")
        elif action == core.KEEP:
            number = core.BY_ROW
        self[word] = code = action, number
        return code


def literal_of(word: str) -> tuple[bytes, int]:
    """The fixed bytes of such a word, and what they do in a field too short for them."""
    verb, _, text = word.partition(":")
    return text.encode("ascii"), _WHEN_SHORT[verb]


def covers(pattern: str, tag: str) -> bool:
    """Whether all tags of `tag`, itself perhaps a pattern, are among those of `pattern`."""
    return all(p in ("x", t) for p, t in zip(pattern, tag, strict=True))


def _by_vr(dictionary: str, vrs: set[str]) -> Iterator[tuple[str, str]]:
    """Tags and patterns of the dictionary with one of these VRs, patterns first."""
    lines = [line for line in dictionary.splitlines() if line[9:] in vrs and line[0] != "#"]
    lines.sort(key=lambda line: "x" not in line)
    for line in lines:
        yield line[:8], line[9:]


def scopes(
    paths: dict[tuple[int, ...], Row],
) -> Iterator[tuple[int, int, Row | None, int]]:
    """(scope, tag, row or None, scope of its items) for the core.

    A path matches the end of an element's path, so the scopes are the states of an Aho-Corasick
    automaton: each is a beginning of some path, and stands for the longest one that the open
    sequences end with. Scope 0 is the empty beginning.
    """
    beginnings = sorted({path[:n] for path in paths for n in range(len(path))}, key=len)
    if not beginnings:
        return
    number = {beginning: i for i, beginning in enumerate(beginnings)}
    tags = {tag for path in paths for tag in path}
    for here in beginnings:
        for tag in tags:
            whole = (*here, tag)
            endings = [whole[n:] for n in range(len(whole))]
            row = next((paths[end] for end in endings if end in paths), None)
            following = next((number[end] for end in endings if end in number), 0)
            if row is not None or following:
                yield number[here], tag, row, following
