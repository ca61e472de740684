"""What of a value identifies, and the forms in which it may stand elsewhere.

A value is cut into terms: the components and words of a person name, IDs, UIDs, dates, addresses,
names of places. A term has spellings: bytes to look for, in the file's own character set, in UTF-8,
in UTF-16, in hexadecimal digits and base64. What would be found everywhere is no term: coded
values, words of the standard, short numbers, single words of free text. It is counted instead.
"""

from __future__ import annotations

import base64
import functools
import re

from ..profile.names import Names
from ..profile.tables_io import read_text
from .charsets import codecs_of, decoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from .walk import Place

_CHARACTER_SET = 0x00080005
_SOFTWARE = (0x00020012, 0x00020013)  # who wrote the file: no person, place or device
# Values held for one file, each with 1 to 2 KB of spellings. A structured report or a DICOMDIR has
# thousands.
TERMS_LIMIT = 100_000
# Longer fields are cut anew for each file; of others so many are remembered, 5 KB each.
_REMEMBERED_BYTES, _REMEMBERED = 128, 8192
LONGEST = 64  # characters of a term; of a longer value the first ones

# Kinds of terms
NAME, ID, UID, DATE, TIME, AGE, ADDRESS, PLACE, TEXT, NUMBER, RUN = (
    "person name", "ID", "UID", "date", "time", "age", "address", "name of a place or device",
    "text", "number", "number in a text",
)  # fmt: skip

# Bytes that do not count in a comparison: padding, what stands between words, and every other byte
# of UTF-16.
DROPPED = b"\0\t\n\r ^-.,_/"
LOWER = bytes(c + 32 if 65 <= c <= 90 else c for c in range(256))
# At least so many bytes are looked for, and under so many only as a whole word.
SHORTEST, WHOLE_WORD = 4, 6

_SHORTEST_OTHER = 2  # characters of a name in another script than Latin
_LATIN_END = 0x250
_CODED = frozenset(("CS",))
_SHORT_TEXT = frozenset(("AE", "LO", "SH", "UC"))
_LONG_TEXT = frozenset(("LT", "ST", "UT"))
_NUMBERS = frozenset(("DS", "IS"))
# Keywords of attributes that name somebody or something; of others only the IDs in them are sought.
_NAMING = re.compile(
    r"Name|ID(?:s|$|[A-Z])|Number|Address|Institution|Station|Department|Physician|Operator|"
    r"Telephone|Serial|AETitle|ApplicationEntity|Person|Label|Country|Region|Insurance|Occupation|"
    r"Issuer|Identifier|Organization|Manufacturer|Contact"
)  # fmt: skip
_IDS = re.compile(r"ID(?:s|$|[A-Z])|Number|Serial|Identifier|Telephone")
_MAIL_OR_LINK = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\b\w+://[^\s\\]+")
_RUN = re.compile(r"[^\W_]+(?:[-./_^][^\W_]+)*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_DIGITS = re.compile(r"\d")
_DECIMAL = re.compile(r"\d+\.\d*|\.\d+")
# Words that stand for no one.
_DUMMIES = frozenset(
    ("anon", "anonymous", "anonymized", "anonymised", "anonymize", "99anon", "none", "null",
     "unknown", "unspecified", "unnamed", "removed", "deidentified", "nobody", "noname", "subject",
     "patient", "test", "tester", "demo", "phantom", "example", "sample", "000y", "19000101",
     "000000", "doctor", "physician", "referring", "operator", "hospital")
)  # fmt: skip


class Term:
    """Something to look for.

    kind       one of the kinds above
    text       as it stands in the original
    value      the same, normalised
    whole      it must not be a part of a longer word or number
    plain      it must stand without any separator inside
    spellings  normalised bytes (see `normalised`)
    coded      the same of hexadecimal digits and base64
    exact      bytes that must stand exactly so
    """

    __slots__ = ("coded", "exact", "kind", "plain", "spellings", "text", "value", "whole")

    def __init__(
        self, kind: str, text: str, codecs: tuple[str, ...], raw: bytes, joined: bool = False
    ) -> None:
        self.kind = kind
        self.text = text[:LONGEST]
        self.value = normalised(self.text.encode())
        self.spellings: set[bytes] = set()
        self.coded: set[bytes] = set()
        self.exact: set[bytes] = set()
        self._spell(self.text, codecs, raw)
        if not joined and kind in (NAME, ID, ADDRESS) and len(text) >= WHOLE_WORD:
            self._encode()
        ascii_only = text.isascii()
        length = len(normalised(text.encode())) if ascii_only else WHOLE_WORD
        self.whole = length < WHOLE_WORD or kind in (ID, RUN, UID, DATE, TIME, AGE, NUMBER, PLACE)
        self.plain = length < WHOLE_WORD or kind in (NUMBER, TIME)

    def _spell(self, text: str, codecs: tuple[str, ...], raw: bytes) -> None:
        if text.isascii():
            self._add(text.encode())
        else:
            if raw:
                self.exact.add(raw)
            for case in {text, text.lower(), text.upper(), text.title()}:
                self._spell_other(case, codecs)

    def _encode(self) -> None:
        """Hexadecimal digits and base64."""
        text = self.text
        for case in {text, text.lower(), text.upper(), text.title()}:
            self.coded.add(normalised(case.encode().hex().encode()))
            self.coded.update(normalised(code) for code in _in_base64(case.encode()))

    def _spell_other(self, text: str, codecs: tuple[str, ...]) -> None:
        """Text that is not ASCII. Bytes of multi-byte sets may look like separators, so there every
        byte counts."""
        self._add(text.encode())
        for codec in {*codecs, "latin-1"}:
            single = codec.startswith(("latin", "iso8859", "tis", "euc"))
            encoded = _encoded(text, codec)
            if encoded is None:
                continue
            if single:
                self._add(encoded)
            else:
                self.exact.add(encoded)
        for codec in ("utf-16-le", "utf-16-be"):
            self.exact.add(_encoded(text, codec) or b"")
        if ord(max(text)) >= 0x2E80:  # East Asian scripts
            for codec in ("iso2022_jp", "shift_jis", "euc_jp", "gb18030", "euc_kr", "big5"):
                encoded = _encoded(text, codec)
                if encoded is not None:
                    self.exact.add(_without_escapes(encoded))
        self.exact = {encoded for encoded in self.exact if len(encoded) >= SHORTEST}

    def _add(self, spelling: bytes) -> None:
        spelling = normalised(spelling)
        if len(spelling) >= SHORTEST:
            self.spellings.add(spelling)


def normalised(value: bytes) -> bytes:
    """A value in lower case, without separators."""
    return value.translate(LOWER, DROPPED)


def _encoded(text: str, codec: str) -> bytes | None:
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        return None


def _without_escapes(value: bytes) -> bytes:
    return re.sub(rb"\x1b[$(]{1,2}[A-Z]", b"", value)


def _in_base64(value: bytes) -> Iterator[bytes]:
    """At each of the three places that a value can take in a group of three bytes: what depends on
    the value alone."""
    for before in range(3):
        start = -(-before * 8 // 6)
        end = (before + len(value)) * 8 // 6
        yield base64.b64encode(bytes(before) + value)[start:end]


# -- from values to terms --------------------------------------------------------------------


class Sources:
    """The identifying values of one file. `exempt` counts those that are not looked for.

    terms  (kind, value) -> the term, and the path of the first attribute that has it
    full   there are more than are held
    """

    def __init__(self, names: Vocabulary, exempt: Counter[str]) -> None:
        self.terms: dict[tuple[str, bytes], tuple[Term, tuple[Place, int]]] = {}
        self.full = False
        self._names = names
        self._exempt = exempt
        self._codecs: list[tuple[Place, tuple[str, ...]]] = [((), ("latin-1",))]

    def next_file(self) -> None:
        """Values of another file follow, with character sets of their own."""
        del self._codecs[1:]

    def codecs_at(self, place: Place, tag: int, value: bytes) -> tuple[str, ...]:
        """Of each element, in order: the character sets of the data set that it stands in."""
        while len(self._codecs) > 1:
            last = self._codecs[-1][0]
            if place[: len(last)] == last:
                break
            self._codecs.pop()
        if tag == _CHARACTER_SET and value:
            self._codecs.append((place, codecs_of(value)))
        return self._codecs[-1][1]

    def see(self, place: Place, tag: int, vr: str, codecs: tuple[str, ...], value: bytes) -> None:
        """A value that a run replaces."""
        cut = _terms_of if len(value) <= _REMEMBERED_BYTES else _terms_of.__wrapped__
        terms, exempt = cut(self._names, tag, vr, value, codecs)
        for why in exempt:
            self._exempt[why] += 1
        for term in terms:
            if len(self.terms) >= TERMS_LIMIT:
                self.full = True
                return
            self.terms.setdefault((term.kind, term.value), (term, (place, tag)))


class Vocabulary:
    """Words of the standard, and what kind of attribute a tag is."""

    def __init__(self) -> None:
        self._names = Names()
        words = self._names.words()
        self.words = frozenset(words) | _DUMMIES
        self.registered = frozenset(read_text("registered_uids.txt").split())

    @functools.lru_cache(maxsize=8192)  # noqa: B019 (there is only one)
    def keyword(self, tag: int) -> str:
        return "" if tag >> 16 & 1 else self._names.keyword_of(f"{tag:08X}")


@functools.cache
def vocabulary() -> Vocabulary:
    """Read once."""
    return Vocabulary()


@functools.lru_cache(maxsize=_REMEMBERED)
def _terms_of(
    names: Vocabulary, tag: int, vr: str, value: bytes, codecs: tuple[str, ...]
) -> tuple[tuple[Term, ...], tuple[str, ...]]:
    """The terms of a value field, and why parts of it are none."""
    finder = _Finder(names, names.keyword(tag), codecs)
    if not value.strip(b"\0 \\^="):
        return (), ()
    if tag in _SOFTWARE:
        return (), ("name of software",)
    if vr == "UN" and value.rstrip(b"\0 ").isascii() and b"\0" not in value.rstrip(b"\0 "):
        vr = "LO"
    finder.find(vr, value)
    return tuple(finder.terms), tuple(finder.exempt)


class _Finder:
    """Cuts one value field into terms."""

    def __init__(self, names: Vocabulary, keyword: str, codecs: tuple[str, ...]) -> None:
        self.terms: list[Term] = []
        self.exempt: list[str] = []
        self._words = names.words
        self._registered = names.registered
        self._keyword = keyword
        self._run = ID if _NAMING.search(keyword) else RUN
        self._codecs = codecs

    def find(self, vr: str, value: bytes) -> None:
        if vr == "PN":
            self._names(value)
        elif vr == "UI":
            for uid in value.replace(b"\0", b"").decode("latin-1").split("\\"):
                if uid.strip() in self._registered:
                    self.exempt.append("UID of the standard")
                else:
                    self._whole(UID, uid.strip(), "short UID", 6)
        elif vr in ("DA", "DT"):
            self._dates(value.decode("latin-1"))
        elif vr == "TM":
            self._times(value.decode("latin-1"))
        elif vr == "AS":
            for age in value.decode("latin-1").split("\\"):
                self._whole(AGE, age.strip(" \0"), "short number", 4)
        elif vr in _CODED:
            self.exempt.append("coded value")
        elif vr in _NUMBERS:
            for number in value.decode("latin-1").split("\\"):
                digits = sum(map(str.isdigit, number))
                self._whole(NUMBER, number.strip(" \0") if digits >= 6 else "", "short number")
        elif vr == "UR":
            self._whole(ADDRESS, value.decode("latin-1").strip(" \0"), "short text", 8)
        elif vr in _SHORT_TEXT:
            for part in decoded(value, self._codecs).split("\\"):
                self._text(part.strip(" \0"), value if b"\x1b" in value else b"")
        elif vr in _LONG_TEXT:
            self._text(decoded(value, self._codecs).strip(" \0"), b"")
        else:
            self.exempt.append("binary value")

    def _names(self, value: bytes) -> None:
        """Person names (PS3.5 section 6.2.1): components, their words, and all in a row."""
        text = decoded(value, self._codecs)
        raw = {decoded(part, self._codecs): part for part in re.split(rb"[\\^=]", value)}
        for name in re.split(r"[\\=]", text):
            components = [part.strip(" \0") for part in name.split("^")]
            words = []
            for component in components:
                found = re.split(r"[\s,.^]+", component)
                words += [word for word in found if word]
                if len(found) > 1:
                    self._name(component, b"")
                for word in found:
                    self._name(word, raw.get(word, b""))
            if len(words) > 1:
                known = all(word.lower() in self._words for word in words)
                for order in (words, words[1::-1] + words[2:], words[:2]):
                    joined = "".join(order)
                    if known or len(joined) < WHOLE_WORD:
                        self.exempt.append("word of the standard" if known else "short text")
                    else:
                        self._add(NAME, joined, joined=True)

    def _name(self, word: str, raw: bytes) -> None:
        word = word.strip(" \0'\"()*?")
        if not word:
            return
        if _DIGITS.search(word):
            self._ids(word)
            return
        latin = ord(max(word)) < _LATIN_END
        if len(word) < (SHORTEST if latin else _SHORTEST_OTHER):
            self.exempt.append("short text")
        elif word.lower() in self._words:
            self.exempt.append("word of the standard")
        else:
            self._add(NAME, word, b"" if latin else _without_escapes(raw))

    def _dates(self, text: str) -> None:
        for value in text.split("\\"):
            for date in re.findall(r"\d{4}\.?\d\d\.?\d\d", value):
                if "1850" <= date[:4] <= "2100" and not date.startswith("1900"):
                    self._add(DATE, date.replace(".", ""))
                else:
                    self.exempt.append("dummy date")

    def _times(self, text: str) -> None:
        for value in text.split("\\"):
            digits = re.sub(r"\D", "", value)
            if len(digits) >= 9 and digits[6:].strip("0"):
                self._add(TIME, value.strip(" \0"))
            elif digits:
                self.exempt.append("time of day")

    def _text(self, text: str, raw: bytes) -> None:
        """Any text: links, IDs; the whole if it names something or is long."""
        if not text:
            return
        for address in _MAIL_OR_LINK.findall(text):
            self._add(ADDRESS, address)
        self._ids(text)
        words = [word.lower() for word in _WORD.findall(text)]
        known = all(word in self._words for word in words)
        latin = ord(max(text)) < _LATIN_END
        length = len(text)
        if _NAMING.search(self._keyword):
            kind = ID if _IDS.search(self._keyword) else PLACE
            shortest = SHORTEST if latin else _SHORTEST_OTHER
            if length < shortest:
                self.exempt.append("short text")
            elif words and known:
                self.exempt.append("word of the standard")
            elif words or sum(map(str.isdigit, text)) >= SHORTEST:
                self._add(kind, text, raw)
            else:
                self.exempt.append("short number")
        elif length >= 16 and len(words) >= 3 and not known:
            self._add(TEXT, text[:LONGEST])
        elif words:
            self.exempt.append("free text")

    def _ids(self, text: str) -> None:
        """Runs of letters and digits with four digits or more, and such runs joined by marks."""
        for run in _RUN.findall(text):
            parts = re.split(r"[-./_^]", run)
            if _DECIMAL.fullmatch(run):
                continue
            if len(parts) > 1 and sum(map(str.isdigit, run)) >= 5:
                self._add(self._run, run)
            for part in parts:
                if sum(map(str.isdigit, part)) >= SHORTEST:
                    self._add(self._run, part)

    def _whole(self, kind: str, text: str, why: str, shortest: int = SHORTEST) -> None:
        if len(text) >= shortest:
            self._add(kind, text)
        elif text:
            self.exempt.append(why)

    def _add(self, kind: str, text: str, raw: bytes = b"", joined: bool = False) -> None:
        if text.lower() in _DUMMIES:
            self.exempt.append("dummy")
            return
        if len(set(normalised(text.encode()))) == 1:  # XXXX, 0000
            self.exempt.append("dummy")
            return
        term = Term(kind, text, self._codecs, raw, joined)
        if term.spellings or term.exact:
            self.terms.append(term)
        else:
            self.exempt.append("short text")
