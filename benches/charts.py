"""Draw the charts of a record: `python benches/charts.py FOLDER` reads its results.json.

SVG on a white ground, so that they can be read where a page is dark, too. Parts that were not
measured have no chart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

OURS, THEIRS, FLOOR = "#0b6e99", "#b8b8b8", "#e3c078"
LINES = {
    "cp": ("#a3782a", "--"),
    "copy": ("#0b6e99", "-"),
    "stream": ("#2a9d5c", "-"),
    "patch": ("#b0413e", "-"),
    "pydicom": ("#777777", "-."),
    "dcmodify": ("#777777", ":"),
}
FLOORS = {
    "cp -r",
    "read and write in Python",
    "open, pread, pwrite, close in C, in place",
    "the system calls of dcmveil patch in C, in place",
}
KINDS = {"dcmveil": OURS, "others": THEIRS, "no de-identification": FLOOR}
READS = {"fw_file_rs": ", reading headers alone"}
STYLE = {
    "svg.fonttype": "none",  # text stays text: smaller, and can be searched
    "svg.hashsalt": "dcmveil",  # the same file from the same figures
    "font.family": "sans-serif",
    "font.size": 9,
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def draw(folder: Path) -> list[Path]:
    """The charts of all that was measured, next to their figures."""
    results = json.loads((folder / "results.json").read_text())
    written = []
    with mpl.rc_context(STYLE):
        for name, (part, chart) in CHARTS.items():
            if not results.get(part):
                continue
            figure = chart(results[part])
            path = folder / f"{name}.svg"
            figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)
            written.append(path)
    return written


# -- bars ------------------------------------------------------------------------------------------


def throughput(peers: dict[str, Any]) -> Figure:
    kinds = ("mr", "ct")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.9), constrained_layout=True)
    for axis, kind in zip(axes, kinds, strict=True):
        tools = peers[kind]["tools"]
        rates = {named(name, tool): tool["files_per_second"] for name, tool in tools.items()}
        bars(axis, rates)
        axis.set_title(f"files of {peers[kind]['bytes'] / 1000:.0f} KB, one process")
        axis.set_xlabel("files per second (more is better)")
    name_colours(figure)
    return figure


def memory(large: list[dict[str, Any]]) -> Figure:
    [one] = [one for one in large if "peers" in one]
    figure, axis = plt.subplots(figsize=(6, 3.2), constrained_layout=True)
    peaks = {named(name, tool): tool["peak_rss"] / 1e6 for name, tool in one["peers"].items()}
    bars(axis, peaks, least_first=True)
    axis.set_title(f"one file of {one['native']['bytes'] / 2**30:.2f} GiB")
    axis.set_xlabel("peak resident memory, MB (less is better; under 10 it is not seen)")
    name_colours(figure)
    return figure


def named(name: str, tool: dict[str, Any]) -> str:
    return name + READS.get(name, ", in place" if tool["in_place"] else "")


def name_colours(figure: Figure) -> None:
    patches = [Patch(color=colour) for colour in KINDS.values()]
    figure.legend(patches, list(KINDS), loc="outside lower center", ncols=len(KINDS), fontsize=8)


def bars(axis: Axes, values: dict[str, float], *, least_first: bool = False) -> None:
    """Horizontal bars on a logarithmic scale, the best on top."""
    names = sorted(values, key=lambda name: values[name], reverse=not least_first)
    colours = [
        OURS if name.startswith("dcmveil") else FLOOR if name in FLOORS else THEIRS
        for name in names
    ]
    drawn = axis.barh(names, [values[name] for name in names], color=colours)
    axis.bar_label(drawn, [f"{values[name]:,.0f}" for name in names], padding=3, fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlim(min(values.values()) / 2, max(values.values()) * 5)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    plain(axis, "x", 3)


# -- lines -----------------------------------------------------------------------------------------


def file_size(scaling: dict[str, Any]) -> Figure:
    figure, axis = plt.subplots(figsize=(5.5, 3.5), constrained_layout=True)
    lines(axis, scaling["sizes"], "bytes", 1e-6)
    axis.set_xlabel("size of the file, MB")
    axis.set_title("time of a file by its size")
    return figure


def header_size(scaling: dict[str, Any]) -> Figure:
    figure, axis = plt.subplots(figsize=(5.5, 3.5), constrained_layout=True)
    lines(axis, scaling["elements"], "elements", 1)
    axis.set_xlabel("data elements of the header")
    axis.set_title("time of a file by its header")
    return figure


def lines(axis: Axes, points: list[dict[str, Any]], by: str, unit: float) -> None:
    across = [point[by] * unit for point in points]
    for name in points[0]["tools"]:
        times = [point["tools"][name]["seconds"] * 1e3 for point in points]
        colour, dash = LINES[name]
        axis.plot(across, times, dash, color=colour, marker="o", markersize=3, label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylabel("milliseconds a file")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    plain(axis, "x")
    plain(axis, "y")


def workers(trees: list[dict[str, Any]]) -> Figure:
    """The first folder is the one in memory."""
    kinds = trees[0]["trees"]
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(4.2 * len(kinds), 3.2), squeeze=False, constrained_layout=True
    )
    for axis, tree in zip(axes[0], kinds.values(), strict=True):
        for name in ("copy", "patch"):
            runs = {
                int(tool.rpartition(" ")[2]): tree["files"] / one["seconds"]
                for tool, one in tree["tools"].items()
                if tool.startswith(f"{name} -j")
            }
            colour, dash = LINES[name]
            axis.plot(list(runs), list(runs.values()), dash, color=colour, marker="o", label=name)
            axis.set_xticks(list(runs))
        colour, dash = LINES["cp"]
        rate = tree["files"] / tree["tools"]["cp -r"]["seconds"]
        axis.axhline(rate, linestyle=dash, color=colour, label="cp -r, one process")
        axis.set_ylim(bottom=0)
        axis.set_title(f"{tree['files']:,} files of {tree['bytes'] / 1000:.0f} KB")
        axis.set_xlabel("worker processes (-j)")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes[0][0].set_ylabel("files per second")
    axes[0][0].legend(fontsize=8)
    return figure


def plain(axis: Axes, which: str, most: int = 9) -> None:
    """Numbers at powers of ten as people write them, at most so many."""
    along = axis.xaxis if which == "x" else axis.yaxis
    along.set_major_locator(LogLocator(10, numticks=most))
    along.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    along.set_minor_locator(NullLocator())
    along.set_minor_formatter(NullFormatter())


# name of the file: the part that it shows, how it is drawn
CHARTS = {
    "throughput": ("peers", throughput),
    "memory": ("large", memory),
    "file-size": ("scaling", file_size),
    "header-size": ("scaling", header_size),
    "workers": ("trees", workers),
}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: charts.py FOLDER")
    print(*draw(Path(sys.argv[1])), sep="\n")
