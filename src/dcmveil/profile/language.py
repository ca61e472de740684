"""The language of profile files: TOML, read into a Draft, with every mistake and its line.

    extends = "basic"              # a profile that ships, another file, or "nothing"
    options = ["retain-uids"]
    unlisted = "blank"             # an allow-list

    [rules]
    PatientID = "pseudonym"
    BodyPartExamined = { set = "BREAST" }

What counts for an attribute, from the strongest: a rule for its place, a rule for its tag, the
rule of a pattern, the rows of what the file extends, a rule by VR, `unlisted`.
"""

from __future__ import annotations

import os

from ..errors import UsageError
from .builtin import (
    EDITIONS,
    NAMES,
    OPTIONS,
    PROFILE_CODE,
    add_safe_private,
    add_structure,
    draft_of,
    own_rows,
)
from .frozen import SHIFT_DAYS
from .model import Draft, Row, scopes
from .names import Names, nearest, overlap, shown
from .targets import Mistake, Target, known_creator_like, target_of
from .toml_lines import Toml
from .wanted import fault_of, meant_by, row_word, word_of

NOTHING = "nothing"
SAFE_PRIVATE = "retain-safe-private"
_WORDS = {
    "unlisted": ("keep", "blank"),
    "private": ("keep", "blank", "safe"),
    "unknown": ("keep", "blank"),
}
_KEYS = ("title", "extends", "edition", "options", *_WORDS, "shift-days", "rules")
_MOST_DAYS = 36500  # as in dates.py
_MOST_BYTES = 1 << 20  # a file of every attribute there is has a fifth of it
_MOST_TEXTS = 64  # different texts of `set`, and
_MOST_PLACES = 255  # beginnings of paths, and what follows from them: limits of the core
_MOST_PLACE_RULES = 3000
_MOST_FILES = 8  # that extend one another


def draft_of_file(path: str, options: tuple[str, ...] = (), edition: str | None = None) -> Draft:
    """The profile in a file. Options are added to those that it names, an edition goes before its
    own. Raises UsageError with every mistake, `FILE:LINE: what was meant`, one a line."""
    return read_file(path, options, edition).draft


def read_file(path: str, options: tuple[str, ...] = (), edition: str | None = None) -> ProfileFile:
    """The same with all that was seen on the way."""
    file = ProfileFile(path, options, edition, Names(), ())
    if file.mistakes:
        raise UsageError("\n".join(file.mistakes))
    return file


class Rule:
    """One rule of a file: what for, the action with its argument, and what was before it."""

    def __init__(self, line: int, target: Target, action: str, before: str) -> None:
        self.line = line
        self.target = target
        self.action = action
        self.before = before


class ProfileFile:
    """A profile file that was read.

    draft     what it says, put together
    rules     its rules in order
    notes     `FILE:LINE: note: text` of what its author should know
    mistakes  `FILE:LINE: text`; where there are any, the draft is not whole
    """

    def __init__(
        self,
        path: str,
        options: tuple[str, ...],
        edition: str | None,
        names: Names,
        chain: tuple[str, ...],
    ) -> None:
        self.path = path
        self.rules: list[Rule] = []
        self._names = names
        self._chain = (*chain, os.path.realpath(path))
        self._found: list[tuple[int, str]] = []
        self._notes: list[tuple[int, str]] = []
        self._others: list[str] = []  # mistakes in the files that this one extends
        self._toml = Toml(_text_of(path))
        self._found += self._toml.faults
        self._check_keys()
        self._whole = True  # whether what it extends is known
        self.draft = self._extended(options, edition)
        self._say_words()
        self._read_rules()
        if self._whole:
            self._apply_rules()
            self._check_together()
        if not self._found:
            self._say_what_was_done()

    @property
    def mistakes(self) -> list[str]:
        lines = [f"{self.path}:{line}: {text}" for line, text in _by_line(self._found)]
        return self._others + lines

    @property
    def notes(self) -> list[str]:
        return [f"{self.path}:{line}: note: {text}" for line, text in _by_line(self._notes)]

    # -- the top of the file -----------------------------------------------------------------

    def _fault(self, key: str, text: str) -> None:
        self._found.append((self._toml.line_of.get((key,), 1), text))

    def _check_keys(self) -> None:
        for key in self._toml.values:
            if key in _KEYS:
                continue
            if self._names.tag_of(key) or key[:1] in "(0123456789" or " " in key or "/" in key:
                self._fault(key, f"a rule stands below the line [rules]: {key}")
            else:
                meant = nearest(key, _KEYS)
                hint = f"{meant} was meant?" if meant else f"there are: {', '.join(_KEYS)}"
                self._fault(key, f"unknown word {key!r}; {hint}")

    def _text(self, key: str) -> str:
        """The text of a key, empty: it is not there, or no text."""
        value = self._toml.values.get(key, "")
        if not isinstance(value, str):
            self._fault(key, f'`{key}` is a text in quotes: {key} = "..."')
            return ""
        return value

    def _one_of(self, key: str, words: tuple[str, ...]) -> str:
        """The word of a key; empty: it is not there, or none of the words."""
        value = self._toml.values.get(key)
        if value is None or value in words:
            return str(value or "")
        meant = meant_by(str(value), words)
        hint = f'"{meant}" was meant? ' if meant else ""
        given = str(value).lower() if isinstance(value, bool) else repr(value)
        self._fault(key, f"`{key}` cannot be {given}; {hint}there are: {', '.join(words)}")
        return ""

    def _extended(self, options: tuple[str, ...], edition: str | None) -> Draft:
        """What the file extends, with the options of both the file and its user."""
        given = self._text("extends")
        if "extends" not in self._toml.values and not self._toml.faults:
            self._fault("", f"`extends` is missing: {', '.join(NAMES)}, a file, or {NOTHING}")
        own_edition = self._one_of("edition", EDITIONS)
        both = tuple(dict.fromkeys((*self._own_options(), *options)))
        edition = edition or own_edition or None
        if given.endswith(".toml"):
            return self._extended_file(given, both, edition)
        if given == NOTHING:
            return self._from_nothing(both, edition)
        if given in NAMES:
            try:
                return draft_of(given, both, edition)
            except UsageError as error:
                keys = [key for key in ("options", "edition", "private") if key in str(error)]
                at = next((k for k in (*keys, "options") if (k,) in self._toml.line_of), "extends")
                self._fault(at, str(error))
        elif isinstance(self._toml.values.get("extends"), str):
            meant = nearest(given.lower(), (*NAMES, NOTHING))
            hint = f'"{meant}" was meant? ' if meant else ""
            there = f"{', '.join(NAMES)}, {NOTHING}, or a file that ends in .toml"
            self._fault("extends", f"no profile {given!r}; {hint}there are: {there}")
        self._whole = False
        return Draft(NOTHING)

    def _own_options(self) -> tuple[str, ...]:
        value = self._toml.values.get("options", [])
        if not isinstance(value, list) or not all(isinstance(option, str) for option in value):
            self._fault("options", '`options` is a list of texts: options = ["retain-uids"]')
            return ()
        known = []
        for option in value:
            if option in known:
                self._fault("options", f"the option {option} stands there twice")
            elif option in OPTIONS:
                known.append(option)
            else:
                meant = nearest(option.lower().replace(" ", "-").replace("_", "-"), OPTIONS)
                hint = f"{meant} was meant?" if meant else f"there are: {', '.join(OPTIONS)}"
                self._fault("options", f"no option {option!r}; {hint}")
        return tuple(known)

    def _from_nothing(self, options: tuple[str, ...], edition: str | None) -> Draft:
        if options:
            self._fault(
                "options", f'options change the rows of a profile, and "{NOTHING}" has none'
            )
        if edition:
            self._fault("edition", "editions belong to the profile basic")
        missing = [
            f"{key} = " + " or ".join(f'"{word}"' for word in words)
            for key, words in _WORDS.items()
            if key not in self._toml.values
        ]
        if missing:
            self._fault("extends", f'extends = "{NOTHING}" needs the words {", ".join(missing)}')
        draft = Draft(NOTHING)
        draft.title = "only the rules of the file"
        add_structure(draft)
        return draft

    def _extended_file(self, given: str, options: tuple[str, ...], edition: str | None) -> Draft:
        path = os.path.join(os.path.dirname(self.path), given)
        if os.path.realpath(path) in self._chain:
            self._fault("extends", f"{given} extends itself, this way or by other files")
        elif len(self._chain) == _MOST_FILES:
            self._fault("extends", f"more than {_MOST_FILES} files extend one another")
        else:
            try:
                parent = ProfileFile(path, options, edition, self._names, self._chain)
            except UsageError as error:
                self._fault("extends", str(error))
            else:
                self._others += parent.mistakes
                if not parent.mistakes:
                    return parent.draft
        self._whole = False
        return Draft(NOTHING)

    def _say_words(self) -> None:
        """What stands above the rules, put into the draft."""
        draft = self.draft
        title = self._text("title")
        if title:
            fault = fault_of("LO", title)
            if fault:
                self._fault("title", f"`title` does not fit (0012,0063): {fault}")
        draft.name = os.path.splitext(os.path.basename(self.path))[0]
        unlisted = self._one_of("unlisted", _WORDS["unlisted"])
        if unlisted == "blank" and draft.unlisted != "blank":
            # An allow-list is strict: what a profile says of other attributes by VR would keep
            # some of them.
            draft.by_vr = {vr: Row("", "blank", "unlisted = blank") for vr in draft.by_vr}
        draft.unlisted = unlisted or draft.unlisted
        draft.unknown = self._one_of("unknown", _WORDS["unknown"]) or draft.unknown
        private = self._one_of("private", _WORDS["private"])
        if private == "safe":
            self._keep_safe_private()
        elif private:
            if SAFE_PRIVATE in draft.options:
                self._fault("private", f'private = "{private}" excludes the option {SAFE_PRIVATE}')
            draft.private_default = private
        days = self._toml.values.get("shift-days")
        if days is not None:
            draft.shift_days = self._days(days)
        if draft.unlisted == "blank" and "keep" in (draft.unknown, draft.private_default):
            self._note("unlisted", "blanks what no row names, yet keeps what no dictionary knows")

    def _keep_safe_private(self) -> None:
        """As the option does, also for profiles that have no options."""
        draft = self.draft
        if draft.honours_characteristics:
            return
        add_safe_private(draft)
        if draft.base in ("basic", "sup142"):
            draft.options = tuple(o for o in OPTIONS if o in (*draft.options, SAFE_PRIVATE))
            draft.codes = [PROFILE_CODE, *(OPTIONS[option] for option in draft.options)]

    def _days(self, value: object) -> tuple[int, int]:
        form = "`shift-days` is a list of two whole numbers: shift-days = [-3650, -1]"
        if not isinstance(value, list) or [type(day) for day in value] != [int, int]:
            self._fault("shift-days", form)
        elif not -_MOST_DAYS <= value[0] <= value[1] <= _MOST_DAYS:
            most = f"both from {-_MOST_DAYS} to {_MOST_DAYS}"
            self._fault("shift-days", f"`shift-days` has the least days first, {most}")
        elif value == [0, 0]:
            self._fault("shift-days", "a shift by 0 days moves nothing")
        else:
            return value[0], value[1]
        return SHIFT_DAYS

    def _note(self, key: str, text: str) -> None:
        self._notes.append((self._toml.line_of.get((key,), 1), text))

    # -- rules -------------------------------------------------------------------------------

    def _read_rules(self) -> None:
        """Every rule that is understood."""
        table = self._toml.values.get("rules", {})
        if not isinstance(table, dict):
            self._fault("rules", "the rules are a table: a line [rules], then KEY = ACTION")
            return
        seen: dict[tuple[object, ...], str] = {}
        for key, value in table.items():
            line = self._toml.line_of["rules", key]
            try:
                target = target_of(key, self._names)
                if target.key in seen:
                    raise Mistake(f"two rules for one attribute: {seen[target.key]}")
                seen[target.key] = f"{key} is the same, on line {line}"
                word, argument = word_of(value)
                before = self._before(target)
                action, note = row_word(word, argument, target, before)
            except Mistake as mistake:
                self._found.append((line, str(mistake)))
                continue
            self.rules.append(Rule(line, target, action, before))
            if note:
                self._notes.append((line, note))
            self._note_oddities(line, target)

    def _before(self, target: Target) -> str:
        """The action without the file's rules."""
        draft = self.draft
        if target.creator:
            row = draft.private.get((target.creator, target.group, target.low))
            return row.action if row else draft.private_default
        row = (
            draft.row_of(target.path[-1] if target.path else target.tag) if not target.vr else None
        )
        if row is not None:
            return row.action
        by_vr = draft.by_vr.get(target.means)
        if by_vr is not None:
            return by_vr.action
        known = target.means or "x" in target.tag
        if target.means == "SQ":
            return "keep"
        return draft.unlisted if known else draft.unknown

    def _note_oddities(self, line: int, target: Target) -> None:
        if target.creator:
            meant = known_creator_like(target.creator, self._names)
            if meant:
                self._notes.append((line, f'no list has this creator; "{meant}" was meant?'))
        elif target.vr:
            named = sum(self._vr_of_row(row) == target.vr for row in self.draft.rows.values())
            if named:
                text = f"{named} attributes of {target.vr} have rows of their own, which go first"
                self._notes.append((line, text))
        elif not target.means and "x" not in target.tag:
            self._notes.append((line, f"the dictionary does not have {target}"))

    def _vr_of_row(self, row: Row) -> str:
        return row.vr or self._names.vr_of(row.pattern)

    def _apply_rules(self) -> None:
        """Patterns, then what files need to open, then single tags: the later one counts."""
        draft = self.draft
        needed = self._base_rows()
        patterns = [rule for rule in self.rules if "x" in rule.target.tag]
        by_vr = [rule for rule in self.rules if rule.target.vr]
        if draft.unlisted == "blank" or patterns or by_vr:
            inherited = {tag: draft.row_of(tag) for tag in needed}
            for rule in sorted(patterns, key=lambda rule: -rule.target.tag.count("x")):
                draft.set(self._row(rule))
            for tag, row in needed.items():
                draft.set(Row(tag, (inherited[tag] or row).action, (inherited[tag] or row).source))
        for rule in self.rules:
            target = rule.target
            row = self._row(rule)
            if target.path:
                draft.paths[tuple(int(tag, 16) for tag in target.path)] = row
            elif target.creator:
                draft.private[target.creator, target.group, target.low] = row
            elif target.vr:
                draft.by_vr[target.vr] = row
            elif "x" not in target.tag:
                draft.set(row)

    def _row(self, rule: Rule) -> Row:
        source = f"{os.path.basename(self.path)}, line {rule.line}"
        return Row(rule.target.tag, rule.action, source, rule.target.means or None)

    def _base_rows(self) -> dict[str, Row]:
        """What an allow-list keeps all the same; faults for rules that go against the needed."""
        base: dict[str, Row] = {}
        named = {(r.target.path or (r.target.tag,))[-1]: r for r in self.rules}
        for tag, action, reason in own_rows("allow_list_base.tsv"):
            if action == "needed":
                rule = named.get(tag)
                if rule is not None and rule.action != "keep":
                    text = f"{rule.target} must be kept, or no reader opens the file"
                    self._found.append((rule.line, text))
                action = "keep"
            base[tag] = Row(tag, action, f"needed to open a file: {reason}")
        for tag, row in self.draft.structure.items():
            if row.action == "keep":
                base.setdefault(tag, Row(tag, "keep", f"needed to open a file: {row.source}"))
        return base

    # -- what only all rules together show ---------------------------------------------------

    def _check_together(self) -> None:
        self._check_patterns()
        self._check_places()
        self._check_instance_uids()
        self._check_limits()

    def _check_patterns(self) -> None:
        """Of two patterns that overlap, the one with fewer x counts; as many must not be."""
        patterns = [rule for rule in self.rules if "x" in rule.target.tag]
        for i, rule in enumerate(patterns):
            for other in patterns[:i]:
                one, two = rule.target.tag, other.target.tag
                if one.count("x") == two.count("x") and overlap(one, two):
                    common = "".join(min(a, b) for a, b in zip(one, two, strict=True))
                    text = f"two rules for one attribute: {shown(common.replace('x', '0'))} fits"
                    self._found.append((rule.line, f"{text} the pattern of line {other.line} too"))

    def _check_places(self) -> None:
        """A rule for a place inside a blanked sequence would never be asked."""
        for rule in self.rules:
            path = rule.target.path
            parts = [part.strip() for part in rule.target.label.split("/")]
            for n in range(1, len(path)):
                blanked = self._blanks(path[:n])
                if blanked:
                    text = (
                        f"{parts[-1]} is never reached: {parts[n - 1]} is blanked with all that is "
                        f'in it ({blanked}); first write "{"/".join(parts[:n])}" = "keep"'
                    )
                    self._found.append((rule.line, text))
                    break

    def _blanks(self, path: tuple[str, ...]) -> str:
        """Where it is said that a sequence at the end of this path is blanked; empty: it is
        walked, there or in some place that the path does not tell."""
        draft = self.draft
        tags = tuple(int(tag, 16) for tag in path)
        deeper = [row for key, row in draft.paths.items() if key[-len(tags) :] == tags]
        if any(row.action == "keep" for row in deeper):
            return ""
        endings = [tags[n:] for n in range(len(tags) - 1)]
        row = next((draft.paths[end] for end in endings if end in draft.paths), None)
        row = row or draft.row_of(path[-1]) or draft.by_vr.get("SQ")
        return row.source if row and row.action not in ("keep", "uid") else ""

    def _check_instance_uids(self) -> None:
        """PS3.10 table 7.1-1: the file meta information repeats the data set's UID."""
        uids = [("00020003", "00080018"), ("00080018", "00020003")]
        for tag, other in uids:
            rule = next((rule for rule in self.rules if rule.target.tag == tag), None)
            if rule is None:
                continue
            row = self.draft.row_of(other)
            if (row.action if row else self.draft.unlisted) != rule.action:
                text = f"{rule.target} stands in {shown(other)} too; both need the same rule: "
                name = self._names.keyword_of(other)
                self._found.append((rule.line, f'{text}add {name} = "{rule.action}"'))

    def _check_limits(self) -> None:
        draft = self.draft
        tables = (draft.rows, draft.structure, draft.private, draft.paths)
        texts = {row.action for table in tables for row in table.values()}
        texts = {text for text in texts if text.startswith("set")}
        if len(texts) > _MOST_TEXTS:
            self._fault("rules", f"{len(texts)} different texts of `set`, at most {_MOST_TEXTS}")
        places = {path[:n] for path in draft.paths for n in range(len(path))}
        if len(places) > _MOST_PLACES or len(list(scopes(draft.paths))) > _MOST_PLACE_RULES:
            self._fault("rules", "more rules for places (SEQUENCE/ATTRIBUTE) than can be held")

    # -- the markers -------------------------------------------------------------------------

    def _say_what_was_done(self) -> None:
        """The attributes that say what was done (PS3.15 section E.1.1), where the base has them:
        with its own rules, the file is not that profile any more."""
        draft = self.draft
        if not draft.base:
            return
        title = self._text("title")
        named = {rule.target.tag for rule in self.rules}
        why = "PS3.15 E.1.1: says what was done, where it stands with enough room"
        if "00120063" not in named:
            what = title or "a profile file"
            method = f"dcmveil {what}, from {draft.base} {' '.join(draft.codes)}"[:64].strip()
            draft.set(Row("00120063", f"set-or-keep:{method}", why))
        draft.title = title or f"{draft.name}, from: {draft.title}"
        dates = {r.action for r in self.rules if r.target.means in ("DA", "DT", "TM")}
        marker = draft.rows.get("00280303")
        if marker is None or "00280303" in named:
            return
        if dates & {"shift", "year", "zero-time"}:
            draft.set(Row("00280303", "set-or-blank:MODIFIED", why))
        elif "keep" in dates and marker.action == "set-or-blank:REMOVED":
            draft.set(Row("00280303", "set-or-blank:UNMODIFIED", why))


def _by_line(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return sorted(found, key=lambda one: one[0])


def _text_of(path: str) -> str:
    """The text of a profile file. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise UsageError(f"{path}: cannot read the profile: {reason}") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path}: more than 1 MiB is no profile")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: a profile is in UTF-8, and this line is not") from None
