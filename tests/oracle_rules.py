"""What the pydicom oracle knows of tags and VRs: the rules of the Basic Profile, which it reads by
itself from the tables."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydicom import datadict
from pydicom._private_dict import private_dictionaries

TABLES = Path(__file__).parents[1] / "src/dcmveil/profile/tables"

_TEXT = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT"
_LONG = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"  # in explicit VR, a length of 4 bytes
TEXT = frozenset(_TEXT.split())
LONG = frozenset(_LONG.split())
VRS = TEXT | LONG | frozenset({"AT", "FD", "FL", "SL", "SS", "UL", "US"})

WORDS_OF_ACTIONS = {"blank": "X", "dummy": "D", "uid": "U", "document": "D", "keep": "K"}


class Rules:
    """Tag -> what the fixed layout does: X, Z, D, U, K, "set...:TEXT", or "" for no row.

    decisions: tag -> action, before the rows of the table (default: decisions.tsv).
    structure: tags that may stay inside a sequence that goes; fixed: what others become there.
    """

    def __init__(self, decisions: Mapping[str, str] | None = None, tables: Path = TABLES) -> None:
        self._exact: dict[int, str] = {}
        self._patterns: list[tuple[int, int, str]] = []
        if decisions is None:
            decisions = {row["tag"]: row["action"] for row in _rows(tables / "decisions.tsv")}
        for tag, action in decisions.items():
            self._add(tag, action)
        for row in _rows(tables / "e1_1_2026d.tsv", required=True):
            self._add(row["tag"], row["basic"])
        inside = {_number_of(row["tag"]): row["action"] for row in _rows(tables / "structure.tsv")}
        self.structure = frozenset(tag for tag, action in inside.items() if action == "keep")
        self.fixed = {tag: action for tag, action in inside.items() if action.startswith("set")}
        self.registered = frozenset(_lines(tables / "registered_uids.txt"))
        self.creators = {creator.encode() for creator in private_dictionaries}
        for row in _rows(tables / "safe_private_2026d.tsv"):
            self.creators.add(row["private_creator"].encode())
        for line in _lines(tables / "private_dictionary.txt"):
            if line.startswith(b"@"):
                self.creators.add(line[1:])

    def _add(self, text: str, action: str) -> None:
        digits = text.strip("()").replace(",", "").lower()
        if not re.fullmatch("[0-9a-fx]{8}", digits):
            return  # "private": any odd group, which needs no row here
        letter = WORDS_OF_ACTIONS.get(action, action)
        if not letter.startswith("set"):
            letter = letter.rstrip("*").split("/")[-1]
            if letter not in ("X", "Z", "D", "U", "K"):
                raise ValueError(f"{text}: no such action: {action}")  # never take it for "keep"
        if "x" not in digits:
            self._exact.setdefault(int(digits, 16), letter)  # the decisions came first
            return
        mask = int("".join("0" if d == "x" else "f" for d in digits), 16)
        self._patterns.append((mask, int(digits.replace("x", "0"), 16), letter))

    def action(self, tag: int) -> str:
        if tag in self._exact:
            return self._exact[tag]
        if not is_private(tag):
            for mask, want, letter in self._patterns:
                if tag & mask == want:
                    return letter
        return ""


def _number_of(tag: str) -> int:
    return int(tag.strip("()").replace(",", ""), 16)


def _rows(path: Path, required: bool = False) -> Iterator[dict[str, str]]:
    if not required and not path.exists():
        return
    lines = [line for line in path.read_text("utf-8").splitlines() if line and line[0] != "#"]
    names = lines[0].split("\t")
    for line in lines[1:]:
        yield dict(zip(names, line.split("\t"), strict=False))


def _lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith(b"#")]


@functools.cache
def default_rules() -> Rules:
    return Rules()


def is_private(tag: int) -> bool:
    return bool(tag >> 16 & 1)


def is_known(tag: int) -> bool:
    return tag & 0xFFFF == 0 or datadict.dictionary_has_tag(tag) or datadict.repeater_has_tag(tag)
