"""The profile that was frozen beforehand is the one that its tables give, or it is not used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from build import sample
from dcmveil import Veil, core, load_profile
from dcmveil.profile import draft_of, tables_io
from dcmveil.profile.frozen import BASIC, SOURCES, Profile, frozen_basic, stamp
from twin_rules import lines

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "src/dcmveil/profile/tables"
KEY = bytes(range(32))


def known() -> Profile:
    profile = frozen_basic()
    assert profile is not None
    return profile


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tables, from which profiles are read now."""
    copied = tmp_path / "tables"
    shutil.copytree(TABLES, copied)
    monkeypatch.setattr(tables_io, "_FOLDER", str(copied))
    assert frozen_basic() is not None
    return copied


def replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def test_the_committed_file_is_current() -> None:
    command = [sys.executable, ROOT / "tools/freeze_basic.py", "--check"]
    assert subprocess.run(command, check=False).returncode == 0


def test_it_is_what_its_tables_give() -> None:
    ours, anew = known(), draft_of("basic").freeze()
    assert (ours.name, ours.digest) == (anew.name, anew.digest)
    assert (ours.shift_days, ours.honours_characteristics) == (
        anew.shift_days,
        anew.honours_characteristics,
    )
    patterns = [line[:8] for line in lines("dictionary.txt")] + list(anew.draft.rows)
    tags = {int(pattern.replace("x", digit), 16) for pattern in patterns for digit in "0123EF"}
    tags |= {tag + step for tag in tags for step in (1, 0x100, 0x10000) if tag < 0xFFFE0000}
    assert len(tags) > 10000
    assert [t for t in tags if ours.rules.look_up(t) != anew.rules.look_up(t)] == []
    assert ours.rules.tags_known() == anew.rules.tags_known()


@pytest.mark.parametrize("encoding", ["explicit-le", "implicit-le", "explicit-be"])
def test_it_writes_the_same(encoding: str) -> None:
    """Literals and actions by VR too, and the run mark."""
    data = sample(encoding)
    assert Veil(known(), key=KEY).bytes(data) == Veil(draft_of("basic").freeze(), key=KEY).bytes(
        data
    )


def test_its_draft() -> None:
    assert known().draft.title == draft_of("basic").title


@pytest.mark.parametrize("edition", [None, "2026d"])
def test_it_is_the_default(edition: str | None, tables: Path) -> None:
    (tables / SOURCES[1]).rename(tables / "gone")  # the others are read
    with pytest.raises(FileNotFoundError):
        load_profile("basic", (), edition)
    (tables / "gone").rename(tables / SOURCES[1])
    assert load_profile("basic", (), edition).digest == known().digest


@pytest.mark.parametrize("name", SOURCES)
def test_an_edited_table_counts(name: str, tables: Path) -> None:
    path = tables / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert frozen_basic() is None


def test_a_row_edited_to_the_same_length(tables: Path) -> None:
    patient = 0x00100010
    assert load_profile().rules.look_up(patient)[1] == core.BLANK
    before = load_profile().digest
    replace(tables / SOURCES[1], b"\tPatientName\tPN\tN\tZ\t", b"\tPatientName\tPN\tN\tD\t")
    assert frozen_basic() is None
    assert load_profile().rules.look_up(patient)[1] == core.DUMMY
    assert load_profile().digest != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n00100010 -- ", b"\n00100011 -- "),
        (b"\nvr PN 2\n", b"\nvr PN 0\n"),
        (b"\ndigest ", b"\ndigesT "),
    ],
)
def test_an_edited_file_is_not_used(old: bytes, new: bytes, tables: Path) -> None:
    replace(tables / BASIC, old, new)
    assert frozen_basic() is None
    assert load_profile().digest == draft_of("basic").freeze().digest


@pytest.mark.parametrize("cut", [0, 1, 46, 47, 100, -21, -1])
def test_a_file_that_was_cut_is_not_used(cut: int, tables: Path) -> None:
    data = (tables / BASIC).read_bytes()
    (tables / BASIC).write_bytes(data[:cut])
    assert frozen_basic() is None


def test_what_a_stamp_tells() -> None:
    """What stands below it, each table, and where one ends and the next begins."""
    wanted = stamp(b"rest", [b"one", b"other"])
    assert stamp(b"rest", [b"one", b"other"]) == wanted
    for rest, tables in (
        (b"rest!", [b"one", b"other"]), (b"rest", [b"onE", b"other"]),
        (b"rest", [b"on", b"eother"]),
        (b"rest", [b"other", b"one"]), (b"rest", [b"one"]), (b"rest" + b"o", [b"ne", b"other"]),
    ):  # fmt: skip
        assert stamp(rest, tables) != wanted


def rules_of(rows: bytes) -> core.Rules:
    rules = core.Rules()
    rules.load(b"00100010 PN\n00100020 LO\n", b"")
    rules.set_rows(rows)
    return rules


def test_rows_in_one_call() -> None:
    rules = rules_of(b"00100010 -- 01 FF 00\n001000xx LO 02 01 05\n00100020 -- FF 03 FF\n")
    one_by_one = rules_of(b"")
    one_by_one.set("00100010", None, 1, None, 0)
    one_by_one.set("001000xx", "LO", 2, 1, 5)
    one_by_one.set("00100020", None, None, 3, None)
    for tag in (0x00100010, 0x00100020, 0x00100030, 0x00110010):
        assert rules.look_up(tag) == one_by_one.look_up(tag)
    assert rules.look_up(0x00100010) != rules_of(b"").look_up(0x00100010)


@pytest.mark.parametrize("row", [
    b"00100010 -- 01 FF 00", b"00100010 -- 01 FF 00 ", b"0010001g -- 01 FF 00\n",
    b"00100010 ZZ 01 FF 00\n", b"00100010 -P 01 FF 00\n", b"00100010_-- 01 FF 00\n",
    b"00100010 --_01 FF 00\n", b"00100010 -- 0a FF 00\n", b"00100010 -- 01 F- 00\n",
    b"00100010 -- 01 FF_00\n", b"00100010 -- 01 FF g0\n", b"00100010 -- 01 FF 00\n\n", b"\n", b"x",
])  # fmt: skip
def test_malformed_rows(row: bytes) -> None:
    with pytest.raises(ValueError, match="malformed rule"):
        rules_of(b"00100020 -- 01 FF 00\n" + row)


def test_no_rows_for_a_frozen_table() -> None:
    rules = rules_of(b"")
    rules.freeze()
    with pytest.raises(ValueError, match="frozen"):
        rules.set_rows(b"")
