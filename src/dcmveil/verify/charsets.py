"""Text by its character set, with code extensions (PS3.5 section 6.1, PS3.3 C.12.1.1.2).

Only to know what a value says: what cannot be decoded is taken as ISO 8859-1, so that no value is
lost.
"""

from __future__ import annotations

import re

# Defined terms of PS3.3 tables C.12-2 to C.12-5 -> codec of Python
_CODECS = {
    "": "latin-1",
    "6": "latin-1",
    "100": "latin-1",
    "101": "iso8859-2",
    "109": "iso8859-3",
    "110": "iso8859-4",
    "144": "iso8859-5",
    "127": "iso8859-6",
    "126": "iso8859-7",
    "138": "iso8859-8",
    "148": "iso8859-9",
    "203": "iso8859-15",
    "13": "shift_jis",
    "166": "tis-620",
    "192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "58": "gb2312",
    "87": "iso2022_jp",
    "159": "iso2022_jp_2",
    "149": "euc_kr",
}
# Escape sequences of the code elements (PS3.3 tables C.12-3 and C.12-4) -> codec, and whether the
# codec wants the escape itself.
_ESCAPES = {
    b"\x1b(B": ("latin-1", False),
    b"\x1b-A": ("latin-1", False),
    b"\x1b-B": ("iso8859-2", False),
    b"\x1b-C": ("iso8859-3", False),
    b"\x1b-D": ("iso8859-4", False),
    b"\x1b-L": ("iso8859-5", False),
    b"\x1b-G": ("iso8859-6", False),
    b"\x1b-F": ("iso8859-7", False),
    b"\x1b-H": ("iso8859-8", False),
    b"\x1b-M": ("iso8859-9", False),
    b"\x1b-b": ("iso8859-15", False),
    b"\x1b-T": ("tis-620", False),
    b"\x1b)I": ("shift_jis", False),
    b"\x1b(J": ("shift_jis", False),
    b"\x1b$B": ("iso2022_jp", True),
    b"\x1b$(D": ("iso2022_jp_2", True),
    b"\x1b$)C": ("euc_kr", False),
    b"\x1b$)A": ("gb2312", False),
}
_SPLIT = re.compile(rb"(\x1b(?:\$[()]?[A-Z]|[()-][A-Za-z]))")
_ESCAPE = b"\x1b"


def codecs_of(value: bytes) -> tuple[str, ...]:
    """Codecs for a value of (0008,0005); unknown terms count as ISO 8859-1."""
    terms = value.partition(b"\0")[0].decode("latin-1").split("\\")
    found = []
    for term in terms:
        name = term.strip().upper().replace("_", " ")
        for prefix in ("ISO 2022 IR ", "ISO IR ", "ISO2022IR", "ISO-IR "):
            name = name.removeprefix(prefix)
        found.append(_CODECS.get(name, "latin-1"))
    return tuple(found)


def decoded(value: bytes, codecs: tuple[str, ...]) -> str:
    """The text of a value."""
    first = codecs[0] if codecs else "latin-1"
    if _ESCAPE not in value:
        return _plain(value, first)
    pieces = _SPLIT.split(value)
    text = _plain(pieces[0], first)
    for escape, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        codec, wanted = _ESCAPES.get(escape, (first, False))
        # a delimiter of the text ends a code element, and 7 bit sets have none of their own
        text += _plain(escape + piece if wanted else piece, codec)
    return text


def _plain(value: bytes, codec: str) -> str:
    try:
        return value.decode(codec)
    except UnicodeDecodeError:
        return value.decode("latin-1")
