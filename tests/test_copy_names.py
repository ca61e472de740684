"""Copies of a folder: which name each output has, and what may stand where."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from build import sample
from dcmveil import UsageError, Veil
from dcmveil.session import Session
from dcmveil.trees import Options, StopFlag
from dcmveil.trees.run import run as run_tree
from folders import KEY, instance, instances, leftovers, read, write

SAMPLE = sample()


def test_one_name_for_two_inputs(tmp_path: Path, veil: Veil) -> None:
    one, other = instance(1), instance(1, pixels=bytes(64))
    root = write(tmp_path / "in", {"a": one, "b": one, "c": other})
    for overwrite in (False, True):
        out = tmp_path / f"out {overwrite}"
        summary = veil.tree(root, out, overwrite=overwrite)
        # which of them has the name depends on the order of the folder
        assert summary.outcomes["failed"] in (1, 2)
        assert summary.files == 3
        assert len(read(out)) == 1
        if summary.outcomes["failed"] == 1:
            assert (summary.outcomes["rewritten"], summary.outcomes["same"]) == (1, 1)
    assert leftovers(tmp_path) == []


def test_overwrite_replaces_what_stood_there_before(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1)})
    out = write(tmp_path / "out", {"a": b"old", "b": b"other"})
    assert veil.tree(root, out, keep_names=True).outcomes["failed"] == 1
    assert read(out) == {"a": b"old", "b": b"other"}
    assert veil.tree(root, out, keep_names=True, overwrite=True).outcomes["rewritten"] == 1
    assert read(out) == {"a": veil.bytes(instance(1)), "b": b"other"}


def test_a_folder_in_the_place_of_an_output(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1), "b/c": instance(2)})
    out = write(tmp_path / "out", {"a/x": b"x", "b": b"y"})
    for overwrite in (False, True):
        summary = veil.tree(root, out, keep_names=True, overwrite=overwrite)
        assert summary.outcomes["failed"] == 2
        assert read(out) == {"a/x": b"x", "b": b"y"}
    assert leftovers(out) == []


def test_templates(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", instances(4))
    veil.tree(root, tmp_path / "out", names="{PatientID}/flat/{Mac}.dcm")
    names = sorted(read(tmp_path / "out"))
    assert len(names) == 4
    assert all(name.split("/")[1] == "flat" and "HOSP" not in name for name in names)
    assert sorted(read(tmp_path / "out").values()) == sorted(
        veil.bytes(data) for data in read(root).values()
    )
    for names_and in ({"names": "{Nobody}"}, {"names": "{Mac}", "keep_names": True}, {"names": ""}):
        with pytest.raises(UsageError):
            veil.tree(root, tmp_path / "none", **names_and)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("inner", ["source", "target"])
def test_nested(tmp_path: Path, veil: Veil, inner: str) -> None:
    outer = tmp_path / "outer"
    source, target = (outer / "inner", outer) if inner == "source" else (outer, outer / "inner")
    files = instances(5)
    write(source, files)
    target.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UsageError):
        veil.tree(source, target)
    summary = veil.tree(source, target, nested=True)
    assert summary.outcomes["rewritten"] == 5
    assert summary.files == 5  # no output was met as an input
    again = veil.tree(source, target, nested=True)
    assert again.outcomes["same"] == 5
    assert again.files == 5
    with pytest.raises(UsageError):
        veil.tree(source, source)


def test_no_input_is_replaced_by_an_output(tmp_path: Path, veil: Veil) -> None:
    source = write(tmp_path / "outer/in", {"in/a": instance(1), "a": instance(2)})
    with pytest.raises(UsageError):
        veil.tree(source, tmp_path / "outer", nested=True, overwrite=True, keep_names=True)
    assert read(source) == {"in/a": instance(1), "a": instance(2)}


def test_the_target_may_be_a_link(tmp_path: Path, veil: Veil) -> None:
    source = write(tmp_path / "in", {"a": instance(1)})
    (source / "inside").mkdir()
    (tmp_path / "link").symlink_to(source / "inside")
    with pytest.raises(UsageError):
        veil.tree(source, tmp_path / "link")


def test_others(tmp_path: Path, veil: Veil) -> None:
    files = {"a.dcm": instance(1), "b/notes.txt": b"notes\n" * 99, "empty": b""}
    root = write(tmp_path / "in", files)
    with pytest.raises(UsageError):
        veil.tree(root, tmp_path / "out", others=True)
    summary = veil.tree(
        root, tmp_path / "out", others=True, keep_names=True, report=root / "report",
        crosswalk=root / "crosswalk.csv",
    )  # fmt: skip
    # the report and the crosswalk stand in the source, and are of this run
    assert read(tmp_path / "out") == files | {"a.dcm": veil.bytes(files["a.dcm"])}
    assert summary.outcomes["copied"] == 2
    assert summary.files == 3


def test_stop_while_another_file_is_copied(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"big.bin": b"no DICOM at all\n" * 6})
    stop = StopFlag()

    class Stopping(Veil):
        def session(self, *looking: Any, **more: Any) -> Session:
            stop.set()
            return super().session(*looking, **more)

    summary = run_tree(
        Stopping(key=KEY), root, tmp_path / "out", Options(others=True, keep_names=True),
        stop=stop,
    )  # fmt: skip
    assert summary.interrupted
    assert summary.files == 0
    assert os.listdir(tmp_path / "out") == []


def test_quarantine(tmp_path: Path, veil: Veil) -> None:
    bad = SAMPLE[:-100]
    root = write(tmp_path / "in", {"a/bad.dcm": bad, "good.dcm": SAMPLE, "notes": b"x" * 200})
    aside = tmp_path / "aside"
    veil.tree(root, tmp_path / "out", quarantine=aside)
    assert read(aside) == {"a/bad.dcm": bad}
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (aside, aside / "a")]
    assert modes == [0o700, 0o700]
    assert stat.S_IMODE((aside / "a/bad.dcm").stat().st_mode) == 0o600
    write(root, {"a/bad.dcm": SAMPLE[:-102]})
    veil.tree(root, tmp_path / "out", quarantine=aside)
    assert read(aside) == {"a/bad.dcm": bad}  # what stands there stays
    assert leftovers(tmp_path) == []


def test_quarantine_inside_the_source_is_no_input(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"bad.dcm": SAMPLE[:-100], "good.dcm": SAMPLE})
    for _ in range(2):
        assert veil.tree(root, tmp_path / "out", quarantine=root / "aside").files == 2


@pytest.mark.parametrize("option", ["quarantine", "crosswalk"])
def test_what_identifies_does_not_go_among_the_outputs(
    tmp_path: Path, veil: Veil, option: str
) -> None:
    root = write(tmp_path / "in", {"bad.dcm": SAMPLE[:-100]})
    for place in (tmp_path / "out/place", tmp_path / "out"):
        with pytest.raises(UsageError):
            veil.tree(root, tmp_path / "out", **{option: place})
    assert not (tmp_path / "out").exists()
