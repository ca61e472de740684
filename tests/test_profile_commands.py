"""`dcmveil profile list | show | check`, and the options of the pipe that choose a profile."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

import dcmveil
from build import sample
from dcmveil import cli
from dcmveil.profile import EDITIONS, NAMES, OPTIONS, draft_of
from dcmveil.profile.language import draft_of_file

SITE = """\
title = "Trial 12"
extends = "basic"
options = ["retain-longitudinal-modified-dates"]
private = "safe"

[rules]
PatientID = "pseudonym"
PatientSex = "keep"
BodyPartExamined = { set = "BREAST" }
SeriesDescription = "clean"
ContentSequence = "keep"
"ContentSequence/ConceptNameCodeSequence/CodeMeaning" = "keep"
"VR CS" = "keep"
'0019 "GEMS_ACQU_01" 25' = "keep"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    status = cli.main(["profile", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# -- list and show ---------------------------------------------------------------------------


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "list")
    assert (status, err) == (0, "")
    for word in (*NAMES, *OPTIONS, *OPTIONS.values(), *EDITIONS):
        assert word in out


@pytest.mark.parametrize("name", NAMES)
def test_show_has_every_row(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    draft = draft_of(name)
    _, table, _ = run(capsys, "show", name)
    _, markdown, _ = run(capsys, "show", name, "--format", "markdown")
    _, text, _ = run(capsys, "show", name, "--format", "json")
    parsed = json.loads(text)
    assert len(parsed["rules"]) == len(draft.rows)
    rules = {rule["tag"]: rule for rule in parsed["rules"]}
    for pattern, row in draft.rows.items():
        tag = f"({pattern[:4]},{pattern[4:]})"
        assert f"\n{tag}  " in table
        assert f"\n| {tag} |" in markdown
        word, _, argument = row.action.partition(":")
        assert rules[tag]["action"] == ("set" if word.startswith("set") else word)
        assert rules[tag].get("argument", "") == argument
        assert rules[tag]["source"] == row.source
    assert {rule["vr"] for rule in parsed["vr-rules"]} == draft.by_vr.keys()
    assert parsed["digest"] == dcmveil.load_profile(name).digest.hex()


def test_show_json_is_stable(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Documented in docs/profiles.md; whoever reads it relies on these names."""
    _, text, _ = run(capsys, "show", "site.toml", "--format", "json")
    parsed = json.loads(text)
    assert list(parsed) == [
        "format",
        "name",
        "title",
        "base",
        "edition",
        "options",
        "codes",
        "digest",
        "unlisted",
        "unknown",
        "private",
        "shift-days",
        "rules",
        "path-rules",
        "vr-rules",
        "private-rules",
        "inside-blanked-sequences",
    ]
    assert parsed["format"] == 1
    assert (parsed["name"], parsed["title"], parsed["base"]) == ("site", "Trial 12", "basic")
    assert parsed["edition"] == "2026d"
    assert parsed["options"] == ["retain-safe-private", "retain-longitudinal-modified-dates"]
    assert parsed["codes"] == ["113100", "113111", "113107"]
    assert (parsed["unlisted"], parsed["unknown"], parsed["private"]) == ("keep", "blank", "safe")
    assert parsed["shift-days"] == [-3650, -1]
    rules = {rule["keyword"]: rule for rule in parsed["rules"]}
    assert rules["BodyPartExamined"] == {
        "tag": "(0018,0015)",
        "keyword": "BodyPartExamined",
        "vr": "CS",
        "action": "set",
        "argument": "BREAST",
        "too-long": "blank",
        "source": "site.toml, line 9",
    }
    assert rules["PatientID"]["argument"] == "patient"
    assert parsed["path-rules"] == [
        {
            "path": ["(0040,A730)", "(0040,A043)", "(0008,0104)"],
            "keyword": "ContentSequence/ConceptNameCodeSequence/CodeMeaning",
            "action": "keep",
            "source": "site.toml, line 12",
        }
    ]
    assert {"vr": "CS", "action": "keep", "source": "site.toml, line 13"} in parsed["vr-rules"]
    own = {
        "group": "0019",
        "creator": "GEMS_ACQU_01",
        "element": "25",
        "vr": "SS",
        "action": "keep",
        "source": "site.toml, line 14",
    }
    assert own in parsed["private-rules"]
    assert len(parsed["private-rules"]) == 480
    assert parsed["inside-blanked-sequences"][0]["tag"] == "(0008,0005)"


def test_show_with_options_and_edition(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--option", "retain-uids,clean-graphics", "--option", "retain-device-identity")
    _, text, _ = run(capsys, "show", "basic", *arguments, "--edition", "2023b", "--format", "json")
    parsed = json.loads(text)
    assert parsed["options"] == ["retain-uids", "retain-device-identity", "clean-graphics"]
    assert parsed["edition"] == "2023b"
    _, table, _ = run(capsys, "show", "basic", *arguments)
    assert table.splitlines()[1] == ("options: retain-uids, retain-device-identity, clean-graphics")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "nobody"),
        ("show", "basic", "--option", "retain-everything"),
        ("show", "basic", "--edition", "1999"),
        ("show", "omidb", "--option", "retain-uids"),
        ("show", "nobody.toml"),
        ("check", "nobody.toml"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1


def test_a_table_of_a_profile_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, table, _ = run(capsys, "show", "site.toml")
    head, options, words, dates, *_ = table.splitlines()
    assert head == "site: Trial 12"
    assert options == "options: retain-safe-private, retain-longitudinal-modified-dates"
    assert words.endswith("private: safe")
    assert dates == "dates move by -3650 to -1 days"
    for line in table.splitlines():
        assert line == line.rstrip()
    assert "ContentSequence/ConceptNameCodeSequence/CodeMeaning  keep" in table
    _, markdown, _ = run(capsys, "show", "site.toml", "--format", "markdown")
    for title in ("Attributes", "Attributes in one place", "Private attributes"):
        assert f"\n## {title}\n\n| " in markdown
    for block in markdown.split("\n\n"):
        if block.startswith("| "):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


# -- the conformance statement ---------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "site.toml"])
def test_conformance_names_every_attribute(
    name: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "show", name, "--conformance")
    assert status == 0
    draft = draft_of_file(name) if name.endswith(".toml") else draft_of(name)
    for pattern in draft.rows:
        assert f"\n| ({pattern[:4]},{pattern[4:]}) |" in out
    for number in range(1, 11):  # what PS3.15 E.1.3 asks for, and what the fixed layout is not
        assert f"\n## {number}. " in out
    assert "does **not** claim conformance" in " ".join(out.split())
    assert ("\n## 11. " in out) == name.endswith(".toml")


def test_conformance_of_a_profile_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "site.toml", "--conformance")
    changes = out[out.index("\n## 11. ") :]
    assert "**Kept here, and not by basic:** (0010,0040) PatientSex" in changes
    assert "| (0010,0020) PatientID | dummy | pseudonym (patient) | site.toml, line 7 |" in changes
    assert "PatientWeight" not in changes
    assert "\n| GEMS_ACQU_01 | 0019 | xx23 | keep | Table E.3.10-1: " in out
    assert "Dates are moved by a number of days from -3650 to -1" in out


@pytest.mark.parametrize("option", OPTIONS)
def test_conformance_tells_of_each_option(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "basic", "--conformance", "--option", option)
    assert f"* **{option}** ({OPTIONS[option]}): " in out
    assert f"113100, {OPTIONS[option]}." in out


def test_conformance_without_uids(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "basic", "--conformance", "--option", "retain-uids")
    assert "UIDs are kept, but for the attributes under *uid* in section 3." in out


# -- check -----------------------------------------------------------------------------------


def test_check(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "check", "site.toml")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "site.toml: ok, 8 rules"
    assert out.splitlines()[1] == (
        "site.toml:10: note: only dates and sequences are cleaned yet: "
        "SeriesDescription (0008,103E) gets blank"
    )
    site.write_text('extends = "basic"\n[rules]\nPatientSex = "keep"\n')
    assert run(capsys, "check", "site.toml") == (0, "site.toml: ok, 1 rule\n", "")


def test_check_tells_every_mistake_in_a_line(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write_text('extends = "basik"\n[rules]\nPatientNmae = "keep"\nPatientID = keep\n')
    status, out, err = run(capsys, "check", "site.toml")
    assert (status, out) == (2, "")
    assert [line.split(": ")[0] for line in err.splitlines()] == [
        "site.toml:1",
        "site.toml:3",
        "site.toml:4",
    ]


def test_check_takes_any_file_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "profile"
    path.write_text('extends = "omidb"\n')
    assert run(capsys, "check", str(path))[0] == 0


# -- the pipe --------------------------------------------------------------------------------


def pipe(data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(dcmveil.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "dcmveil", *arguments],
        input=data,
        capture_output=True,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("full", [False, True])  # the plain way, and through argparse
def test_pipe_with_options(site: Path, full: bool) -> None:
    (site.parent / "ids.csv").write_text("old,new\nHOSP-004711,T-1\nOLD-99812,T-2\n")
    key = site.parent / "key"
    dcmveil.write_key(key, bytes(range(32)))
    arguments = ["--key-file", str(key), "--profile", "site.toml", "--pseudonyms", "ids.csv"]
    arguments += ["--option", "retain-uids,clean-graphics", "--option", "retain-device-identity"]
    arguments += ["--edition", "2023b", *(["--uid-root", "2.25"] if full else [])]
    data = sample()
    done = pipe(data, *arguments)
    assert done.returncode == 0, done.stderr
    old, new = (pydicom.dcmread(io.BytesIO(d)) for d in (data, done.stdout))
    assert new.PatientID == "T-1"
    assert new.PatientSex == "F"
    assert new.StudyInstanceUID == old.StudyInstanceUID
    assert new.DeviceSerialNumber == old.DeviceSerialNumber
    assert new.StudyDate != old.StudyDate
    veil = dcmveil.Veil(
        "site.toml",
        options=("retain-uids", "clean-graphics", "retain-device-identity"),
        edition="2023b",
        pseudonyms=dcmveil.load_pseudonyms("ids.csv"),
        key=bytes(range(32)),
    )
    assert veil.bytes(data) == done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--option", "retain-all"), "dcmveil: no option 'retain-all'; there are: "),
        (("--edition", "1999"), "dcmveil: no such edition; there are: 2011, "),
        (("--pseudonyms", "none.csv"), "dcmveil: cannot read the table of pseudonyms: "),
        (("--profile", "none.toml"), "dcmveil: none.toml: cannot read the profile: "),
        (("--profile", "wrong.toml"), "dcmveil: wrong.toml:1: no profile 'x'; there are: "),
    ],
)
def test_pipe_with_wrong_options(arguments: tuple[str, ...], message: str, site: Path) -> None:
    (site.parent / "wrong.toml").write_text('extends = "x"\nunlisted = "y"\n')
    done = pipe(sample(), "--ephemeral-key", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith(message)
    assert all(line.startswith("dcmveil: ") for line in lines)


def test_the_pipe_does_not_import_the_language() -> None:
    code = (
        "import sys; from dcmveil import cli, veil; veil.Veil('basic', key=bytes(range(32)));"
        "heavy = {'re', 'json', 'tomllib', 'difflib', 'dataclasses', 'argparse'};"
        "print(sorted(heavy & set(sys.modules)),"
        " sorted(m for m in sys.modules if m.startswith('dcmveil.profile')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(dcmveil.__file__).parents[1])}
    command = [sys.executable, "-S", "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    profile = [f"dcmveil.profile{part}" for part in ("", ".frozen", ".tables_io")]
    assert out.stdout == f"[] {profile}\n"
