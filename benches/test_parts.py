"""Every part of the record runs, on inputs so small that its figures say nothing."""

from __future__ import annotations

import functools
import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cold
import contest
import inputs
import large
import peer_runs
import peers
import pipe
import pytest
import record
import scaling
import trees
from contest import changed, in_turns, ratios

TINY = 1 << 20
WHOLE = ["pipe", "peers", "trees", "large", "scaling", "cold"]


def once(names: list[str], call: Callable[[str], Any], rounds: int, warm: bool = True) -> Any:
    return in_turns(names, call, 1, warm=False)


def write_few(folder: Path, data: bytes, count: int) -> None:
    contest.write_files(folder, data, min(count, 5))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found = record.fresh(record.about_host())
    with pytest.MonkeyPatch.context() as patched:
        for module in (pipe, large, cold):
            patched.setattr(module, "GIB", TINY)
        few = functools.partial(inputs.write_encapsulated, count=20)
        patched.setattr(inputs, "write_encapsulated", lambda path, count=20: few(path))
        patched.setattr(scaling, "SIZES", ((10_000, 3), (0, 0), (0, 0), (100_000, 2)))
        patched.setattr(scaling, "ELEMENTS", ((100, 3), (0, 0), (1_000, 2)))
        for module in (peers, large):
            patched.setattr(module, "PEERS", {"pydicom": peer_runs.pydicom})
        for module in (peers, trees, cold):
            patched.setattr(module, "write_files", write_few)
        for module in (contest, peers, trees, large, scaling):
            patched.setattr(module, "in_turns", once)
        for name in WHOLE:
            record.add(found, name, quick=True)
    return found


def test_parts(results: dict[str, Any]) -> None:
    assert list(results["parts"]) == WHOLE
    assert {"cat | cat", "cat | dcmveil", "cat | dd bs=1M"} <= set(
        results["pipe"]["long"][0]["pipes"]
    )
    assert results["pipe"]["encapsulated"]["bytes"] > 20 * 50_000
    for kind in ("mr", "ct"):
        tools = results["peers"][kind]["tools"]
        assert {"cp -r", *peers.OURS, *peers.LIBRARY, peers.COPY_LOOP} <= set(tools)
        for ours, library in zip(peers.OURS, peers.LIBRARY, strict=True):
            assert tools[library]["elements_changed"] == tools[ours]["elements_changed"] > 0
            assert tools[library]["library"]["ratio"] == 1
            ratio = tools[ours]["library"]["ratio"]
            assert ratio == pytest.approx(1 / tools[library]["ratio"])
            assert ratio > 1
        assert tools["dcmveil patch"]["elements_changed"] > 20
        assert tools["cp -r"]["elements_changed"] == 0
    assert {"copy -j 1", "copy -j 4"} <= set(results["trees"][0]["trees"]["mr"]["tools"])
    [big] = results["large"]
    ours = big["in_process"]["Veil.patch"]
    assert 0 < ours["written"] < ours["read"] < TINY
    assert [len(results["scaling"][name]) for name in ("sizes", "elements")] == [2, 2]


def test_told(results: dict[str, Any], tmp_path: Path) -> None:
    record.write(tmp_path, results)
    text = (tmp_path / "README.md").read_text()
    assert text.count("## ") > 10
    assert record.read(tmp_path, {}) == json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({"pipe": {}}))
    assert record.read(tmp_path, {})["parts"] == {}  # a record of another layout


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="no matplotlib")
def test_charts(results: dict[str, Any], tmp_path: Path) -> None:
    import charts

    record.write(tmp_path, results)
    drawn = charts.draw(tmp_path)
    assert {path.stem for path in drawn} == set(charts.CHARTS)
    for path in drawn:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert path.stat().st_size < 60_000
    again = [path.read_bytes() for path in drawn]
    assert [path.read_bytes() for path in charts.draw(tmp_path)] == again


def test_turns() -> None:
    order: list[str] = []
    taken = in_turns(["a", "b"], lambda name: order.append(name) or float(len(order)), 2)
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert taken == {"a": [3.0, 6.0], "b": [4.0, 5.0]}
    assert ratios([1.0, 4.0, 9.0], [1.0, 2.0, 3.0])["ratio"] == 2


def test_dcmodify_can_do_what_dcmveil_does(results: dict[str, Any]) -> None:
    for kind in ("mr", "ct"):
        tools = results["peers"][kind]["tools"]
        if "dcmodify" not in tools:
            pytest.skip("no dcmodify")
        same = tools[peers.SAME_EDITS]["elements_changed"]
        assert same == tools["dcmveil patch"]["elements_changed"]
        assert same > tools["dcmodify"]["elements_changed"]


def test_a_tool_that_does_nothing_is_found(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_bytes(inputs.mr())
    assert changed(one, one) == 0
    peer_runs.pydicom(str(tmp_path), str(tmp_path / "out"))
    assert changed(one, tmp_path / "out" / "one") > 10
