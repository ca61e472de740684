"""What a rule of a profile file asks for, and whether that fits the attribute.

"keep" "blank" "dummy" "uid" "shift" "year" "zero-time" "pseudonym" "hash" "clean"
{ set = "TEXT" }    { pseudonym = "patient" | "patient-id" | "accession" }
"""

from __future__ import annotations

import re

from .frozen import PSEUDONYM_KINDS
from .names import nearest
from .targets import Mistake, Target

WORDS = (
    "keep",
    "blank",
    "dummy",
    "uid",
    "shift",
    "year",
    "zero-time",
    "pseudonym",
    "hash",
    "clean",
    "set",
)
LONGEST_TEXT = 1024  # bytes of a literal in the core

# Words of other tools and codes of Table E.1-1, for those who know these.
_MEANT = {
    "remove": "blank",
    "removed": "blank",
    "delete": "blank",
    "empty": "blank",
    "clear": "blank",
    "null": "blank",
    "zero": "blank",
    "x": "blank",
    "z": "blank",
    "replace": '{ set = "TEXT" }',
    "literal": '{ set = "TEXT" }',
    "anonymize": "dummy",
    "mask": "dummy",
    "d": "dummy",
    "u": "uid",
    "remap": "uid",
    "k": "keep",
    "retain": "keep",
    "c": "clean",
    "jitter": "shift",
    "offset": "shift",
    "encrypt": "hash",
    "pseudonymize": "pseudonym",
}
_TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT")
_FITS = {
    "uid": ("UI",),
    "shift": ("DA", "DT", "TM"),
    "year": ("DA", "DT"),
    "zero-time": ("TM",),
    "pseudonym": _TEXTS,
    "hash": _TEXTS,
    "set": (*_TEXTS, "AS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"),
}
_DOES = {
    "uid": "replaces UIDs (UI)",
    "shift": "moves dates (DA, DT, TM)",
    "year": "keeps the year of dates (DA, DT)",
    "zero-time": "sets times (TM) to midnight",
    "pseudonym": "replaces texts",
    "hash": "replaces texts",
    "set": "writes a text",
}
# A text that is cut still says something; a code, number, date or UID that is cut says another.
_WHOLE_OR_BLANK = ("AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR")


def word_of(value: object) -> tuple[str, str]:
    """The word and the argument of a rule's value. Raises Mistake."""
    if isinstance(value, str):
        if value == "set":
            raise Mistake('`set` needs its text: { set = "TEXT" }')
        return _known(value), ""
    if not isinstance(value, dict):
        raise Mistake('an action is a word such as "blank", or { set = "TEXT" }')
    if len(value) != 1:
        raise Mistake('one rule has one action, such as { set = "TEXT" }')
    word, argument = next(iter(value.items()))
    word = _known(word)
    if word == "pseudonym":
        if argument not in PSEUDONYM_KINDS:
            kinds = ", ".join(PSEUDONYM_KINDS)
            raise Mistake(f"no kind of pseudonym {argument!r}; there are: {kinds}")
    elif word == "shift":
        raise Mistake("`shift` has no argument: `shift-days` at the top is for all dates")
    elif word != "set":
        raise Mistake(f'`{word}` has no argument; write "{word}"')
    elif not isinstance(argument, str):
        raise Mistake(f'the text of `set` stands in quotes: {{ set = "{argument}" }}')
    return word, str(argument)


def _known(word: str) -> str:
    if word in WORDS:
        return word
    meant = meant_by(word, WORDS) or _MEANT.get(word.lower())
    raise Mistake(
        f"unknown action {word!r}" + (f"; {meant} was meant?" if meant else f"; {_there_are()}")
    )


def meant_by(word: str, words: tuple[str, ...]) -> str:
    """Which of some words was meant by one that is none of them, empty: no idea."""
    other = _MEANT.get(word.lower(), "")
    return other if other in words else nearest(word.lower(), words)


def _there_are() -> str:
    return f"there are: {', '.join(WORDS)}"


def row_word(word: str, argument: str, target: Target, before: str) -> tuple[str, str]:
    """The action of a row (see model.ACTIONS) for what a rule asks, and a note or nothing.

    before  the action without this rule. Raises Mistake for what does not fit the attribute.
    """
    vr = target.means
    if word == "clean":
        return _cleaned(target, before)
    if word in _FITS:
        _check_fit(word, target)
    if word == "pseudonym":
        return f"pseudonym:{argument or _kind_of(target)}", ""
    if word == "set":
        fault = fault_of(vr, argument)
        if fault:
            raise Mistake(f"{argument!r} does not fit {target}: {fault}")
        return f"{'set-or-blank' if vr in _WHOLE_OR_BLANK else 'set'}:{argument}", ""
    if word == "dummy" and _attribute(target) == "00420011":
        return "document", ""
    return word, ""


def _check_fit(word: str, target: Target) -> None:
    vrs = _FITS[word]
    if target.vr and word in ("pseudonym", "set"):
        raise Mistake(f"`{word}` is for attributes that are named, not for all of a VR")
    if not target.means and "x" in target.tag:
        raise Mistake(f"`{word}` needs one VR, and {target.label} stands for several")
    if target.means and target.means not in vrs:
        what = f"not {target.vr}" if target.vr else f"and the VR of {target} is {target.means}"
        raise Mistake(f"`{word}` {_DOES[word]}, {what}")


def _cleaned(target: Target, before: str) -> tuple[str, str]:
    """Action C of Table E.1-1: as the profiles that ship take it (builtin._cleaned)."""
    if target.means in ("DA", "DT", "TM"):
        return "shift", ""
    if target.means == "SQ":
        return "keep", ""
    action = "blank" if before.partition(":")[0] in ("keep", "set-or-keep") else before
    return action, f"only dates and sequences are cleaned yet: {target} gets {action}"


def _kind_of(target: Target) -> str:
    """What `pseudonym` alone means: a name becomes the Patient ID's, anything but a Patient ID is
    not looked up in a table of patients."""
    return {"00100020": "patient", "00100010": "patient-id"}.get(_attribute(target), "accession")


def _attribute(target: Target) -> str:
    return target.path[-1] if target.path else target.tag


# -- texts and VRs ---------------------------------------------------------------------------

_MULTIPLE = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI")
_DECIMAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([Ee][+-]?[0-9]+)?"
_COMPONENT = r"(0|[1-9][0-9]*)"
_TEXT = r"[ -~\r\n\f\t]+"
# PS3.5 table 6.2-1: most characters, form of one value, the same in words
_FORMS = {
    "AE": (16, r"[ -~]+", "AE has at most 16 printable characters"),
    "AS": (4, r"[0-9]{3}[DWMY]", "an age is three digits and D, W, M or Y, such as 045Y"),
    "CS": (16, r"[A-Z0-9_ ]+", "CS has at most 16 of A-Z, 0-9, space and _"),
    "DA": (8, r"[0-9]{8}", "a date is YYYYMMDD"),
    "DS": (16, _DECIMAL, "DS is a decimal number of at most 16 characters"),
    "DT": (26, r"[0-9]{4,14}(\.[0-9]{1,6})?([+-][0-9]{4})?", "DT is YYYYMMDDHHMMSS.FFFFFF&ZZXX"),
    "IS": (12, r"[+-]?[0-9]+", "IS is a whole number of at most 12 characters"),
    "LO": (64, r"[ -~]+", "LO has at most 64 printable characters"),
    "LT": (LONGEST_TEXT, _TEXT, f"at most {LONGEST_TEXT} printable characters"),
    "PN": (64 * 3 + 2, r"[^=]{0,64}(=[^=]{0,64}){0,2}", "a name has at most 64 characters"),
    "SH": (16, r"[ -~]+", "SH has at most 16 printable characters"),
    "ST": (LONGEST_TEXT, _TEXT, f"at most {LONGEST_TEXT} printable characters"),
    "TM": (13, r"[0-9]{2,6}(\.[0-9]{1,6})?", "a time is HHMMSS.FFFFFF"),
    "UC": (LONGEST_TEXT, r"[ -~]+", f"at most {LONGEST_TEXT} printable characters"),
    "UI": (64, rf"{_COMPONENT}(\.{_COMPONENT})*", "a UID is numbers without leading 0, and dots"),
    "UR": (LONGEST_TEXT, r"[!-\[\]-~]+", "an address has no spaces"),
    "UT": (LONGEST_TEXT, _TEXT, f"at most {LONGEST_TEXT} printable characters"),
    "": (LONGEST_TEXT, r"[ -~]+", f"at most {LONGEST_TEXT} printable characters"),
}


def fault_of(vr: str, text: str) -> str:
    """Why a text is no value of a VR that has texts (PS3.5 section 6.2); empty: it is one."""
    if not text.strip():
        return "it is empty; write blank"
    if not text.isascii():
        return "only ASCII fits every character set"
    values = text.split("\\") if vr in _MULTIPLE else [text]
    return next(filter(None, [_fault_of_one(vr, value) for value in values]), "")


def _fault_of_one(vr: str, value: str) -> str:
    most, form, words = _FORMS[vr]
    if len(value) > most or not value.strip() or not re.fullmatch(form, value):
        return words
    if vr == "PN" and not value.isprintable():
        return "a name has printable characters"
    if vr == "PN" and any(group.count("^") > 4 for group in value.split("=")):
        return "a name has at most five components, divided by ^"
    if vr == "IS" and not -(2**31) <= int(value) < 2**31:
        return "IS is from -2147483648 to 2147483647"
    if vr in ("DA", "DT", "TM"):
        from ..dates import remembered

        if remembered(vr, value.encode()) != value.encode():
            return "there is no such date or time"
    return ""
