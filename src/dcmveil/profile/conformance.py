"""The statement that PS3.15 section E.1.3 asks for, of any profile, as Markdown."""

from __future__ import annotations

from .. import __version__
from .builtin import OPTIONS, draft_of
from .describe import action_words, markdown_table, private_word
from .model import Draft, Row
from .names import Names, shown

_NOT_CLAIMED = """\
dcmveil writes the *fixed layout*: every data element keeps its place, tag, VR and length, and only
value bytes change. It therefore does **not** claim conformance to the Application Level
Confidentiality Profiles of PS3.15 Annex E. What it does instead of what they ask for stands in
section 10."""

_HOW = {
    "dummy": "A dummy value of the VR, fitted to the old length: `ANON` in texts and application "
    "entities; 19000101, 000000 and 19000101000000 in dates and times, cut at a legal precision; "
    "`000Y` in ages; `0` in decimal and integer strings; spaces in addresses (UR); zeros in binary "
    "values; a mapped UID in UI. An empty value stays empty. A sequence keeps its items, with "
    "dummies in all of them (section 9).",
    "uid": "A UID made from the old one (section 5). Of a sequence: it is walked, and the UIDs in "
    "it are mapped.",
    "shift": "Dates are moved by a number of whole days (section 7).",
    "year": "Dates become January 1st of their year, times of day in them midnight.",
    "zero-time": "Times become midnight.",
    "pseudonym": "A pseudonym made from the old value, or from the Patient ID, and the key: a "
    "permutation of all values of the same pattern of letters and digits; or taken from a table of "
    "the user. It has the old length.",
    "hash": "A keyed hash in hexadecimal digits, of the old length, 64 characters at most.",
    "set": "A fixed text; where it is longer than the old value it is cut, or the old value stays "
    "or is blanked, as said below.",
    "document": "A minimal valid document of the same format, padded inside to the old length "
    "(PDF, CDA, STL, OBJ, MTL); zeros for any other format.",
}

_FIXED = """\
* Nothing is removed or inserted. A *removed* attribute stays as an element with a blank value of
  the old length: spaces in texts, NULs in UIDs, zeros in binary values. Its presence and length
  show.
* The lengths of names and other texts, the number of values where dummies are set, and the number
  of items in sequences stay as they were.
* A blanked sequence keeps its items. Inside, dummies are set, UIDs are mapped, codes become a fixed
  private code, and what readers dispatch on stays (the table below).
* (0012,0062), (0012,0063) and (0028,0303) are set only where they stand with enough room, and never
  inserted; (0012,0064) is not written.
* Text is not cleaned: an attribute whose action is C, clean, gets its basic action.
* Pixel data is neither decoded nor changed: burned-in text and recognizable faces stay. (0028,0301)
  is not changed.
* Encrypted attributes are not written: old values cannot be had back from an output. Whoever has
  the key can test whether a guessed value belongs to it.
* Comments and application segments in compressed pixel data, and unused bits of pixels, stay."""

_OPTIONS = {
    "retain-safe-private": "Private attributes of Table E.3.10-1, and those that a file itself "
    "declares safe in (0008,0300), are kept; all others are blanked (section 8).",
    "retain-uids": "UIDs are kept.",
    "retain-device-identity": "Attributes that identify devices are kept.",
    "retain-institution-identity": "Attributes that identify the institution are kept.",
    "retain-patient-characteristics": "Sex, age, size, weight and the like are kept; free text "
    "among the characteristics gets its basic action, since it is not cleaned.",
    "retain-longitudinal-full-dates": "Dates and times are kept.",
    "retain-longitudinal-modified-dates": "Dates are moved (section 7), times of day are kept.",
    "clean-descriptors": "Free text that describes gets its basic action, since it is not cleaned; "
    "sequences are walked.",
    "clean-structured-content": "Content sequences are walked, and each attribute in them is "
    "treated by its own row; texts in them get their basic action.",
    "clean-graphics": "Graphic sequences are walked; overlay data gets its basic action.",
}


def statement(draft: Draft, names: Names) -> str:
    """The statement, as Markdown."""
    parts = [
        f"# De-identification: what {draft.name} does",
        f"The statement of PS3.15 section E.1.3 for dcmveil {__version__} with the profile "
        f"*{draft.name}* ({draft.title}).",
        _NOT_CLAIMED,
        *_section("1. Profile and options", _options(draft)),
        *_section("2. Removed attributes", _removed(draft, names)),
        *_section("3. Replaced attributes", _replaced(draft, names)),
        *_section("4. Encrypted attributes", ["None. Encrypted attributes are not written."]),
        *_section("5. UIDs", [_uids(draft)]),
        *_section("6. Inserted attributes and values", _inserted(draft, names)),
        *_section("7. Cleaning and retained characteristics", _cleaning(draft)),
        *_section("8. Private attributes", _private(draft)),
        *_section("9. All other attributes", _others(draft, names)),
        *_section("10. What the fixed layout does not do", [_FIXED, *_structure(draft, names)]),
    ]
    changes = _changes(draft, names)
    if changes:
        parts += _section("11. Where this profile departs from what it extends", changes)
    return "\n\n".join(parts) + "\n"


def _section(title: str, paragraphs: list[str]) -> list[str]:
    return [f"## {title}", *paragraphs]


def _options(draft: Draft) -> list[str]:
    codes = f" Codes of CID 7050: {', '.join(draft.codes)}." if draft.codes else ""
    if not draft.options:
        return [f"No option.{codes}"]
    lines = [f"* **{name}** ({OPTIONS[name]}): {_OPTIONS[name]}" for name in draft.options]
    return ["\n".join(lines), codes.strip()]


def _removed(draft: Draft, names: Names) -> list[str]:
    return [
        "Blanked: the element stays, its value does not (section 10).",
        *_listed(draft, names, "blank"),
    ]


def _replaced(draft: Draft, names: Names) -> list[str]:
    parts: list[str] = []
    for action, how in _HOW.items():
        listed = _listed(draft, names, action)
        if listed:
            parts += [f"**{action}**: {how}", *listed]
    return parts or ["None."]


def _listed(draft: Draft, names: Names, action: str) -> list[str]:
    """The attributes with an action, in one table; nothing where there are none."""
    rows = [row for row in draft.rows.values() if _verb(row) == action]
    table = [
        [shown(row.pattern), names.keyword_of(row.pattern), *_argument(row)]
        for row in sorted(rows, key=lambda row: row.pattern)
    ]
    table += [
        [
            "/".join(names.keyword_of(f"{tag:08X}") or f"{tag:08X}" for tag in path),
            "",
            *_argument(row),
        ]
        for path, row in draft.paths.items()
        if _verb(row) == action
    ]
    if not table:
        return []
    head = ["tag", "keyword", "how"][: len(table[0])]
    return ["\n".join(markdown_table([head, *table]))]


def _verb(row: Row) -> str:
    verb = row.action.partition(":")[0]
    return "set" if verb.startswith("set") else verb


def _argument(row: Row) -> list[str]:
    return [action_words(row)] if ":" in row.action else []


def _uids(draft: Draft) -> str:
    odd = (
        "In kept UIDs, values that are no UIDs and unregistered ones under the DICOM root are "
        "mapped."
    )
    if not any(_verb(row) == "uid" for row in (*draft.rows.values(), *draft.by_vr.values())):
        return f"UIDs are kept. {odd}"
    some = "UIDs are kept, but for the attributes under *uid* in section 3. "
    return (some if "retain-uids" in draft.options else "") + (
        "A new UID is a function of the old one and of the project's key alone (a keyed hash). It "
        "has the length of the old one, and begins with 2.25 or with a root of the user. With the "
        "same key, the same old UID gives the same new UID in every file, on every host and at any "
        "time: the scope of consistency is all data that is treated with one key. UIDs registered "
        "in PS3.6 Annex A stay. UIDs of fewer than 6 characters become NULs. " + odd
    )


def _inserted(draft: Draft, names: Names) -> list[str]:
    listed = _listed(draft, names, "set")
    return [
        "No attribute is inserted. These are set where they stand:"
        if listed
        else "No attribute is inserted.",
        *listed,
    ]


def _cleaning(draft: Draft) -> list[str]:
    least, most = draft.shift_days
    all_rows = (*draft.rows.values(), *draft.by_vr.values(), *draft.paths.values())
    verbs = {_verb(row) for row in all_rows}
    dates = (
        f"Dates are moved by a number of days from {least} to {most}, never 0, that is made from "
        "the Patient ID and the key, or taken from a table of the user: all dates of a patient "
        "move alike, and intervals stay. Without a Patient ID, and where a value is no date, dates "
        "are blanked."
        if "shift" in verbs
        else "No date is moved."
    )
    return [
        "Descriptors: free text is not cleaned; where an option asks for it, the basic action is "
        "taken.",
        dates,
        "Retained characteristics (of patients, devices, institutions) are kept as they are, where "
        "section 1 names the option. Text after a NUL in a kept value is wiped.",
    ]


def _private(draft: Draft) -> list[str]:
    word = private_word(draft)
    first = {
        "blank": "Private attributes are blanked at any level, sequences with all their items.",
        "keep": "Private attributes are kept, but for those below and for private creators that no "
        "list knows, which are blanked.",
        "safe": "Kept are those below, by private creator, and those that a file declares safe in "
        "(0008,0300) Private Data Element Characteristics Sequence. All others are blanked; "
        "private sequences are walked, and each attribute in them is decided on its own.",
    }[word]
    if not draft.private:
        return [first]
    rows = [
        [creator, f"{group:04X}", f"xx{low:02X}", action_words(row), row.source]
        for (creator, group, low), row in sorted(draft.private.items())
    ]
    head = ["creator", "group", "element", "action", "where from"]
    return [first, "\n".join(markdown_table([head, *rows]))]


def _others(draft: Draft, names: Names) -> list[str]:
    by_vr = [[vr, action_words(row)] for vr, row in sorted(draft.by_vr.items())]
    lines = [
        f"Attributes of the dictionary that no row names: {draft.unlisted}; sequences among them "
        f"are walked. Attributes that the dictionary does not have: {draft.unknown}.",
    ]
    if by_vr:
        lines += [
            "By VR, where no row names them:",
            "\n".join(markdown_table([["VR", "action"], *by_vr])),
        ]
    kept = _listed(draft, names, "keep")
    if kept:
        lines += ["Kept by a row of their own:", *kept]
    return [
        *lines,
        "The preamble becomes zeros and the mark of the run. Group 0004 outside a DICOMDIR and "
        "bytes after the last element are blanked.",
    ]


def _structure(draft: Draft, names: Names) -> list[str]:
    rows = [
        [shown(row.pattern), names.keyword_of(row.pattern), action_words(row)]
        for row in draft.structure.values()
    ]
    head = ["tag", "keyword", "in a blanked sequence"]
    return ["\n".join(markdown_table([head, *rows]))] if rows else []


def _changes(draft: Draft, names: Names) -> list[str]:
    """Where the rules of files make it another profile than the one that ships."""
    if not draft.base:
        return []
    options = () if draft.base == "omidb" else draft.options
    base = draft_of(draft.base, options, draft.edition or None)
    table: list[list[str]] = []
    kept: list[str] = []

    def compare(what: str, before: Row | None, row: Row) -> None:
        was = before.action if before else base.unlisted
        if was == row.action and "/" not in what:  # a place may be in what is blanked elsewhere
            return
        if row.action == "keep":
            kept.append(what)
        old = action_words(before) if before else f"{base.unlisted} (no row)"
        table.append([what, old, action_words(row), row.source])

    for tag, row in sorted(draft.rows.items()):
        compare(f"{shown(tag)} {names.keyword_of(tag)}".strip(), base.row_of(tag), row)
    for path, row in draft.paths.items():
        tags = [f"{tag:08X}" for tag in path]
        compare(
            "/".join(names.keyword_of(tag) or shown(tag) for tag in tags),
            base.row_of(tags[-1]),
            row,
        )
    for vr, row in draft.by_vr.items():
        compare(f"VR {vr}", base.by_vr.get(vr), row)
    parts = [
        f"`{word}` is {now}, not {was}."
        for word, was, now in (
            ("unlisted", base.unlisted, draft.unlisted),
            ("unknown", base.unknown, draft.unknown),
            ("private", private_word(base), private_word(draft)),
        )
        if was != now
    ]
    if kept:
        parts.append(f"**Kept here, and not by {draft.base}:** {', '.join(kept)}.")
    if table:
        head = ["attribute", draft.base, "here", "where from"]
        parts.append("\n".join(markdown_table([head, *table])))
    return parts
