"""Canaries at scale: small files made at random, with a unique value in every attribute that they
have, in every encoding, at any depth and in every hiding place, judged value by value.

    python tests/canary_storm.py --files 100000 --seed 1

What is expected of a value comes from the tables, as in test_canaries.py, of which this is the
storm. A finding is printed with the number that makes its file again (--first N --files 1).
"""

from __future__ import annotations

import argparse
import base64
import collections
import random
import re
import sys
import time
from collections.abc import Callable, Sequence

import test_canaries as canaries
from build import DEFLATED, JPEG_BASELINE, E, Fragments, Item, encode, encoding_of
from build import part10 as part_10
from dcmveil import DicomError
from expectations import GONE, MAPPED, SETTINGS, STAYS, Setting, dictionary, vr_of
from test_canaries import Aviary, File, Private, inflated, leaves_of, listed, safe, unlisted

BASIC = SETTINGS[0]
SYNTAXES = [*canaries.SYNTAXES.values(), JPEG_BASELINE]
MEANT = {0x00080005, 0x00080016, 0x7FE00010, 0x00100020}  # put in by hand
KNOWN = (0x0009, "GEMS_IDEN_01"), (0x0019, "SIEMENS MR HEADER"), (0x0029, "SIEMENS CSA HEADER")
PLAIN = [tag for tag in {**unlisted()} if vr_of(tag) in ("CS", "LO", "SH", "LT", "ST", "UC", "UT")]
SEQUENCES = [int(text, 16) for text, vr in dictionary().items() if vr == "SQ" and "x" not in text]
POOL = {**listed(), **unlisted(), **canaries.UNKNOWN}
LEAVES = [
    tag for tag, vr in POOL.items() if vr != "SQ" and tag not in MEANT and tag >> 16 not in (0, 2)
]
META = [tag for tag in POOL if tag >> 16 == 2]
BASE64 = re.compile(rb"[A-Za-z0-9+/]{12,}")


class Maker:
    """One file. `special` says what becomes of values that no table tells of."""

    def __init__(self, seed: str, setting: Setting, syntax: str) -> None:
        self.random = random.Random(seed)
        self.setting, self.syntax = setting, syntax
        self.birds, self.private = Aviary(), Private()
        self.birds._n = self.random.randrange(2000)
        self.special: dict[int, str | bytes] = {}
        self.explicit = encoding_of(syntax) != "implicit-le"  # in the data set at hand

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    # -- values ------------------------------------------------------------------------------

    def leaf(self) -> E:
        tag = self.random.choice(LEAVES)
        element = self.birds.element(tag, POOL[tag])
        goes = self.setting.outcome(tag, element.vr) in (GONE, MAPPED)
        if self.setting is BASIC and goes and self.explicit and self.chance(0.2):
            # it goes whatever VR the file gives it
            element.vr = self.random.choice(["UN", "OB", "UT", "LO", "LT", "OW", "UC", "SH"])
            if element.vr in ("UN", "OB") and vr_of(tag) != "UI" and self.chance(0.5):
                assert isinstance(element.value, bytes)
                element.value = self.disguise(element.value)
            self.special[id(element)] = GONE
        return element

    def disguise(self, value: bytes) -> bytes:
        """The same in another dress."""
        if self.chance(0.5):
            return value.decode("latin-1").encode(self.random.choice(["utf-16-le", "utf-16-be"]))
        return base64.b64encode(b"xyz"[: self.random.randrange(4)] + value)

    def hidden(self) -> E:
        """In a value that stays: behind a NUL, or as a UID that looks registered and is not."""
        if self.chance(0.5):
            tag = self.random.choice(PLAIN)
            head = b"HEAD"
            value = head + b"\0" + self.birds.value("LO") + b" "
            element = E(tag, vr_of(tag), value + b" " * (len(value) % 2))
            if self.setting.outcome(tag, element.vr) == STAYS:
                assert isinstance(element.value, bytes)
                self.special[id(element)] = head.ljust(len(element.value), b"\0")
            return element
        number = self.random.randrange(10**8, 10**9)
        return E(0x00081150, "UI", b"1.2.840.10008.5.1.4.1.1.4.19700101%d\0" % number)

    # -- structure ---------------------------------------------------------------------------

    def data_set(self, depth: int = 0) -> list[E]:
        elements = [self.leaf() for _ in range(self.random.randint(3, 14) >> (depth > 1))]
        if self.chance(0.3):
            element = self.hidden()
            if element.tag == 0x00081150 and self.setting.outcome(element.tag, "UI") == STAYS:
                self.special[id(element)] = MAPPED
            elements.append(element)
        if self.chance(0.15):
            elements.append(self.birds.element(elements[0].tag, elements[0].vr))  # once more
            if id(elements[0]) in self.special:
                self.special[id(elements[-1])] = self.special[id(elements[0])]
                if isinstance(self.special[id(elements[-1])], bytes):
                    elements.pop()
        if self.chance(0.4):
            elements += self.block(depth)
        if depth < 5:
            for _ in range(self.random.choice([0, 1, 1, 2] if depth == 0 else [0, 0, 1])):
                elements.append(self.sequence(depth))
        elements.sort(key=lambda element: element.tag)
        return elements

    def sequence(self, depth: int) -> E:
        tag = self.random.choice([canaries.WALKED, canaries.WALKED, canaries.UNKNOWN_SEQUENCE,
                                  canaries.CONTENT, self.random.choice(SEQUENCES)])  # fmt: skip
        undefined, vr = self.chance(0.5), "UN" if self.chance(0.2) else "SQ"
        undefined = undefined or vr == "UN"
        outer, self.explicit = self.explicit, self.explicit and vr == "SQ"  # CP-246
        items = [
            Item(self.data_set(depth + 1), self.chance(0.5))
            for _ in range(self.random.choice([1, 1, 2]))
        ]
        self.explicit = outer
        return E(tag, vr, items, undefined=undefined)

    def block(self, depth: int) -> list[E]:
        """A private block: known, unknown, or of nobody."""
        kind, number = self.random.randrange(4), self.random.randrange(0x10, 0x100)
        elements: list[E] = []
        group, name = self.random.choice(KNOWN)
        if kind == 0:
            (group, name), rows = self.random.choice(list(safe().items()))
            for low, vr in self.random.sample(rows, min(len(rows), 2)):
                if vr != "SQ":
                    elements.append(self.birds.element(group << 16 | number << 8 | low, vr))
                    self.private.safe.add(id(elements[-1]))
        if kind < 2:
            creator = E(group << 16 | number, "LO", name)
            self.private.creators.add(id(creator))
            elements.append(creator)
        elif kind == 2:
            elements.append(self.birds.element(group << 16 | number, "LO"))
        taken = {
            low for (g, n), rows in safe().items() if (g, n) == (group, name) for low, _ in rows
        }
        low = next(low for low in self.random.sample(range(1, 255), 200) if low not in taken)
        vr = self.random.choice(["LO", "OB", "UI", "DA", "PN", "UN", "OW", "DS", "UT"])
        tag = group << 16 | number << 8 | low
        if vr == "OB" and self.chance(0.5) and self.explicit:
            parts = [b"", *(self.birds.value("OB") for _ in range(2))]
            elements.append(E(tag, vr, Fragments(parts)))
        elif depth < 4 and (self.explicit or kind > 1) and self.chance(0.2):
            item = Item(self.data_set(depth + 1), self.chance(0.5))
            elements.append(E(tag, "SQ", [item], undefined=self.chance(0.5)))
        else:
            elements.append(self.birds.element(tag, vr))
        return elements

    # -- the file ----------------------------------------------------------------------------

    def file(self) -> File:
        encoding, raw = encoding_of(self.syntax), self.chance(0.1)
        elements = self.data_set()
        drop = {e.tag for e in elements if e.tag in MEANT}
        elements = [e for e in elements if e.tag not in drop]
        elements += [E(0x00080005, "CS", "ISO_IR 100"), self.birds.element(0x00100020, "LO")]
        elements.append(E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"))
        pixels = self.chance(0.7)
        if pixels and self.syntax == JPEG_BASELINE and not raw:
            parts = [b"", self.birds.value("OB"), self.birds.value("OB")]
            elements.append(E(0x7FE00010, "OB", Fragments(parts)))
        elif pixels:
            elements.append(E(0x7FE00010, "OW", self.birds.value("OW")))
        elements.sort(key=lambda element: element.tag)
        tail = b""
        if pixels and self.chance(0.4):
            tail = b"\2\2" + b"".join(self.birds.value("LO") for _ in range(3))
        if raw and self.syntax not in DEFLATED:
            data = plain = encode([*elements, tail] if tail else elements, encoding)
            leaves = [*leaves_of(elements, encoding, 0)]
        else:
            meta = [
                E(0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.4"),
                E(0x00020010, "UI", self.syntax),
                *(self.birds.element(tag, POOL[tag]) for tag in self.random.sample(META, 3)),
            ]
            meta.sort(key=lambda element: element.tag)
            preamble = b"".join(self.birds.value("OB") for _ in range(16))
            whole: Sequence[E | bytes] = [*elements, tail] if tail else elements
            data = part_10(whole, self.syntax, meta=meta, preamble=preamble)
            head = 144 + len(encode(meta))
            plain = inflated(data, self.syntax, head)
            if self.syntax in DEFLATED and self.chance(0.5):
                data += self.birds.value("LO")
            leaves = [*leaves_of(meta, "explicit-le", 144), *leaves_of(elements, encoding, head)]
        return File(data, plain, leaves, self.private, len(plain) - len(tail), self.special)


def other_forms(data: bytes) -> set[bytes]:
    """Canaries written as UTF-16 or base64."""
    found = canaries.TOKENS["text"].findall(data.replace(b"\0", b""))
    for run in BASE64.findall(data):
        for start in range(4):
            part = run[start : start + (len(run) - start) // 4 * 4]
            found += canaries.TOKENS["text"].findall(base64.b64decode(part))
    return set(found)


def one(seed: int, number: int) -> str:
    """Make and judge a file. What became of it; AssertionError where something is left."""
    chosen = random.Random(f"{seed} {number}")
    setting = BASIC if chosen.random() < 0.6 else chosen.choice(SETTINGS)
    syntax = chosen.choice(SYNTAXES)
    file = Maker(f"{seed} {number} file", setting, syntax).file()
    for leaf in file.leaves:
        value = canaries.value_of(leaf.element)
        assert file.plain[leaf.start : leaf.start + len(value)] == value, "a fault of the test"
    try:
        new = canaries.check(setting, file, syntax)
    except DicomError as error:
        return f"refused: {error.reason}"
    assert other_forms(new) <= canaries.tokens(new)
    return "rewritten"


def storm(
    seed: int, first: int, files: int, said: Callable[[str], object] = print
) -> tuple[collections.Counter[str], int]:
    """(what became of how many, findings)."""
    outcomes: collections.Counter[str] = collections.Counter()
    findings = 0
    for number in range(first, first + files):
        try:
            outcomes[one(seed, number)] += 1
        except AssertionError as error:
            findings += 1
            said(f"file {number}: {str(error).splitlines()[0] if str(error) else error!r}")
    return outcomes, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    start = time.monotonic()
    outcomes, findings = storm(arguments.seed, arguments.first, arguments.files)
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")
    seconds = time.monotonic() - start
    print(f"seed {arguments.seed}, {arguments.files} files, {seconds:.0f} s, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
