"""What a comparison has found, in words and numbers; a value is shown only on demand."""

from __future__ import annotations

from collections import Counter

# kind of a finding -> what it says
KINDS = {
    "length": "the file has another length",
    "changed": "bytes differ that no rule may change",
    "structure": "tags, VRs, lengths or nesting differ",
    "value": "it is not the value that this profile and key write",
    "other key": "no keyed value is that of this key: another key or profile made this file",
    "identifier": "an identifying value still stands here",
    "other identifier": "a value that identifies somebody in another original stands here",
    "name": "the file's name holds an identifying value",
    "unread": "the original is refused by this profile, so nothing is proven",
    "too many": "there are more identifying values than can be held, so not all were looked for",
    "from nowhere": "no original belongs to this file",
    "no output": "this original has no output",
    "not DICOM": "this is no DICOM file",
}

# Findings of one kind in one file that are told one by one; the rest is counted. A file that was
# shifted by a byte differs everywhere.
TOLD = 20


class Finding:
    """One promise that does not hold at one place.

    kind     a word of KINDS
    offset   in bytes from the start of the output, in a deflated data set from the start of what
             it inflates to; None for a whole file
    path     tag path there, `preamble` or `tail`; empty where it is not known
    source   tag path of the attribute of the original that an identifying value comes from
    detail   more words, such as what the value was (`person name`), never the value
    value    the bytes found, for those who ask for it; not in the repr
    """

    __slots__ = ("detail", "kind", "offset", "path", "source", "value")

    def __init__(
        self,
        kind: str,
        offset: int | None = None,
        path: str = "",
        source: str = "",
        detail: str = "",
        value: bytes = b"",
    ) -> None:
        self.kind = kind
        self.offset = offset
        self.path = path
        self.source = source
        self.detail = detail
        self.value = value

    def __str__(self) -> str:
        """One line without any value."""
        where = [] if self.offset is None else [f"offset {self.offset}"]
        where += [self.path] if self.path else []
        words = KINDS[self.kind]
        if self.detail:
            words += f": {self.detail}"
        if self.source:
            words += f" of {self.source}"
        return ": ".join(part for part in (", ".join(where), words) if part)

    def __repr__(self) -> str:
        return f"Finding({self.kind!r}, {str(self)!r})"


class Verdict:
    """What is known of one output after it was compared.

    findings   the first 20 of each kind
    more       kind -> how many there are beyond these
    sought     identifying values that were looked for, each with all its forms
    exempt     why identifying values, or places where one stands, do not count -> how many
    compared   bytes compared with the original
    scanned    bytes searched for identifying values
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.more: Counter[str] = Counter()
        self.exempt: Counter[str] = Counter()
        self.sought = 0
        self.compared = 0
        self.scanned = 0
        self._told: Counter[str] = Counter()

    @property
    def ok(self) -> bool:
        """Every promise is proven."""
        return not self.findings

    def add(self, finding: Finding) -> None:
        self._told[finding.kind] += 1
        if self._told[finding.kind] > TOLD:
            self.more[finding.kind] += 1
        else:
            self.findings.append(finding)

    def found(self, kind: str) -> int:
        """How many findings there are of a kind."""
        return self._told[kind]

    def __repr__(self) -> str:
        return f"Verdict({len(self.findings) + self.more.total()} findings)"
