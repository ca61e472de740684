"""What the tables say of each profile, read anew from the TSV files: for tests alone.

Nothing here is shared with the profiles that the product makes of the same tables.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import dcmveil

TABLES = Path(__file__).parents[1] / "src/dcmveil/profile/tables"
KEY = bytes(range(32))
DATES = ("DA", "DT", "TM")
OPTIONS = (
    "retain-safe-private", "retain-uids", "retain-device-identity",
    "retain-institution-identity", "retain-patient-characteristics",
    "retain-longitudinal-full-dates", "retain-longitudinal-modified-dates",
    "clean-descriptors", "clean-structured-content", "clean-graphics",
)  # fmt: skip
FULL, MODIFIED = OPTIONS[5], OPTIONS[6]
EDITIONS = ("2011", "2017c", "2019c", "2021b", "2023b", "2024b", "2026c")

# what is to become of a value
STAYS, GONE, MAPPED, SHIFTED, YEAR, MIDNIGHT = (
    "stays", "gone", "mapped", "shifted", "year", "midnight"
)  # fmt: skip
# of a sequence: its items are decided one by one, or nothing in it stays but its structure
WALK, BLANKED = "walked", "blanked"


# -- the tables ------------------------------------------------------------------------------


def rows_of(name: str) -> list[list[str]]:
    lines = (TABLES / name).read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    return [cells for cells in rows if "odd" not in cells[0] and cells[0] != "private"]


def digits(tag: str) -> str:
    return tag[1:5] + tag[6:10]


@functools.cache
def dictionary() -> dict[str, str]:
    lines = (TABLES / "dictionary.txt").read_text().splitlines()
    return dict(line.split(" ") for line in lines if not line.startswith("#"))


@functools.cache
def vr_of(tag: int) -> str:
    """Of the dictionary; empty for a tag that it does not have."""
    text = f"{tag:08X}"
    found = dictionary().get(text)
    if found is None:
        wide = (key for key in dictionary() if "x" in key and fits(key, text))
        found = next((dictionary()[key] for key in wide), "")
    return found


def fits(pattern: str, text: str) -> bool:
    return all(a in ("x", b) for a, b in zip(pattern, text, strict=True))


@dataclass(frozen=True)
class Setting:
    """A profile as a user names it, and what its tables say."""

    profile: str
    options: tuple[str, ...] = ()
    edition: str = "2026d"

    def __str__(self) -> str:
        edition = "" if self.edition == "2026d" else self.edition
        return " ".join(filter(None, [self.profile, edition, *self.options]))

    @functools.cached_property
    def dates(self) -> str:
        """What becomes of dates that no row names."""
        if MODIFIED in self.options or self.profile == "omidb":
            return SHIFTED
        return STAYS if FULL in self.options else GONE

    @functools.cached_property
    def rows(self) -> dict[str, tuple[str, str]]:
        """pattern -> (what is to become of a value, of a sequence)."""
        found = {}
        if self.profile == "omidb":
            for tag, _, _, action, *_ in rows_of("omidb.tsv"):
                found[tag] = of_omidb(action)
        else:
            name = "sup142.tsv" if self.profile == "sup142" else "e1_1_2026d.tsv"
            codes = {cells[0]: cells[5] for cells in rows_of(name)}
            cells_of = {cells[0]: cells[6:] for cells in rows_of(name)}
            if self.edition != "2026d":
                column = 1 + EDITIONS.index(self.edition)
                codes = {cells[0]: cells[column] for cells in rows_of("editions.tsv")}
            for tag, code in codes.items():
                if code:
                    row = cells_of.get(tag, [])
                    chosen = {row[OPTIONS.index(o)] for o in self.options if row}
                    found[tag] = of_code(code, chosen)
        table = {digits(tag): outcome for tag, outcome in found.items()}
        for tag, action, *_ in rows_of("decisions.tsv"):
            overrules = action == "document" or action.startswith("set")
            if overrules or digits(tag) not in table:
                table[digits(tag)] = self.of_decision(action)
        if self.keeps_private():  # then the declaration of safe private elements is of use
            table["00080302"] = STAYS, WALK
        for tag in ("00120063", "00280303"):  # what says what was done, with enough room for it
            table[tag] = GONE, BLANKED
        return table

    @functools.cached_property
    def wide_rows(self) -> dict[str, tuple[str, str]]:
        return {pattern: row for pattern, row in self.rows.items() if "x" in pattern}

    def of_decision(self, action: str) -> tuple[str, str]:
        if action == "uid":
            return STAYS if "retain-uids" in self.options else MAPPED, WALK
        return GONE, BLANKED

    @functools.cache  # noqa: B019  # there are a few dozen settings
    def outcome(self, tag: int, vr: str, directory: bool = False) -> str:
        """What is to become of an element that stands in no blanked sequence."""
        text = f"{tag:08X}"
        place = 1 if vr == "SQ" else 0
        if tag >> 16 == 4 and not directory:
            return (GONE, BLANKED)[place]
        row = self.rows.get(text) or next(
            (row for pattern, row in self.wide_rows.items() if fits(pattern, text)), None
        )
        if row:
            return of_vr(row[place], vr)
        if vr == "SQ":
            return WALK
        if not vr_of(tag) or vr in ("PN", "UR"):
            return GONE
        if vr == "TM" and self.profile == "omidb":
            return MIDNIGHT
        return of_vr(self.dates, vr) if vr in DATES else STAYS

    def keeps_private(self) -> bool:
        return "retain-safe-private" in self.options

    @functools.cache  # noqa: B019
    def veil(self) -> dcmveil.Veil:
        edition = None if self.edition == "2026d" else self.edition
        profile = dcmveil.load_profile(self.profile, self.options, edition)
        return dcmveil.Veil(profile, key=KEY)


def of_code(code: str, chosen: set[str]) -> tuple[str, str]:
    """Of a code of Table E.1-1 with the cells of the chosen options. X removes all, C at least as
    much as K; what cannot be cleaned yet gets the basic action."""
    basic = {"X": (GONE, BLANKED), "Z": (GONE, BLANKED), "D": (GONE, BLANKED),
             "U": (MAPPED, WALK), "U*": (MAPPED, WALK)}[code.rsplit("/")[-1]]  # fmt: skip
    if "X" in chosen:
        return basic
    if "C" in chosen:
        return f"cleaned or {basic[0]}", WALK
    return (STAYS, WALK) if "K" in chosen else basic


def of_omidb(action: str) -> tuple[str, str]:
    return {
        "null": (GONE, BLANKED),
        "remap-uid": (MAPPED, WALK),
        "shift-date": (SHIFTED, WALK),
        "zero-time": (MIDNIGHT, WALK),
        "keep year, 0101": (YEAR, WALK),
        "pseudonym": (GONE, BLANKED),
        "pseudonym (same as name)": (GONE, BLANKED),
    }[action]


def of_vr(outcome: str, vr: str) -> str:
    """Dates are cleaned by moving them; days that move leave the time of day as it is."""
    if outcome.startswith("cleaned"):
        outcome = SHIFTED if vr in DATES else outcome.removeprefix("cleaned or ")
    return STAYS if outcome == SHIFTED and vr == "TM" else outcome


@functools.cache
def structure() -> dict[int, str]:
    """Tags that may stay inside a blanked sequence."""
    return {int(digits(tag), 16): action for tag, action, *_ in rows_of("structure.tsv")}


# -- what is tried ---------------------------------------------------------------------------

ALL = tuple(option for option in OPTIONS if option not in (FULL, MODIFIED))
SETTINGS = [
    Setting("basic"),
    *(Setting("basic", (option,)) for option in OPTIONS),
    Setting("basic", (*ALL, FULL)),
    Setting("basic", (*ALL, MODIFIED)),
    Setting("sup142"),
    *(Setting("sup142", (option,)) for option in OPTIONS if "institution" not in option),
    Setting("omidb"),
]
