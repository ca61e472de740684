"""What a rule of a profile file is for: an attribute, a pattern of tags, a VR, a private
attribute, or an attribute in one place.

    PatientID    (0010,0020)    00100020                    an attribute, anywhere
    (60xx,3000)  60xx3000                                   a pattern: x is any hexadecimal digit
    VR DA                                                   attributes that no row names, by VR
    0019 "GEMS_ACQU_01" 23   (0019,"GEMS_ACQU_01",23)       a private attribute
    ContentSequence/ConceptNameCodeSequence/CodeMeaning     the end of an element's path
"""

from __future__ import annotations

import re

from .names import VRS, Names, nearest, shown

_TAG = re.compile(r"\(([0-9A-Fx]{4}),([0-9A-Fx]{4})\)|([0-9A-Fx]{4}),?([0-9A-Fx]{4})", re.I)
_PRIVATE = re.compile(r'([0-9A-F]{4})[\s,]*"([^"]*)"[\s,]*([0-9A-F]{2})', re.I)
_PRIVATE_WHOLE = re.compile(
    r'([0-9A-F]{4}[\s,]*"[^"]*"[\s,]*)(?:xx|[0-9A-F]{2})([0-9A-F]{2})', re.I
)
_LIKE_A_TAG = re.compile(r"[(0-9]|[0-9A-Fx]{8}$", re.I)
# Groups that stand for several, one for each overlay and the like (PS3.5 section 7.6): only these
# are looked up by pattern.
_REPEATING_GROUPS = ("50xx", "60xx", "7Fxx")
_PRIVATE_FORM = """'0019 "GEMS_ACQU_01" 23': group, creator, last two digits"""


class Mistake(Exception):  # noqa: N818 - it is the user's, and is caught by those who collect them
    """One mistake in a profile file, in words for its author."""


class Target:
    """What a rule is for; one of `tag`, `vr`, `creator` and `path` says which kind it is.

    label    as its author wrote it
    tag      ggggeeee in upper case, x for any digit
    vr       for a rule by VR
    creator  private creator; then `group`, and `low` byte of the element
    path     tags of sequences, then one of an attribute
    means    VR of the attribute, empty: not known, or several
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.tag = ""
        self.vr = ""
        self.creator = ""
        self.group = 0
        self.low = 0
        self.path: tuple[str, ...] = ()
        self.means = ""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two that are the same, however they are written."""
        return self.tag, self.vr, self.creator, self.group, self.low, self.path

    def __str__(self) -> str:
        """For messages: as written, and the tag where that says more."""
        if self.tag and not _TAG.fullmatch(self.label):
            return f"{self.label} {shown(self.tag)}"
        return self.label


def target_of(text: str, names: Names) -> Target:
    """What the key of a rule names. Raises Mistake."""
    target = Target(text)
    text = text.strip()
    if '"' in text:
        _set_private(target, text, names)
    elif "/" in text:
        _set_path(target, text, names)
    elif text == "VR" or text.startswith("VR "):
        target.vr = target.means = _vr(text[2:].strip())
    else:
        target.tag = _tag(text, names)
        target.means = names.vr_of(target.tag)
    return target


def _vr(word: str) -> str:
    if word in VRS:
        return word
    if word.upper() in VRS:
        raise Mistake(f'VRs are in upper case: "VR {word.upper()}"')
    raise Mistake(f"there is no VR {word!r}; there are: {', '.join(sorted(VRS))}")


def _tag(text: str, names: Names) -> str:
    """A keyword, a tag or a pattern."""
    match = _TAG.fullmatch(text)
    if match is None:
        if _LIKE_A_TAG.match(text):
            raise Mistake(f'{text!r} is no tag; write four digits twice, such as "(0010,0020)"')
        if text in VRS:
            raise Mistake(f'no keyword; a rule by VR is "VR {text}"')
        tag = names.tag_of(text)
        if not tag:
            meant = names.nearest_keyword(text)
            raise Mistake(
                f"unknown keyword {text!r}"
                + (f"; {meant} {shown(names.tag_of(meant))} was meant?" if meant else "")
            )
        return tag
    tag = "".join(filter(None, match.groups())).upper().replace("X", "x")
    _check_tag(tag)
    return tag


def _check_tag(tag: str) -> None:
    if "x" in tag[:4] and tag[:4] not in _REPEATING_GROUPS:
        groups = ", ".join(_REPEATING_GROUPS)
        raise Mistake(f"only these groups are patterns: {groups}; name any other one by one")
    if tag[3] in "13579BDF":
        raise Mistake(
            f"{shown(tag)} is private, and each file assigns its own block (PS3.5 section 7.8): "
            f"write '{tag[:4]} \"CREATOR\" {tag[6:]}', or say `private` for all of them"
        )
    if tag.startswith("FFFE"):
        raise Mistake(f"{shown(tag)} is an item or a delimiter, no attribute")
    if tag.endswith("0000"):
        raise Mistake(f"{shown(tag)} is a group length, which stays correct by itself")


def _set_private(target: Target, text: str, names: Names) -> None:
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    match = _PRIVATE.fullmatch(text)
    if match is None:
        if "/" in re.sub(r'"[^"]*"', "", text):
            raise Mistake("private attributes cannot stand in a path")
        whole = _PRIVATE_WHOLE.fullmatch(text)
        if whole:
            short = f"{whole[1]}{whole[2]}"
            raise Mistake(f"of a private element, the last two digits alone are named: '{short}'")
        raise Mistake(f"no private attribute; write {_PRIVATE_FORM}")
    group, creator, low = int(match[1], 16), match[2].strip(), int(match[3], 16)
    if group % 2 == 0:
        raise Mistake(f"group {match[1]} is even: private groups are odd (PS3.5 section 7.8)")
    if group < 9 or group == 0xFFFF:
        raise Mistake(f"group {match[1]} cannot be private (PS3.5 section 7.8)")
    if not creator:
        raise Mistake(f"the private creator is empty; write {_PRIVATE_FORM}")
    if len(creator) > 64 or "\\" in creator or not (creator.isascii() and creator.isprintable()):
        raise Mistake("a private creator has 1 to 64 printable ASCII characters (VR LO)")
    target.group, target.creator, target.low = group, creator, low
    target.means = names.creators().get(creator, {}).get((group, low), "")


def _set_path(target: Target, text: str, names: Names) -> None:
    parts = [part.strip() for part in text.split("/")]
    if not all(parts):
        raise Mistake("a path has an attribute on both sides of each /")
    tags = [_tag(part, names) for part in parts]
    for part, tag in zip(parts, tags, strict=True):
        if "x" in tag:
            raise Mistake(f"{part} stands for several tags; a path names single ones")
    for part, tag in zip(parts[:-1], tags, strict=False):
        if names.vr_of(tag) not in ("SQ", ""):
            raise Mistake(f"{part} is no sequence: its VR is {names.vr_of(tag)}")
    target.path = tuple(tags)
    target.means = names.vr_of(tags[-1])


def known_creator_like(creator: str, names: Names) -> str:
    """The known private creator that was meant by one that no list has; empty: it is known, or
    none is like it."""
    known = names.creators()
    return "" if creator in known else nearest(creator, known)
