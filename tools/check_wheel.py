"""Whether a wheel holds what it must: every compiled module, every file of src/, nothing else.

A wheel without its core builds and installs without a word, so this is asked of each one.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
NOT_SHIPPED = {".so", ".pyd", ".pyc"}
NEEDED = {"dcmveil/py.typed", "dcmveil/core.pyi", "dcmveil/profile/tables/dictionary.txt"}


def main(arguments: list[str]) -> int:
    faults = 0
    for wheel in arguments:
        for fault in check(Path(wheel)):
            print(f"{Path(wheel).name}: {fault}", file=sys.stderr)
            faults += 1
    if not arguments:
        print("usage: check_wheel.py WHEEL...", file=sys.stderr)
    return 1 if faults or not arguments else 0


def check(wheel: Path) -> list[str]:
    sources = {
        path.relative_to(ROOT / "src").as_posix(): path
        for path in (ROOT / "src/dcmveil").rglob("*")
        if path.is_file() and path.suffix not in NOT_SHIPPED
    }
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("dcmveil/")}
        compiled = {name for name in held if name.endswith((".so", ".pyd"))}
        faults = [f"{name} is missing" for name in sorted((sources.keys() | NEEDED) - held)]
        faults += [
            f"{name} is not that of src/"
            for name in sorted(sources.keys() & held)
            if archive.read(name) != sources[name].read_bytes()
        ]
    modules = {
        name.removeprefix("dcmveil/").partition(".")[0].replace("/", ".") for name in compiled
    }
    faults += [f"the compiled {name} is missing" for name in sorted(set(names()) - modules)]
    faults += [f"{name} does not belong" for name in sorted(modules - set(names()))]
    faults += [f"{name} does not belong" for name in sorted(held - compiled - sources.keys())]
    return faults


def names() -> list[str]:
    """The compiled modules that setup.py names, as in an import below dcmveil."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAMES":
            return list(ast.literal_eval(node.value))
    raise ValueError("setup.py has no NAMES")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
