"""Profile files of a site, and what they make of a small file."""

from __future__ import annotations

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pydicom

import dcmveil
from build import EXPLICIT_LE, E, Item, part10

KEY = bytes(range(32))
SCHEMA = json.loads(
    (Path(dcmveil.__file__).parent / "profile" / "profile.schema.json").read_text("utf-8")
)
MR = "1.2.840.10008.5.1.4.1.1.4"
UID = "1.2.826.0.1.3680043.2.1143.1590429688519720198888"
NOTHING = 'extends = "nothing"\nunlisted = "keep"\nprivate = "blank"\nunknown = "blank"\n[rules]\n'
ALLOW = NOTHING.replace("keep", "blank")
BASIC = 'extends = "basic"\n[rules]\n'
GEMS = "GEMS_ACQU_01"  # a creator that the shipped lists know
OURS = "ACME MAGNETS 1.0"  # and one that they do not


class Site:
    """A folder with profile files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, text: str, name: str = "site.toml") -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        # every profile of these tests is right, so the schema must take it
        jsonschema.validate(tomllib.loads(text), SCHEMA)
        return str(path)

    def after(
        self, text: str, *elements: E, syntax: str = EXPLICIT_LE, **options: Any
    ) -> pydicom.Dataset:
        """The elements in a small file, rewritten with the profile and read back."""
        veil = dcmveil.Veil(self.write(text), key=KEY, **options)
        tags = {e.tag for e in elements}
        own = [E(0x00080016, "UI", MR), E(0x00080018, "UI", UID), E(0x00100020, "LO", "12345678")]
        placed = sorted([*elements, *(e for e in own if e.tag not in tags)], key=lambda e: e.tag)
        data = part10([*placed, E(0x7FE00010, "OW", bytes(range(64)))], syntax)
        new = veil.bytes(data)
        assert len(new) == len(data)
        assert veil.bytes(new) == new  # a second run changes nothing
        return pydicom.dcmread(io.BytesIO(new))


def sequence(tag: int, *items: list[E]) -> E:
    return E(tag, "SQ", [Item(item) for item in items])
