"""Generate the data files of dcmveil.profile from pydicom's dictionaries and the standard's tables.

    python tools/make_tables.py --standard DIR      write the files
    python tools/make_tables.py --check             exit 1 if a committed file would change

DIR holds the tables of PS3.15 as text. The committed copies are such a folder themselves and
the default, so only a new edition of the standard needs another DIR.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from pydicom import __dicom_version__, __version__
from pydicom.datadict import DicomDictionary, RepeatersDictionary, private_dictionaries  # type: ignore[attr-defined]
from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

TABLES = Path(__file__).resolve().parents[1] / "src" / "dcmveil" / "profile" / "tables"

PYDICOM = f"pydicom {__version__}"
EDITION = __dicom_version__

E1_1 = "e1_1_2026d.tsv"
# The tables of the standard: file name -> number of columns.
STANDARD_TABLES = {
    E1_1: 16,
    "editions.tsv": 9,
    "omidb.tsv": 6,
    "safe_private_2026d.tsv": 6,
    "sup142.tsv": 16,
}

# In implicit VR one VR must be taken. US has the width of SS; OW is what PS3.5 A.1 prescribes.
PUBLIC_VR = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}

# Bytes of unknown kind in private elements: OB, for which no byte order has to be known.
# The table of safe private attributes leaves some VRs empty.
PRIVATE_VR = {"US or SS": "US", "OB or OW": "OB", "OB_OW": "OB", "OW/OB": "OB", "": "UN"}

VR = re.compile(r"[A-Z]{2}")
TAG = re.compile(r"[0-9A-Fx]{8}")
KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
PRIVATE_TAG = re.compile(r"([0-9A-F]{4})xx([0-9A-F]{2})")

DICOM_ROOT = "1.2.840.10008."


def uids(prefix: str, suffixes: str) -> list[str]:
    return [f"{DICOM_ROOT}{prefix}{suffix}" for suffix in suffixes.split()]


# Registered in PS3.6 Tables after the edition that pydicom has, up to mid-2026.
LATER_TRANSFER_SYNTAXES = uids("1.2.", "4.110 4.111 4.112 8.1")
LATER_SOP_CLASSES = uids("5.1.4.1.1.", "2.3 2.4 2.5 9.100.1 9.100.2 66.7 66.8 601.3 601.4 601.5")
# PS3.6 Table A-4, template UIDs of PS3.20: pydicom has none of this table.
TEMPLATES = uids("9.", " ".join(str(n) for n in range(1, 25)))

GE_PRIVATE = "1.2.840.113619.5.2"

# Every transfer syntax is named here one by one: one that is not must stop the generator, since
# a guessed encoding could let identifiers pass unseen.
KINDS = {
    "implicit-le": [*uids("", "1.2 1.20"), GE_PRIVATE],
    # The JPIP referenced ones are explicit little endian with a URL in place of pixel data.
    "explicit-le": uids("1.2.", "1 4.94 4.204"),
    "explicit-be": uids("1.2.", "2"),
    "deflated": uids("1.2.", "1.99 4.95 4.205"),
    "encapsulated": [
        # 8.1 deflates each frame, not the data set.
        *uids("1.2.", "1.98 5 8.1"),
        *uids("1.2.4.", " ".join(str(n) for n in range(50, 67))),
        *uids("1.2.4.", "70 80 81 90 91 92 93"),
        *uids("1.2.4.", "100 100.1 101 101.1 102 102.1 103 103.1 104 104.1 105 105.1 106 106.1"),
        *uids("1.2.4.", "107 108 110 111 112 201 202 203"),
    ],
    "not-a-data-set": uids("1.2.", "6.1 6.2 7.1 7.2 7.3"),
}


def text(comments: Iterable[str], lines: Iterable[str]) -> bytes:
    """Return the bytes of a data file: UTF-8, LF, its comment lines first."""
    return "".join(f"{line}\n" for line in (*(f"# {c}" for c in comments), *lines)).encode()


def one_vr(vr: str, choice: dict[str, str]) -> str:
    chosen = choice.get(vr, vr)
    if not VR.fullmatch(chosen):
        raise ValueError(f"no single VR for {vr!r}")
    return chosen


def dictionary() -> bytes:
    """Public tags: fixed-width records of 12 bytes after the comments, wildcards last."""
    # Items and delimiters are structure, not elements; their VR is NONE.
    exact = {
        f"{tag:08X}": entry[0] for tag, entry in DicomDictionary.items() if tag >> 16 != 0xFFFE
    }
    lines = []
    for rows in (exact, {tag: entry[0] for tag, entry in RepeatersDictionary.items()}):
        for tag, vr in sorted(rows.items()):
            if not TAG.fullmatch(tag):
                raise ValueError(f"odd tag {tag!r}")
            lines.append(f"{tag} {one_vr(vr, PUBLIC_VR)}")
    comments = [
        f"DICOM PS3.6 and PS3.7 {EDITION}, tag and VR, as in {PYDICOM}; where the standard names",
        "two VRs: OB or OW, US or OW -> OW, US or SS -> US. x: any hex digit of a repeating group.",
    ]
    return text(comments, lines)


def keywords(table: bytes) -> bytes:
    """Keyword to tag: those of pydicom, and of the tags that only the table of PS3.15 has."""
    entries = {f"{tag:08X}": entry for tag, entry in DicomDictionary.items()}
    names = {tag: entry[4] for tag, entry in (entries | dict(RepeatersDictionary)).items()}
    known = set(names.values())
    for tag, _, keyword, *_ in table_rows(table):
        # The table names all of 50xx after its one attribute of that name.
        if tag != "private" and keyword not in known:
            names.setdefault(tag[1:5] + tag[6:10], keyword)
    tags: dict[str, str] = {}
    for tag, keyword in names.items():
        # Some retired tags have no keyword; items and delimiters are no elements.
        if keyword and not tag.startswith("FFFE"):
            if keyword in tags or not KEYWORD.fullmatch(keyword):
                raise ValueError(f"odd keyword {keyword!r}")
            tags[keyword] = tag
    comments = [
        f"Keywords of DICOM PS3.6 and PS3.7 {EDITION} as in {PYDICOM}, and those of the tags that",
        "it lacks of DICOM PS3.15 2026d Table E.1-1. x: any hex digit of a repeating group.",
    ]
    return text(comments, [f"{keyword}\t{tag}" for keyword, tag in sorted(tags.items())])


def table_rows(table: bytes) -> list[list[str]]:
    """Return the cells of a table, without its comments and its line of column names."""
    lines = [line for line in table.decode().split("\n") if line and not line.startswith("#")]
    return [line.split("\t") for line in lines[1:]]


def private_dictionary(safe_private: bytes) -> bytes:
    """Private tags by creator; the low byte of the element only, as blocks are reserved per file.

    Rows of pydicom for a whole element number are left out: they can not be moved to another
    block, and most name blocks that PS3.5 7.8.1 does not allow. Their creators stay, if need be
    without a row, since a known creator is kept in a file.
    """
    creators: dict[str, dict[tuple[str, str], str]] = {}
    for creator, entries in private_dictionaries.items():
        rows = creators.setdefault(creator, {})
        for tag, entry in entries.items():
            if match := PRIVATE_TAG.fullmatch(tag):
                rows[match[1], match[2]] = one_vr(entry[0], PRIVATE_VR)
    for creator, group, offset, vr, *_ in table_rows(safe_private):
        creators.setdefault(creator, {}).setdefault((group, offset), one_vr(vr, PRIVATE_VR))

    lines = []
    for creator in sorted(creators, key=str.encode):
        # A creator stands alone on its line: nothing in it may be taken for something else.
        if not creator or not creator.isprintable() or creator[0] in "@#" or "\\" in creator:
            raise ValueError(f"odd private creator {creator!r}")
        lines.append(f"@{creator}")
        lines += [f"{group} {low} {vr}" for (group, low), vr in sorted(creators[creator].items())]
    comments = [
        f"Private dictionary of GDCM as in {PYDICOM}, and the rows it lacks of",
        "DICOM PS3.15 2026d Table E.3.10-1. @creator, then group, low byte of the element, VR.",
    ]
    return text(comments, lines)


def registered_uids() -> bytes:
    known = {uid for uid in UID_dictionary if uid.startswith(DICOM_ROOT)}
    known.update(LATER_TRANSFER_SYNTAXES, LATER_SOP_CLASSES, TEMPLATES)
    comments = [
        f"DICOM PS3.6 Annex A: Tables A-1 and A-2 of {EDITION} as in {PYDICOM}, with those added",
        "up to mid-2026, and Table A-4. Sorted as text. Not listed: the context groups of Table",
        "A-3, 1.2.840.10008.6.1.N with N from 1 to 1571 in mid-2026; private UIDs such as the",
        f"transfer syntax {GE_PRIVATE} of GE, which Annex A does not register.",
    ]
    return text(comments, sorted(known))


def transfer_syntaxes() -> bytes:
    kind_of = {uid: kind for kind, members in KINDS.items() for uid in members}
    known = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    known.update(LATER_TRANSFER_SYNTAXES, [GE_PRIVATE])
    if odd := known ^ kind_of.keys():
        raise ValueError(f"transfer syntaxes without a kind, or not registered: {sorted(odd)}")
    comments = [
        f"Transfer syntaxes of DICOM PS3.6 Table A-1 {EDITION} as in {PYDICOM}, with those added",
        f"up to mid-2026, and {GE_PRIVATE} of GE: implicit VR little endian but for the byte",
        "order of (7FE0,0010). Kinds from PS3.5 Annex A; not-a-data-set: nothing to walk, refused.",
    ]
    return text(comments, ["uid\tkind", *(f"{uid}\t{kind_of[uid]}" for uid in sorted(kind_of))])


def standard_table(path: Path, columns: int) -> bytes:
    """Return a table of the standard: LF, no blanks around cells, every row whole."""
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if number == 1 and not line.startswith("# "):
            raise ValueError(f"{path.name}: its first line does not name its source")
        if line.startswith("#"):
            lines.append(line.rstrip())
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != columns:
            raise ValueError(f"{path.name} line {number}: {len(cells)} columns, not {columns}")
        lines.append("\t".join(cells))
    return text([], lines)


def generate(standard: Path = TABLES) -> dict[str, bytes]:
    """Return every data file, name -> bytes."""
    files = {
        name: standard_table(standard / name, columns) for name, columns in STANDARD_TABLES.items()
    }
    files["dictionary.txt"] = dictionary()
    files["keywords.txt"] = keywords(files[E1_1])
    files["private_dictionary.txt"] = private_dictionary(files["safe_private_2026d.tsv"])
    files["registered_uids.txt"] = registered_uids()
    files["transfer_syntaxes.tsv"] = transfer_syntaxes()
    return files


def differences(files: dict[str, bytes], tables: Path = TABLES) -> list[str]:
    """Return the names of the files that are missing or differ in the folder."""
    return sorted(
        name
        for name, data in files.items()
        if not (tables / name).is_file() or (tables / name).read_bytes() != data
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--standard", type=Path, default=TABLES, metavar="DIR")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 on a difference"
    )
    options = parser.parse_args()
    files = generate(options.standard)
    if options.check:
        changed = differences(files)
        for name in changed:
            print(f"{name}: differs from what would be generated", file=sys.stderr)
        return 1 if changed else 0
    TABLES.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (TABLES / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
