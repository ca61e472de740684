"""The data files of dcmveil.profile are what tools/make_tables.py makes of its sources."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pydicom
import pytest
from pydicom.datadict import DicomDictionary, RepeatersDictionary, private_dictionaries
from pydicom.uid import UID_dictionary

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "src" / "dcmveil" / "profile" / "tables"
SCRIPT = ROOT / "tools" / "make_tables.py"

pytestmark = pytest.mark.skipif(
    f"pydicom {pydicom.__version__}" not in (TABLES / "dictionary.txt").read_text(),
    reason="the tables were made from another version of pydicom",
)


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_tables", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_tables = load_script()


def lines_of(name: str) -> list[str]:
    """The lines after the comments."""
    lines = (TABLES / name).read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [line for line in lines if not line.startswith("#")]


def read_private() -> dict[str, dict[str, str]]:
    creators: dict[str, dict[str, str]] = {}
    for line in lines_of("private_dictionary.txt"):
        if line.startswith("@"):
            rows = creators[line[1:]] = {}
        else:
            group, low, vr = line.split(" ")
            rows[f"{group}xx{low}"] = vr
    return creators


# the project's own, each row with its reason
BY_HAND = {"allow_list_base.tsv", "decisions.tsv", "structure.tsv"}
FROZEN = "basic_2026d.rules"  # made of the others by another script, see test_frozen.py
NAMES = sorted(path.name for path in TABLES.iterdir() if path.name not in {*BY_HAND, FROZEN})


def test_every_file_is_generated() -> None:
    assert sorted(make_tables.generate()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_form(name: str) -> None:
    data = (TABLES / name).read_bytes()
    assert data.startswith(b"# ")
    assert data.endswith(b"\n")
    assert b"\r" not in data
    data.decode("utf-8")


def test_committed_files_are_current() -> None:
    assert make_tables.differences(make_tables.generate()) == []


def test_generation_is_repeatable() -> None:
    assert make_tables.generate() == make_tables.generate()


@pytest.mark.parametrize("name", NAMES)
def test_an_altered_file_is_reported(name: str, tmp_path: Path) -> None:
    files = make_tables.generate()
    for other, data in files.items():
        (tmp_path / other).write_bytes(data)
    assert make_tables.differences(files, tmp_path) == []
    (tmp_path / name).write_bytes(files[name] + b"x")
    assert make_tables.differences(files, tmp_path) == [name]
    (tmp_path / name).unlink()
    assert make_tables.differences(files, tmp_path) == [name]


def test_check_exits_1_on_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_tables.py", "--check"])
    assert make_tables.main() == 0
    monkeypatch.setattr(make_tables, "differences", lambda files: ["dictionary.txt"])
    assert make_tables.main() == 1
    assert capsys.readouterr().err.startswith("dictionary.txt: ")


def test_script_runs() -> None:
    assert subprocess.run([sys.executable, SCRIPT, "--check"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"# ", b""),  # no source named
        (b"\t", b""),  # a column lost
    ],
)
def test_a_broken_standard_table_is_refused(old: bytes, new: bytes, tmp_path: Path) -> None:
    for name in make_tables.STANDARD_TABLES:
        (tmp_path / name).write_bytes((TABLES / name).read_bytes())
    table = tmp_path / "e1_1_2026d.tsv"
    table.write_bytes(table.read_bytes().replace(old, new, 1))
    with pytest.raises(ValueError, match=r"e1_1_2026d\.tsv"):
        make_tables.generate(tmp_path)


def test_dictionary_records_are_fixed_width() -> None:
    data = (TABLES / "dictionary.txt").read_bytes()
    start = re.search(rb"^[^#]", data, re.MULTILINE)
    assert start is not None
    records = data[start.start() :]
    assert len(records) % 12 == 0
    tags = []
    for offset in range(0, len(records), 12):
        match = re.fullmatch(rb"([0-9A-Fx]{8}) ([A-Z]{2})\n", records[offset : offset + 12])
        assert match is not None
        tags.append(match[1])
    exact = [tag for tag in tags if b"x" not in tag]
    patterns = tags[len(exact) :]
    assert exact == sorted(set(exact))
    assert patterns == sorted(set(patterns))
    assert all(b"x" in tag for tag in patterns)


def test_dictionary_agrees_with_pydicom() -> None:
    ours = dict(line.split(" ") for line in lines_of("dictionary.txt"))
    theirs = {f"{tag:08X}": entry[0] for tag, entry in DicomDictionary.items()}
    theirs |= {tag: entry[0] for tag, entry in RepeatersDictionary.items()}
    items = {tag for tag in theirs if tag.startswith("FFFE")}
    assert {theirs.pop(tag) for tag in items} == {"NONE"}
    assert ours.keys() == theirs.keys()
    for tag, vr in theirs.items():
        assert ours[tag] in vr.split(" or ")
    assert ours["7FE00010"] == ours["60xx3000"] == ours["00283006"] == ours["00281200"] == "OW"
    assert ours["00280106"] == "US"


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_tables_by_hand(name: str) -> None:
    header, *rows = (line.split("\t") for line in lines_of(name))
    assert header == ["tag", "action", "reason"]
    tags = [tag for tag, *_ in rows]
    assert tags == sorted(set(tags))
    known = {line[:8] for line in lines_of("dictionary.txt")}
    words = ["blank", "document", "dummy", "keep", "needed", "uid"]
    for tag, action, reason in rows:
        assert tag[1:5] + tag[6:10] in known
        assert action in words or re.match("set(-or-keep|-or-blank)?:", action)
        assert (action == "needed") <= (name == "allow_list_base.tsv")
        assert reason


def test_keywords() -> None:
    tags = dict(line.split("\t") for line in lines_of("keywords.txt"))
    assert list(tags) == sorted(tags)
    assert len(tags) == len(lines_of("keywords.txt"))
    for tag, entry in DicomDictionary.items():
        if entry[4] and tag >> 16 != 0xFFFE:
            assert tags.pop(entry[4]) == f"{tag:08X}"
    for pattern, entry in RepeatersDictionary.items():
        assert tags.pop(entry[4]) == pattern
    # what pydicom does not have yet is in Table E.1-1
    table = (line.split("\t") for line in lines_of("e1_1_2026d.tsv"))
    newer = {cells[2]: cells[0][1:5] + cells[0][6:10] for cells in table}
    assert len(tags) == 26
    assert tags.items() <= newer.items()
    assert tags["PersonNamesToUseSequence"] == "00100011"


def test_two_keywords_of_one_name_stop_the_generator() -> None:
    table = (TABLES / "e1_1_2026d.tsv").read_bytes()
    keyword = b"\tNameToUse\t"
    assert table.count(keyword) == 1
    with pytest.raises(ValueError, match="odd keyword"):
        make_tables.keywords(table.replace(keyword, b"\tName To Use\t"))
    with pytest.raises(ValueError, match="odd keyword"):
        make_tables.keywords(table.replace(keyword, b"\tGenderIdentitySequence\t"))


def test_private_dictionary_form() -> None:
    lines = lines_of("private_dictionary.txt")
    assert lines[0].startswith("@")
    for line in lines:
        assert line.startswith("@") or re.fullmatch("[0-9A-F]{4} [0-9A-F]{2} [A-Z]{2}", line)
    creators = [line[1:] for line in lines if line.startswith("@")]
    assert creators == sorted(set(creators), key=str.encode)
    for rows in read_private().values():
        assert list(rows) == sorted(rows)


def test_private_dictionary_round_trips() -> None:
    ours = read_private()
    safe: dict[str, dict[str, str]] = {}
    for line in lines_of("safe_private_2026d.tsv")[1:]:
        creator, group, low, vr, *_ = line.split("\t")
        safe.setdefault(creator, {})[f"{group}xx{low}"] = vr
    assert ours.keys() == private_dictionaries.keys() | safe.keys()

    one_block = re.compile("[0-9A-F]{4}xx[0-9A-F]{2}")
    for creator, rows in ours.items():
        theirs = {
            tag: entry[0]
            for tag, entry in private_dictionaries.get(creator, {}).items()
            if one_block.fullmatch(tag)
        }
        assert rows.keys() == theirs.keys() | safe.get(creator, {}).keys()
        for tag, vr in (safe.get(creator, {}) | theirs).items():
            assert rows[tag] in re.split(" or |[_/]", vr or "UN")


def test_registered_uids() -> None:
    uids = lines_of("registered_uids.txt")
    assert uids == sorted(set(uids))
    assert all(uid.startswith("1.2.840.10008.") for uid in uids)
    added = set(uids) - UID_dictionary.keys()
    assert UID_dictionary.keys() <= set(uids)
    assert len(added) == 14 + 24  # later rows of Table A-1; the templates of Table A-4
    assert "1.2.840.10008.9.24" in added
    assert not [uid for uid in uids if uid.startswith("1.2.840.10008.6.1.")]


@pytest.mark.parametrize(("name", "rows"), [("e1_1_2026d.tsv", 657), ("sup142.tsv", 247)])
def test_profile_tables(name: str, rows: int) -> None:
    table = [line.split("\t") for line in lines_of(name)]
    assert len(table) == 1 + rows
    assert table[0][:6] == ["tag", "name", "keyword", "vr", "retired", "basic"]
    assert {len(row) for row in table} == {16}
    tags = [row[0] for row in table[1:]]
    assert len(set(tags)) == rows
    for tag in tags:
        assert re.fullmatch(r"\([0-9A-Fx]{4},[0-9A-Fx]{4}\)|private", tag)
    actions = {cell for row in table[1:] for cell in row[5:]}
    assert actions <= {"", "C", "D", "K", "U", "X", "Z", "X/D", "X/Z", "X/Z/D", "X/Z/U*", "Z/D"}


def test_transfer_syntaxes() -> None:
    header, *rows = (line.split("\t") for line in lines_of("transfer_syntaxes.tsv"))
    assert header == ["uid", "kind"]
    kind_of = dict(rows)
    assert len(kind_of) == len(rows)
    known = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    assert known <= kind_of.keys()
    registered = set(lines_of("registered_uids.txt"))
    assert kind_of.keys() - registered == {"1.2.840.113619.5.2"}

    # pydicom knows how most of them are encoded.
    for uid in sorted(known):
        syntax = pydicom.uid.UID(uid)
        kind = kind_of[uid]
        if uid.startswith(("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.")):
            assert kind == "not-a-data-set"
        elif uid == "1.2.840.10008.1.20" or syntax.is_implicit_VR:
            assert kind == "implicit-le"
        elif not syntax.is_little_endian:
            assert kind == "explicit-be"
        elif uid == "1.2.840.10008.1.2.1":
            assert kind == "explicit-le"
        elif syntax.is_deflated:
            assert kind == "deflated"
        elif "JPIP" in syntax.name:
            # It takes these for encapsulated. They hold a URL in place of pixel data.
            assert kind == ("deflated" if "Deflate" in syntax.name else "explicit-le")
        else:
            assert syntax.is_encapsulated
            assert kind == "encapsulated"


def test_an_unknown_transfer_syntax_stops_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    new = "1.2.840.10008.1.2.4.999"
    monkeypatch.setitem(make_tables.UID_dictionary, new, ("", "Transfer Syntax", "", "", ""))
    with pytest.raises(ValueError, match=re.escape(new)):
        make_tables.transfer_syntaxes()
