"""Profile files with mistakes, each with the whole message that its author gets: the line, and what
was meant."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wrong_profiles
import wrong_rules
from dcmveil import UsageError, load_profile
from dcmveil.profile.language import draft_of_file

CASES = wrong_profiles.CASES + wrong_rules.CASES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_wrong_profile(text: str | bytes, message: str, folder: Path) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "profile.toml").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        draft_of_file("profile.toml")
    lines = str(caught.value).split("\n")
    assert lines == [line and f"profile.toml:{line}" for line in message.split("\n")]


def test_there_are_a_hundred_of_them() -> None:
    assert len({name for name, *_ in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize(
    ("text", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_line_ends_of_windows_change_no_line(text: str | bytes, message: str, folder: Path) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "profile.toml").write_bytes(data.replace(b"\n", b"\r\n"))
    with pytest.raises(UsageError) as caught:
        draft_of_file("profile.toml")
    assert len(str(caught.value).split("\n")) == len(message.split("\n"))


def test_a_mistake_names_the_file_as_the_user_did(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "site.toml").write_text('extends = "basik"\n')
    with pytest.raises(UsageError, match=r"^deep/\.\./deep/site\.toml:1: no profile 'basik'"):
        load_profile("deep/../deep/site.toml")


def test_mistakes_of_the_file_that_is_extended_come_first(folder: Path) -> None:
    (folder / "parent.toml").write_text('extends = "basic"\n[rules]\nPatientNmae = "keep"\n')
    (folder / "child.toml").write_text(
        'extends = "parent.toml"\n[rules]\n"ContentSequence/TextValue" = "keep"\nX = "keep"\n'
    )
    with pytest.raises(UsageError) as caught:
        load_profile("child.toml")
    first, second = str(caught.value).split("\n")
    assert first.startswith("parent.toml:3: unknown keyword 'PatientNmae'")
    assert second.startswith("child.toml:4: unknown keyword 'X'")


def test_files_that_extend_one_another(folder: Path) -> None:
    (folder / "a.toml").write_text('extends = "b.toml"\n')
    (folder / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(UsageError, match=r"^b\.toml:1: a\.toml extends itself, this way or"):
        load_profile("a.toml")
    for n in range(9):
        (folder / f"{n}.toml").write_text(f'extends = "{n + 1}.toml"\n')
    with pytest.raises(UsageError, match="more than 8 files extend one another"):
        load_profile("0.toml")


@pytest.mark.parametrize(
    ("text", "options", "edition", "message"),
    [
        (
            'options = ["retain-longitudinal-full-dates"]',
            ("retain-longitudinal-modified-dates",),
            None,
            "profile.toml:2: full dates and modified dates exclude each other (PS3.15 E.3.6)",
        ),
        ('private = "keep"', ("retain-safe-private",), None, "profile.toml:2: private = "),
        ("", ("retain-everything",), None, "profile.toml:1: no option 'retain-everything'"),
        ("", (), "2012", "profile.toml:1: no such edition; there are: 2011, "),
    ],
)
def test_what_the_command_line_adds(
    text: str, options: tuple[str, ...], edition: str | None, message: str, folder: Path
) -> None:
    (folder / "profile.toml").write_text(f'extends = "basic"\n{text}\n')
    with pytest.raises(UsageError) as caught:
        draft_of_file("profile.toml", options, edition)
    assert str(caught.value).startswith(message)


def test_a_huge_file_is_no_profile(folder: Path) -> None:
    (folder / "profile.toml").write_bytes(b"#" * (1 << 20) + b"\n#")
    with pytest.raises(UsageError, match="more than 1 MiB is no profile"):
        load_profile("profile.toml")


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting(depth: int, folder: Path) -> None:
    (folder / "profile.toml").write_text("options = " + "[" * depth + "\n")
    with pytest.raises(UsageError, match=r"^profile\.toml:1: "):
        load_profile("profile.toml")


PIECES = [
    'extends = "basic"',
    'extends = "nothing"',
    'unlisted = "blank"',
    'private = "safe"',
    'unknown = "keep"',
    "[rules]",
    'PatientID = "keep"',
    '"60xx3000" = "blank"',
    '"6000xxxx" = "keep"',
    '"VR SQ" = "blank"',
    '"VR DA" = "clean"',
    '\'0019 "GEMS_ACQU_01" 23\' = "hash"',
    'ContentSequence = "keep"',
    '"ContentSequence/TextValue" = { set = "X" }',
    '"ContentSequence/ContentSequence/TextValue" = "keep"',
    "options = [",
    '"retain-uids", ]',
    'title = """',
    "shift-days = [-1, 1]",
    "a.b.c = 1",
    "= [[{",
    "\0",
    '"\\u0000/" = "keep"',
    '"(/)" = {}',
    "'\"' = 1979-05-27",
]


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=30)), max_size=12),
    cut=st.integers(0, 400),
)
def test_any_text_is_a_profile_or_has_mistakes(lines: list[str], cut: int) -> None:
    """Nothing but UsageError comes out, each line of it with its place; what passes can be used."""
    data = "\n".join(lines).encode("utf-8", "replace")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "p.toml")
        for part in (data, data[:cut]):
            path.write_bytes(part)
            try:
                draft_of_file(str(path)).freeze()
            except UsageError as error:
                for line in str(error).split("\n"):
                    assert line.startswith(f"{path}:")
