"""A profile as it is used: rules that the core can look up, and what else an input asks of it.

The one that most runs take, basic of the newest edition without options, was frozen beforehand
(`tools/freeze_basic.py`): putting it together out of its tables takes longer than a small file.
What was frozen says which tables it was made of, and where one of them has been edited since, it
is not used.
"""

from __future__ import annotations

from .. import core
from ..keys import digest_of
from .tables_io import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Draft

EDITION = "2026d"  # of PS3.15, the newest
BASIC = f"basic_{EDITION}.rules"
# What the frozen one was made of. The private dictionary is not in there: it is loaded beside it.
SOURCES = ("dictionary.txt", f"e1_1_{EDITION}.tsv", "decisions.tsv", "structure.tsv")

# Kinds of pseudonyms: the value's own, in a domain; or that of the Patient ID, fitted to the field.
PSEUDONYM_KINDS = ("patient", "patient-id", "accession")

# Days by which dates are moved, at least and at most, unless a profile says otherwise: into the
# past, up to ten years.
SHIFT_DAYS = (-3650, -1)


class Profile:
    """A named set of rules, frozen for the core.

    rules       the table that the core looks up
    digest      32 bytes that tell it from any other; a file's run mark is bound to it
    draft       what it was made from, for those who want to read it
    shift_days, honours_characteristics
                as in the draft
    """

    def __init__(
        self, name: str, rules: core.Rules, digest: bytes, draft: Draft | None = None
    ) -> None:
        self.name = name
        self.rules = rules
        self.digest = digest
        self.shift_days = SHIFT_DAYS if draft is None else draft.shift_days
        self.honours_characteristics = draft is not None and draft.honours_characteristics
        self._draft = draft

    @property
    def draft(self) -> Draft:
        """Made when it is first read, of the profile that was frozen beforehand."""
        if self._draft is None:
            from .builtin import draft_of

            self._draft = draft_of(self.name)
        return self._draft


def frozen_basic() -> Profile | None:
    """The profile basic as it was frozen beforehand, None: its tables are others now."""
    told, _, rest = read_bytes(BASIC).partition(b"\n")
    tables = [read_bytes(name) for name in SOURCES]
    if told != stamp(rest, tables):
        return None
    head, _, lines = rest.partition(b"\n\n")
    rules = core.Rules()
    rules.load(tables[0], read_bytes("private_dictionary.txt"))
    digest = b""
    for line in head.decode().splitlines():
        word, value, *more = line.split(" ", 2)
        if word == "digest":
            digest = bytes.fromhex(value)
        elif word == "literal":
            rules.literal(more[0].encode(), int(value))
        elif word == "vr":
            rules.set_vr(value, int(more[0]))
    rules.set_rows(lines)
    rules.freeze()
    return Profile("basic", rules, digest)


def stamp(rest: bytes, tables: list[bytes]) -> bytes:
    """The first line of what is frozen: it changes with what stands below it, and with each of the
    tables that it was made of."""
    return b"# made by tools/freeze_basic.py " + digest_of(rest, *tables).hex().encode()
