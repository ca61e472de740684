"""Veil.plan and inspect: the edits are exactly what a run does, and every element is listed."""

from __future__ import annotations

import io
import json
import os
import pty
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

import corpus
import dcmveil
from build import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, E, Fragments, Item, part10
from build import sample as small_image
from dcmveil import core
from dcmveil.faces.stream import stream
from dcmveil.inspect import PART, Edit, edits
from dcmveil.profile import Draft, Row, load
from dcmveil.reasons import Reasons
from faces import SECONDS
from oracle_parse import parse

KEY = bytes(range(32))
FILES = corpus.files()
SETTINGS: list[tuple[str, tuple[str, ...]]] = [
    ("basic", ()),
    ("basic", ("retain-safe-private", "retain-longitudinal-modified-dates", "clean-graphics")),
    ("basic", ("retain-uids", "retain-device-identity", "clean-structured-content")),
    ("sup142", ()),
    ("omidb", ()),
]
WALKED = 0x52009229  # Shared Functional Groups Sequence: no table names it


def veil(profile: str = "basic", options: Iterable[str] = ()) -> dcmveil.Veil:
    return dcmveil.Veil(profile, options=tuple(options), key=KEY)


def applied(plain: bytes, plan: Iterable[Edit]) -> bytes:
    """The bytes with every edit made."""
    new = bytearray(plain)
    for edit in plan:
        assert edit.changes
        assert new[edit.offset : edit.offset + len(edit.old)] == edit.old, edit
        assert len(edit.old) == len(edit.new)
        new[edit.offset : edit.offset + len(edit.new)] = edit.new
    return bytes(new)


def listed(of: dcmveil.Veil, data: bytes | Path) -> list[Edit]:
    return list(edits(of, data, everything=True))


@pytest.mark.parametrize(("profile", "options"), SETTINGS)
def test_the_plan_is_what_a_run_does_on_every_corpus_file(
    profile: str, options: tuple[str, ...]
) -> None:
    of = veil(profile, options)
    for name, path in FILES:
        data = path.read_bytes()
        try:
            new = of.bytes(data)
        except dcmveil.DicomError as error:
            refusal = str(error)
            with pytest.raises(dcmveil.DicomError) as planned:
                list(of.plan(path))
            assert refusal == str(planned.value), name
            continue
        plain, wanted = parse(data).data, parse(new).data  # inflated
        assert applied(plain, of.plan(path)) == wanted, name
        if data[128:132] == b"DICM":
            assert list(of.plan(new)) == [], name


def test_every_element_that_pydicom_sees_is_listed() -> None:
    of = veil()
    for name, path in FILES:
        data = path.read_bytes()
        try:
            mine = listed(of, path)
        except dcmveil.DicomError:
            continue
        seen = Counter(
            (edit.path.replace("/", ""), edit.tag)
            for edit in mine
            if edit.part == 0 and edit.tag is not None
        )
        assert seen == Counter((node.path, node.tag) for node in parse(data).nodes), name
        places = [edit.offset for edit in mine]
        assert places == sorted(places), name


# -- reasons ---------------------------------------------------------------------------------


def own_draft() -> Draft:
    """A profile with everything that a profile can have."""
    draft = load("basic", ("retain-safe-private",)).draft
    draft.rows["0018xxxx"] = Row("0018xxxx", "blank", "all of group 0018")
    draft.rows["00180015"] = Row("00180015", "keep", "but for one")
    draft.rows["00100010"] = Row("00100010", "pseudonym:patient", "own")
    draft.rows["00101010"] = Row("00101010", "hash", "own")
    draft.rows["00280010"] = Row("00280010", "hash", "no VR for it")
    draft.rows["00080020"] = Row("00080020", "year", "own")
    draft.paths[0x00400275, 0x00400007] = Row("", "keep", "in a request")
    draft.paths[0x00081115, 0x00081199, 0x00081155] = Row("", "keep", "deep")
    draft.paths[WALKED, 0x00180015] = Row("", "dummy", "in a group")
    draft.private["GEMS_IDEN_01", 0x0009, 0x01] = Row("", "dummy", "own")
    return draft


def strict_draft() -> Draft:
    """Only what is named stays."""
    draft = load("basic").draft
    draft.unlisted = draft.unknown = "blank"
    return draft


def open_draft() -> Draft:
    """What no row names stays, private attributes too."""
    draft = load("basic").draft
    draft.unknown = draft.private_default = "keep"
    return draft


@pytest.mark.parametrize(
    "draft",
    [
        *(load(*setting).draft for setting in SETTINGS),
        own_draft(),
        strict_draft(),
        open_draft(),
    ],
    ids=lambda draft: f"{draft.name} {len(draft.rows)} {draft.unlisted} {draft.private_default}",
)
def test_the_reason_leads_to_the_action_that_was_taken(draft: Draft) -> None:
    profile = draft.freeze()
    of = dcmveil.Veil(profile, key=KEY)
    for name, data in [
        *((name, path.read_bytes()) for name, path in FILES),
        *((encoding, small_image(encoding)) for encoding in ("explicit-le", "implicit-le")),
        ("all places", hiding_places()),
    ]:
        trace: list[core.Trace] = []
        try:
            stream(of.session(trace), io.BytesIO(data), io.BytesIO())
        except dcmveil.DicomError:
            assert name in {name for name, _ in FILES}
        reasons = Reasons(profile)
        for entry in trace:
            taken, done = entry[3], entry[6]
            if not done or taken == core.WIPE:
                action, why = reasons.of(entry)
                assert why
                assert action == taken, (name, f"{entry[1]:08X}", core.ACTION_NAMES[taken], why)


def hiding_places() -> bytes:
    """Places that no real file has together."""
    block: list[E | bytes] = [
        E(0x00090010, "LO", "GEMS_IDEN_01"),
        E(0x00091001, "LO", "CANARY"),
        E(0x00091002, "SH", "CANARY"),
        E(0x00091003, "SQ", [Item([E(0x00100010, "PN", "CANARY"), E(0x00180015, "CS", "X")])]),
    ]
    item = Item([*block, E(0x00180015, "CS", "CHEST"), E(0x00400275, "LO", "CANARY")])
    return part10(
        [
            E(0x00041130, "CS", "CANARY"),
            E(0x00080000, "UL", [4]),
            E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.9.4.1"),
            E(0x00080020, "LO", "20200101"),
            E(0x00080021, "PN", "CANARY"),
            E(0x00081032, "OB", b"CANARY"),
            E(0x00081FEE, "LO", "CANARY"),
            *block,
            E(0x00100010, "PN", "CANARY"),
            E(0x00100020, "UN", b"CANARY"),
            E(0x00101010, "AS", "040Y"),
            E(0x00180015, "CS", b"CHEST\0CANARY"),
            E(0x0020000D, "LO", "CANARY"),
            E(0x00280010, "US", [5]),
            E(0x00420011, "UT", "CANARY"),
            E(WALKED, "SQ", [item, Item([], undefined=True), item], undefined=True),
            E(0x54000100, "SQ", [Item([E(0x54001010, "OW", b"12345678")])]),
            E(0x7FE00010, "OW", bytes(8)),
        ]
    )


def test_words_of_the_reasons() -> None:
    why = {edit.path: edit.rule for edit in listed(veil(), hiding_places())}
    assert why["(0010,0010)"] == "Table E.1-1 2026d: Patient's Name, Z"
    assert why["(0004,1130)"] == "group 0004 belongs to a DICOMDIR"
    assert why["(0008,0000)"] == "a group length: it says nothing of a person"
    assert why["(0008,1032)"] == "a sequence encoded in another VR"
    assert why["(0008,1FEE)"] == "the dictionary does not have this tag"
    assert why["(0009,0010)"].startswith("a private creator: readers need it")
    assert why["(0009,1001)"] == "private: no row names it"
    assert why["(0020,000D)"].endswith("no UID may stand in this VR")
    assert why["(5200,9229)"] == "its items are decided one by one (no row names it)"
    assert why["(5400,0100)[0]/(5400,1010)"].startswith("a voice")
    inside = why["(0009,1003)[0]/(0010,0010)"]
    assert inside == "inside (0009,1003), which is blanked: private: no row names it"


def test_the_reason_of_a_private_element_that_the_file_declares_safe() -> None:
    declared = Item(
        [
            E(0x00080301, "US", [0x0009]),
            E(0x00080302, "LO", "SOMEBODY"),
            E(0x00080303, "CS", "SAFE"),
        ]
    )
    data = part10(
        [
            E(0x00080300, "SQ", [declared]),
            E(0x00090010, "LO", "SOMEBODY"),
            E(0x00091001, "LO", "stays"),
            E(0x00100020, "LO", "1"),
        ]
    )
    why = {edit.path: edit.rule for edit in listed(veil(options=["retain-safe-private"]), data)}
    assert why["(0009,1001)"] == "declared safe by the file itself in (0008,0300)"


# -- sources, long values, refusals ----------------------------------------------------------


class Dribble(io.RawIOBase):
    """A source that cannot seek and gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._at, self._size = data, 0, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data[self._at : self._at + min(len(buffer), self._size)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def long_values() -> bytes:
    many = "\\".join(f"1.2.826.0.1.3680043.9.{n}" for n in range(6000))
    return part10(
        [
            E(0x00090010, "LO", "GEMS_IDEN_01"),
            E(0x00091001, "OB", b"CANARYQX" * 400_000),
            E(0x00091002, "OB", Fragments([b"", b"", b"CANARY", b"CANARY" * 50_000, b""])),
            E(0x00091003, "OB", b"\1\2"),
            E(0x00100020, "LO", "1"),
            E(0x00104000, "UT", b"CANARY " * 90_000),
            E(0x00180015, "UT", b"k" * 300_000 + b"\0" + b"CANARY " * 50_000),
            E(0x0020000D, "UN", many.encode()),
            E(0x00420011, "OB", b"%PDF-1.4 " + b"CANARY " * 300_000),
            E(0x7FE00010, "OB", Fragments([b"", b"\xff" * 300_000, b"\xff" * 9000])),
            E(0xFFFCFFFC, "OB", b"CANARY"),
        ]
    )


@pytest.mark.parametrize("size", [4096, 100_000, 1 << 22])
def test_long_values_in_any_pieces(size: int) -> None:
    data = long_values()
    of = veil()
    plan = list(of.plan(io.BufferedReader(Dribble(data, size), 1)))
    assert applied(data, plan) == of.bytes(data)
    bulk = [edit.length for edit in plan if edit.tag == 0x00091001]
    assert bulk == [3_200_000, PART, PART, 3_200_000 - 3 * PART]
    text = [edit for edit in plan if edit.tag == 0x00104000]
    assert [(edit.part, edit.length) for edit in text] == [(0, 630_000)]


def test_a_source_that_gives_single_bytes() -> None:
    data = small_image()
    wanted = [(repr(edit), edit.new) for edit in veil().plan(data)]
    dribble = io.BufferedReader(Dribble(data, 1), 1)
    assert [(repr(edit), edit.new) for edit in veil().plan(dribble)] == wanted


def test_parts_and_fragments() -> None:
    mine = listed(veil(), long_values())
    by_tag = {tag: [e for e in mine if e.tag == tag] for tag in {e.tag for e in mine}}
    text = by_tag[0x00180015]
    assert [(e.part, e.action, e.changes) for e in text] == [(0, "keep", False), (1, "wipe", True)]
    bulk = by_tag[0x00091001]
    assert [e.part for e in bulk] == list(range(len(bulk)))
    assert bulk[0].length == 3_200_000
    assert sum(len(e.new) for e in bulk) == 3_200_000
    fragments = by_tag[0x00091002]
    assert (fragments[0].length, fragments[0].action, fragments[0].new) == (None, "blank", b"")
    assert [e.length for e in fragments[1:]] == [6, 300_000]
    assert [e.part for e in by_tag[0x00091003]] == [0]
    pixels = by_tag[0x7FE00010]
    assert [(e.length, e.action, e.changes, e.path) for e in pixels] == [
        (None, "keep", False, "(7FE0,0010)")
    ]
    assert len(by_tag[0xFFFCFFFC]) == 1


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED[0]])
def test_preamble_and_tail(syntax: str) -> None:
    tail = b"\2\2CANARY" * 9
    elements = [E(0x00080060, "CS", "MR"), E(0x7FE00010, "OW", b"12345678"), tail]
    data = part10(elements, syntax, preamble=b"CANARYQX" * 16)
    plan = list(veil().plan(data))
    first, last = plan[0], plan[-1]
    assert (first.path, first.offset, first.length, first.tag) == ("preamble", 0, 128, None)
    assert first.new[:7] == b"DCMVEIL"
    assert (last.path, last.length, last.old) == ("tail", 72, tail)
    assert last.new == bytes(72)
    assert not [e for e in plan if e.path == "(7FE0,0010)"]


def test_sources(tmp_path: Path) -> None:
    data = small_image()
    path = tmp_path / "small.dcm"
    path.write_bytes(data)
    wanted = [repr(edit) for edit in veil().plan(data)]
    assert len(wanted) > 30
    with path.open("rb") as file:
        for source in (path, str(path), bytearray(data), memoryview(data), file):
            assert [repr(edit) for edit in veil().plan(source)] == wanted


def test_bulk_that_stays_is_not_read(tmp_path: Path) -> None:
    class Counted(io.FileIO):
        total = 0

        def readinto(self, buffer: object) -> int | None:
            n = super().readinto(buffer)  # type: ignore[arg-type]
            Counted.total += n or 0
            return n

        def read(self, size: int | None = -1, /) -> bytes | None:
            data = super().read(size)
            Counted.total += len(data or b"")
            return data

    path = tmp_path / "large.dcm"
    length = 1 << 30
    head = part10([E(0x00100020, "LO", "1"), E(0x7FE00010, "OB", b"", length=length)])
    tail = part10([E(0xFFFCFFFC, "OB", b"CANARY")], meta=[], preamble=None)
    with path.open("wb") as file:
        file.write(head)
        file.seek(length, 1)
        file.write(tail)
    with Counted(path) as source:
        plan = list(veil().plan(source))
    assert plan[-1].tag == 0xFFFCFFFC
    assert plan[-1].offset == len(head) + length + 12
    assert Counted.total < 1 << 20
    os.truncate(path, len(head) + length // 2)
    with pytest.raises(dcmveil.DicomError, match="ends too early"):
        list(veil().plan(path))


def test_deflated_bulk_is_inflated_and_not_taken_for_the_bytes_of_the_file() -> None:
    pixels = random.Random(1).randbytes(1 << 21)
    elements = [
        E(0x00100010, "PN", "CANARY"),
        E(0x00100020, "LO", "1"),
        E(0x7FE00010, "OW", pixels),
    ]
    data = part10([*elements, E(0xFFFCFFFC, "OB", b"CANARY")], DEFLATED[0])
    of = veil()
    plain, wanted = parse(data).data, parse(of.bytes(data)).data
    plan = list(of.plan(data))
    assert applied(plain, plan) == wanted
    assert plan[-1].offset == len(plain) - len("CANARY")


def test_a_refusal_comes_after_what_stands_before_it() -> None:
    long = b"CANARY" * 60_000
    data = part10([E(0x00100020, "LO", "1"), E(0x00104000, "UT", long), b"\x10\0\x10\0ZZ\1\1\1\1"])
    seen: list[str] = []
    with pytest.raises(dcmveil.DicomError):
        seen.extend(edit.path for edit in veil().plan(data))
    assert "(0010,4000)" in seen


def test_no_value_in_a_repr() -> None:
    shown = "".join(repr(edit) for edit in listed(veil(), long_values()))
    assert "CANARY" not in shown
    assert "(0010,4000) UT: blank, 630000 bytes at" in shown
    assert "undefined length" in shown


# -- the command -----------------------------------------------------------------------------


def run(
    *arguments: str | Path, data: bytes = b"", **extra: str
) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if "DCMVEIL" not in name}
    return subprocess.run(
        [sys.executable, "-m", "dcmveil", "inspect", *map(str, arguments)],
        input=data,
        capture_output=True,
        env=environment | extra,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.dcm"
    path.write_bytes(small_image())
    return path


def test_json_lines(image: Path, key: Path) -> None:
    done = run(image, "--json", "--key-file", key)
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = listed(veil(), image)
    assert [line["path"] for line in lines] == [edit.path for edit in wanted]
    assert [line["offset"] for line in lines] == [edit.offset for edit in wanted]
    assert [line["action"] for line in lines] == [edit.action for edit in wanted]
    name = next(line for line in lines if line["path"] == "(0010,0010)")
    assert name == {
        "path": "(0010,0010)",
        "keyword": "PatientName",
        "vr": "PN",
        "offset": name["offset"],
        "length": 18,
        "part": 0,
        "action": "blank",
        "changes": True,
        "rule": "Table E.1-1 2026d: Patient's Name, Z",
        "new": "",
    }
    study = next(line for line in lines if line["path"] == "(0020,000D)")
    assert study["new"] == next(e for e in wanted if e.tag == 0x0020000D).new.decode()
    assert not [line for line in lines if "old" in line]
    shown = run(image, "--json", "--show-values", "--changes", "--key-file", key)
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert all(line["changes"] for line in lines)
    name = next(line for line in lines if line["path"] == "(0010,0010)")
    assert name["old"] == "DOE^JOHANNA^MARIA"


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize("which", ["--all", "--changes"])
def test_values_are_masked(image: Path, form: tuple[str, ...], which: str) -> None:
    done = run(image, which, *form)
    assert done.returncode == 0
    for secret in (b"DOE", b"JOHANNA", b"HOSP", b"19610704", b"3680043.9.7", b"Acme", b"KNEE"):
        assert secret not in done.stdout + done.stderr
    shown = run(image, which, *form, "--show-values")
    assert b"DOE^JOHANNA^MARIA" in shown.stdout
    assert b"DOE" not in shown.stderr


def test_table(image: Path, key: Path) -> None:
    done = run(image, "--key-file", key)
    lines = done.stdout.decode().splitlines()
    line = next(line for line in lines if "PatientName" in line)
    assert line.split() == [
        "(0010,0010)", "PatientName", "PN", "18", "blank", "«18", "bytes»", "->", '""',
        "Table", "E.1-1", "2026d:", "Patient's", "Name,", "Z",
    ]  # fmt: skip
    assert any(line.startswith("  [0] (0008,1150) ReferencedSOPClassUID") for line in lines)
    assert "\033" not in done.stdout.decode()
    changes = run(image, "--changes", "--key-file", key).stdout.decode().splitlines()
    assert 1 < len(changes) < len(lines)
    assert all("->" in line for line in changes[1:])


def test_without_a_key_a_random_one_is_used_and_that_is_said(image: Path) -> None:
    one, two = run(image), run(image)
    assert one.returncode == 0
    assert b"no key is given" in one.stderr
    assert one.stdout != two.stdout
    assert b"key" not in run(image, "--ephemeral-key").stderr


def test_standard_input_profiles_and_options(image: Path) -> None:
    done = run("-", "--profile", "sup142", "--option", "retain-uids", data=image.read_bytes())
    assert done.returncode == 0
    assert b"Supplement 142: Study Instance UID, U, K by option" in done.stdout


def test_exit_statuses(tmp_path: Path, image: Path) -> None:
    missing = run(tmp_path / "CANARY.dcm")
    assert missing.returncode == 1
    assert b"No such file" in missing.stderr
    assert b"CANARY" not in missing.stderr
    assert run().returncode == 2
    assert run(image, "--profile", "none").returncode == 2
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(image.read_bytes()[:1000])
    refused = run(broken)
    assert refused.returncode == 1
    assert b"the input ends too early" in refused.stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_closed_pipe_is_no_error(tmp_path: Path, image: Path, form: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "dcmveil", "inspect", image, "--quiet", *form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("arguments", "extra", "colored"),
    [
        ((), {"TERM": "xterm", "NO_COLOR": ""}, True),
        ((), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (("--no-color",), {"TERM": "xterm", "NO_COLOR": ""}, False),
        ((), {"TERM": "dumb", "NO_COLOR": ""}, False),
    ],
)
def test_color_on_a_terminal(
    image: Path, arguments: tuple[str, ...], extra: dict[str, str], colored: bool
) -> None:
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "dcmveil", "inspect", image, "--changes", "--quiet"]
    with subprocess.Popen(
        [*command, *arguments], stdout=other, stderr=other, env=os.environ | extra
    ) as process:
        os.close(other)
        shown = b""
        try:
            while part := os.read(terminal, 4096):
                shown += part
        except OSError:  # what a terminal says when the other end is closed
            pass
        assert process.wait(SECONDS) == 0
    os.close(terminal)
    assert b"PatientName" in shown
    assert (b"\033[" in shown) is colored


def test_what_a_terminal_might_obey_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "evil.dcm"
    evil = b"\x1b[2J\x07\x9b1m" + "\u202e".encode()
    path.write_bytes(part10([E(0x00100020, "LO", "1"), E(0x00180015, "LO", evil)]))
    shown = run(path, "--show-values")
    assert shown.returncode == 0
    assert not {0x1B, 0x07, 0x9B} & set(shown.stdout)
    assert b"\\x1b[2J" in shown.stdout
    assert "\u202e" not in shown.stdout.decode()
