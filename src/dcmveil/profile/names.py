"""Keywords, tags and VRs of the data dictionary, for what people write and read."""

from __future__ import annotations

from ..core import VR_NAMES
from .model import covers
from .tables_io import read_text, rows

VRS = frozenset(VR_NAMES[1:])


class Names:
    """The dictionary by keyword and by tag. A tag is written as in rules: ggggeeee in upper case,
    x for any digit."""

    def __init__(self) -> None:
        lines = _lines("keywords.txt")
        self._tags = dict(line.split("\t") for line in lines)
        self._keywords = {tag: keyword for keyword, tag in self._tags.items()}
        self._vrs = dict(line.split(" ") for line in _lines("dictionary.txt"))
        for cells in rows(read_text("e1_1_2026d.tsv")):  # newer than the dictionary
            if cells[0] != "private" and len(cells[3]) == 2:
                self._vrs.setdefault(cells[0][1:5] + cells[0][6:10], cells[3])
        self._wide = [tag for tag in self._vrs if "x" in tag]
        self._private: dict[str, dict[tuple[int, int], str]] | None = None

    def tag_of(self, keyword: str) -> str:
        """Empty: there is no such keyword."""
        return self._tags.get(keyword, "")

    def keyword_of(self, tag: str) -> str:
        """Empty: it has none."""
        return self._keywords.get(tag) or self._keywords.get(self._widest(tag), "")

    def vr_of(self, tag: str) -> str:
        """Empty: the dictionary does not have it, or a pattern stands for several VRs."""
        return self._vrs.get(tag) or self._vrs.get(self._widest(tag), "")

    def words(self) -> set[str]:
        """All words of the keywords, in lower case."""
        import re

        found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", " ".join(self._tags))
        return {word.lower() for word in found}

    def nearest_keyword(self, word: str) -> str:
        """What was meant by a keyword that is none, empty: no idea."""
        plain = "".join(filter(str.isalnum, word.replace("'s", ""))).lower()
        for keyword in self._tags:
            if keyword.lower() == plain:
                return keyword
        return nearest(word, self._tags)

    def creators(self) -> dict[str, dict[tuple[int, int], str]]:
        """The VRs of known private elements: by private creator, then group and low byte."""
        if self._private is None:
            self._private = {}
            for line in _lines("private_dictionary.txt"):
                if line.startswith("@"):
                    block = self._private.setdefault(line[1:], {})
                else:
                    group, low, vr = line.split(" ")
                    block[int(group, 16), int(low, 16)] = vr
        return self._private

    def _widest(self, tag: str) -> str:
        """The pattern of the dictionary that holds a tag."""
        return next((wide for wide in self._wide if covers(wide, tag)), "")


def overlap(one: str, other: str) -> bool:
    """Whether two patterns have a tag in common."""
    return all(a == b or "x" in (a, b) for a, b in zip(one, other, strict=True))


def nearest(word: str, words: object) -> str:
    """The most similar of some words, empty: none is."""
    import difflib

    found = difflib.get_close_matches(word, list(words), n=1)  # type: ignore[call-overload]
    return str(found[0]) if found else ""


def shown(tag: str) -> str:
    """(gggg,eeee)"""
    return f"({tag[:4]},{tag[4:]})"


def _lines(file: str) -> list[str]:
    return [line for line in read_text(file).splitlines() if not line.startswith("#")]
