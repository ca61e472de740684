"""The profiles that ship: Table E.1-1 with its options and editions, Supplement 142, OMI-DB."""

from __future__ import annotations

from ..errors import UsageError
from .frozen import EDITION
from .model import Draft, Row
from .tables_io import read_text, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("basic", "sup142", "omidb")
EDITIONS = ("2011", "2017c", "2019c", "2021b", "2023b", "2024b", "2026c", EDITION)
# Options of PS3.15 Table E.1-1 in the order of its columns, each with its code of CID 7050.
OPTIONS = {
    "retain-safe-private": "113111",
    "retain-uids": "113110",
    "retain-device-identity": "113109",
    "retain-institution-identity": "113112",
    "retain-patient-characteristics": "113108",
    "retain-longitudinal-full-dates": "113106",
    "retain-longitudinal-modified-dates": "113107",
    "clean-descriptors": "113105",
    "clean-structured-content": "113104",
    "clean-graphics": "113103",
}
PROFILE_CODE = "113100"
_FULL, _MODIFIED = "retain-longitudinal-full-dates", "retain-longitudinal-modified-dates"
_DATES = ("DA", "DT", "TM")

# Action codes of Table E.1-1a. A compound code depends on the Type of the attribute in its IOD,
# which a byte rewriter does not know: its last letter removes as much and breaks no Type.
_WORD_OF_CODE = {"X": "blank", "Z": "blank", "D": "dummy", "U": "uid", "U*": "uid"}

_OMIDB_WORDS = {
    "remap-uid": "uid",
    "shift-date": "shift",
    "zero-time": "zero-time",
    "keep year, 0101": "year",
    "pseudonym": "pseudonym:patient-id",
    "pseudonym (same as name)": "pseudonym:patient",
}


def draft_of(name: str, options: tuple[str, ...] = (), edition: str | None = None) -> Draft:
    """A profile that ships. Raises UsageError for an unknown name, option or edition, and for
    options that exclude each other."""
    if name not in NAMES:
        raise UsageError(
            f"no profile {name!r}; there are: {', '.join(NAMES)}, or a file that ends in .toml"
        )
    _check_options(name, options)
    if edition is not None and name != "basic":
        raise UsageError("editions belong to the profile basic")
    if edition not in (None, *EDITIONS):
        raise UsageError(f"no such edition; there are: {', '.join(EDITIONS)}")
    draft = Draft(name)
    draft.base = name
    draft.options = tuple(option for option in OPTIONS if option in options)
    if name != "omidb":  # which is none of the profiles that CID 7050 has codes for
        draft.codes = [PROFILE_CODE, *(OPTIONS[option] for option in draft.options)]
    if name == "omidb":
        _add_omidb(draft)
        temporal = "MODIFIED"
    else:
        if name == "sup142":
            draft.title = "Basic Application Level Confidentiality Profile, Supplement 142"
            _add_table(draft, "sup142.tsv", "Supplement 142")
        else:
            draft.edition = edition or EDITION
            _add_edition(draft, draft.edition)
        temporal = {_FULL: "UNMODIFIED", _MODIFIED: "MODIFIED"}.get(
            next((o for o in draft.options if o in (_FULL, _MODIFIED)), ""), "REMOVED"
        )
    if "retain-safe-private" in draft.options:
        add_safe_private(draft)
    _add_decisions(draft, temporal)
    return draft


def _check_options(name: str, options: tuple[str, ...]) -> None:
    for option in options:
        if option not in OPTIONS:
            raise UsageError(f"no option {option!r}; there are: {', '.join(OPTIONS)}")
    if _FULL in options and _MODIFIED in options:
        raise UsageError("full dates and modified dates exclude each other (PS3.15 E.3.6)")
    if options and name == "omidb":
        raise UsageError("the profile omidb has no options")
    if name == "sup142" and "retain-institution-identity" in options:
        raise UsageError("Supplement 142 had no option retain-institution-identity")


def pattern_of(tag: str) -> str:
    """`(gggg,eeee)` of the tables as the eight digits of a rule; x stands for any digit."""
    return tag[1:5] + tag[6:10]


# -- tables of the standard ------------------------------------------------------------------


def _add_table(draft: Draft, file: str, title: str, codes: dict[str, str] | None = None) -> None:
    """The rows of Table E.1-1, or of those in `codes` (tag -> basic code of another edition)."""
    names = tuple(OPTIONS)
    columns = [5 + 1 + names.index(option) for option in draft.options]
    for cells in rows(read_text(file), -1 if columns else 6):
        tag, name, _, vr, _, code, *_ = cells
        vr = vr[-2:]
        if tag == "private":
            continue
        if codes is not None:
            code = codes.pop(tag, "")
            if not code:
                continue
        pattern = tag[1:5] + tag[6:10]
        action, letter = _WORD_OF_CODE[code.rsplit("/", 1)[-1]], code
        source = f"{title}: {name}, {code}"
        if columns:
            # where options differ the stricter one wins: X (one cell has it) removes all, and C at
            # least as much as K
            letter = next((one for one in "XCK" if any(cells[c] == one for c in columns)), "")
            if letter == "K":
                action = "keep"
            elif letter == "C":
                action = _cleaned(vr, action)
            if letter:
                source += f", {letter} by option"
        draft.rows[pattern] = Row(pattern, action, source, vr or None)
    for tag, code in (codes or {}).items():  # in that edition, and no longer in the table
        pattern = pattern_of(tag)
        draft.rows[pattern] = Row(
            pattern, _WORD_OF_CODE[code.rsplit("/", 1)[-1]], f"{title}: {code}"
        )


def _cleaned(vr: str, basic: str) -> str:
    """Action C, clean. Dates are moved, a sequence is walked. Text is not cleaned yet: it gets
    the basic action, as binary values, UIDs and application entities always do."""
    if vr in _DATES:
        return "shift"
    return "keep" if vr == "SQ" else basic


def _add_edition(draft: Draft, edition: str) -> None:
    draft.title = f"Basic Application Level Confidentiality Profile, PS3.15 {edition}"
    if edition == EDITION:
        _add_table(draft, f"e1_1_{EDITION}.tsv", f"Table E.1-1 {EDITION}")
        return
    # The basic codes are those of the edition; the cells of its options are those of the current
    # table, because the older ones are not at hand.
    column = 1 + EDITIONS.index(edition)
    codes = {cells[0]: cells[column] for cells in rows(read_text("editions.tsv"))}
    codes = {tag: code for tag, code in codes.items() if code and tag[1] != "g"}
    _add_table(draft, f"e1_1_{EDITION}.tsv", f"Table E.1-1 {edition}", codes)


def _add_omidb(draft: Draft) -> None:
    draft.title = "OMI-DB, after Supplement 142: 222 attributes nulled"
    dummies = {
        cells[0] for cells in rows(read_text("sup142.tsv")) if cells[5].rsplit("/")[-1] == "D"
    }
    for tag, name, vr, action, _, evidence in rows(read_text("omidb.tsv")):
        if tag == "private":
            continue
        null = "dummy" if tag in dummies else "blank"
        pattern = pattern_of(tag)
        draft.rows[pattern] = Row(
            pattern,
            _OMIDB_WORDS.get(action, null),
            f"OMI-DB ({evidence}): {name}, {action}",
            vr[-2:] or None,
        )


# -- beyond the tables -----------------------------------------------------------------------


def add_safe_private(draft: Draft) -> None:
    """PS3.15 section E.3.10 and Table E.3.10-1."""
    draft.walk_private = True
    draft.honours_characteristics = True
    for creator, group, low, vr, _vm, meaning in rows(read_text("safe_private_2026d.tsv")):
        key = (creator, int(group, 16), int(low, 16))
        draft.private[key] = Row(f"{group}xx{low}", "keep", f"Table E.3.10-1: {meaning}", vr[-2:])


def _add_decisions(draft: Draft, temporal: str) -> None:
    """What the table forgets: the project's own decisions, and the attributes that say what was
    done (PS3.15 section E.1.1), where they stand with enough room."""
    keeps_uids = "retain-uids" in draft.options
    safe = draft.honours_characteristics
    for pattern, action, reason in own_rows("decisions.tsv"):
        if (action == "uid" and keeps_uids) or (pattern == "00080302" and safe):
            action = "keep"
        draft.rows.setdefault(pattern, Row(pattern, action, reason))
        if action == "document" or action.startswith("set"):
            draft.set(Row(pattern, action, reason))
    add_structure(draft)
    method = " ".join(["dcmveil", draft.name, *draft.codes])[:64]
    why = "PS3.15 E.1.1: says what was done, where it stands with enough room"
    draft.set(Row("00120063", f"set-or-keep:{method}", why))
    draft.set(Row("00280303", f"set-or-blank:{temporal}", why))
    dates = {"REMOVED": "dummy", "UNMODIFIED": "keep", "MODIFIED": "shift"}[temporal]
    times = "zero-time" if draft.name == "omidb" else dates
    why = "not in the table: dates and times by VR (note 4 to Table E.1-1)"
    draft.by_vr.update({vr: Row("", times if vr == "TM" else dates, why) for vr in _DATES})
    draft.by_vr["PN"] = Row("", "dummy", "not in the table: a name is a name anywhere")
    draft.by_vr["UR"] = Row("", "blank", "not in the table: an address holds hosts and IDs")


def add_structure(draft: Draft) -> None:
    """What stays inside a blanked sequence, so that readers still open the file."""
    for pattern, action, reason in own_rows("structure.tsv"):
        draft.structure[pattern] = Row(pattern, action, reason)


def own_rows(file: str) -> Iterator[tuple[str, str, str]]:
    for tag, action, reason in rows(read_text(file)):
        yield pattern_of(tag), action, reason
