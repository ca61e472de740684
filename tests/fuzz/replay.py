"""One input of the fuzzer again, with what the tool sees in it: `python -m fuzz.replay FILE...`,
from tests/. Any build will do; only what a sanitizer finds needs that of the fuzzer."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from dcmveil import DicomError, core
from dcmveil.faces.stream import stream
from fuzz.target import PROFILES, Case, check

SHOWN = 24  # bytes of a value


def show(data: bytes) -> None:
    case = Case(data)
    name, options = PROFILES[case.profile]
    print(f"profile {name} {' '.join(options)}, {len(case.file)} bytes", end="")
    print(", cut pixels accepted" if case.accept_cut else "")
    for at in range(0, min(len(case.file), 1024), 32):
        print(f"{at:6}  {case.file[at : at + 32].hex(' ', 4)}  {case.file[at : at + 32]!r}")
    trace: list[core.Trace] = []
    try:
        stream(case.session(len(case.file) + 8, trace=trace), io.BytesIO(case.file), io.BytesIO())
    except DicomError as error:
        print(f"refused: {error}")
    for place, tag, vr, action, veiled, offset, done, length, total, old, new in trace:
        path = "".join(f"{sequence:08X}[{item}]/" for sequence, item in place)
        print(
            f"{path}{tag:08X} {core.VR_NAMES[vr]} {core.ACTION_NAMES[action]}"
            f"{' blanked' if veiled else ''} at {offset}: {done}+{length} of {total}"
            f"  {old[:SHOWN]!r} -> {new if new is None else new[:SHOWN]!r}"
        )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        content = Path(argument).read_bytes()
        show(content)
        check(content)
        print("holds")
