"""Hostile and endless input to a real process: its memory stays under a named bound, its words say
what was refused, and it waits for no byte that it does not need.

Peaks are those of the kernel above a run on a small file. The program itself reads its own
(`VmHWM`) as it ends: what wait4 tells begins with the memory of the process that started it.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from build import DEFLATED, IMPLICIT_LE, JPEG_BASELINE, E, Fragments, Item, encode, part10, sample
from cases import KEY, Refusal, run_bytes, veil
from dcmveil import DicomError, UsageError, Veil
from dcmveil.deflate import BLOCK
from dcmveil.session import HOLD_LIMIT, WINDOW
from faces import environment, unread, wait_for

MIB = 1 << 20
SECONDS = 600  # a run takes a few; a hang must not stop the suite
# Above a small run. What is bounded by nothing but the window: it, its copies and what the
# allocator keeps of them.
STREAMED = 16 * MIB
TRIAL = 4 * MIB  # TRIAL_LIMIT of state.pxd: a value held to see whether it holds items
# A window that grows to hold n bytes is doubled, and the old one lives while it is copied.
HELD = 4

PATIENT = E(0x00100020, "LO", "HOSP-4711")
MODALITY = E(0x00080060, "CS", "MR")
# Past the barrier: until the first tag after Patient ID all is held.
HEAD = part10([MODALITY, PATIENT, E(0x00100040, "CS", "F")])
Source = bytes | Iterable[bytes]


@dataclass
class Outcome:
    code: int
    out: bytes
    err: str
    peak: int  # bytes


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_text(KEY.hex() + "\n")
    path.chmod(0o600)
    return path


MEASURED = """
import atexit, os, sys
def tell():
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    with open(sys.argv.pop(), "w") as file:
        file.write(peak.split()[1])
atexit.register(tell)
from dcmveil.cli import _end_by_exception, main
_end_by_exception()
sys.exit(main(sys.argv[1:-1]))
"""


class Process:
    """The program with pipes at both ends."""

    def __init__(self, key_file: Path, *arguments: str) -> None:
        self._peak = key_file.with_name("peak")
        self._peak.unlink(missing_ok=True)
        given = ["--key-file", str(key_file), "--quiet", *arguments, str(self._peak)]
        self._popen = subprocess.Popen(
            [sys.executable, "-c", MEASURED, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            bufsize=0,
        )
        assert self._popen.stdin
        assert self._popen.stdout
        self.stdin, self.stdout = self._popen.stdin, self._popen.stdout
        self._timer = threading.Timer(SECONDS, self._popen.kill)
        self._timer.start()

    def work(self) -> list[str]:
        """Ticks of the processor, and how often it was given to it and taken away."""
        folder = Path(f"/proc/{self._popen.pid}")
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        status = (folder / "status").read_text().splitlines()
        return ticks + [line for line in status if "ctxt_switches" in line]

    def feed(self, source: Source) -> None:
        """In a thread of its own; that the program wants no more is no error."""

        def write() -> None:
            try:
                for piece in [source] if isinstance(source, bytes) else source:
                    view = memoryview(piece)
                    while view:
                        view = view[self.stdin.write(view) :]
            except BrokenPipeError:
                pass
            finally:
                self.stdin.close()

        threading.Thread(target=write, daemon=True).start()

    def end(self, keep: bool = True) -> Outcome:
        """Read all of it, and see how it ended. keep: the output is wanted."""
        out = []
        while piece := self.stdout.read(MIB):
            if keep:
                out.append(piece)
        assert self._popen.stderr
        err = self._popen.stderr.read().decode()
        self._popen.wait()
        self._timer.cancel()
        self.stdout.close()
        self._popen.stderr.close()
        peak = int(self._peak.read_text()) * 1024
        return Outcome(self._popen.returncode, b"".join(out), err, peak)


Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(key_file: Path) -> Run:
    def whole(source: Source, *arguments: str, keep: bool = True) -> Outcome:
        process = Process(key_file, *arguments)
        process.feed(source)
        return process.end(keep)

    return whole


@pytest.fixture(scope="module")
def small(run: Run) -> int:
    """The peak of a run on next to nothing."""
    outcome = run(sample())
    assert outcome.code == 0
    return outcome.peak


def nested(depth: int) -> bytes:
    inner = encode([MODALITY])
    for _ in range(depth):
        inner = encode([E(0x00081115, "SQ", [Item([inner])])])
    return inner


# -- how much of everything --------------------------------------------------------------------


def test_depth(run: Run) -> None:
    taken = run(part10([nested(100)]))
    assert (taken.code, taken.err) == (0, "")
    refused = run(part10([nested(129)]))
    assert refused.code == 1
    assert "sequences nested too deep" in refused.err
    assert "(0008,1115)[0]/(0008,1115)[0]" in refused.err


@pytest.mark.parametrize("tag", [0x00080060, 0x00101000, 0x00091001, 0x0020000D])
def test_a_million_elements(run: Run, small: int, tag: int) -> None:
    """Kept, blanked, private ones, and UIDs that Python maps."""
    some = b"".join(encode([E(tag, "UI", f"1.2.{i:04}")]) for i in range(1000)
                    ) if tag == 0x0020000D else encode([E(tag, "CS", "MR")]) * 1000  # fmt: skip

    outcome = run((HEAD if i == 0 else some for i in range(1001)), keep=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.peak - small < STREAMED


def test_a_million_items(run: Run, small: int) -> None:
    start = E(0x00081115, "SQ", [], undefined=True)
    header = encode([start])[:12]
    items = encode([E(0x00081115, "SQ", [Item([MODALITY])] * 1000)])[12:]
    body = [HEAD, header, *[items] * 1000, encode([start])[12:]]
    outcome = run(body, keep=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.peak - small < STREAMED


def test_a_million_fragments(run: Run, small: int) -> None:
    whole = part10([PATIENT, E(0x7FE00010, "OB", Fragments([b""] * 1001))], JPEG_BASELINE)
    head, end = whole[: -8008 - 8], whole[-8:]
    outcome = run([head, *[whole[-8008:-8]] * 1000, end], keep=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.peak - small < STREAMED


def test_header_larger_than_what_is_held(run: Run, small: int) -> None:
    """A Patient ID behind 16 MiB, where 4 MiB may be held."""
    element = encode([E(0x00080008, "CS", b"A" * 1000)])
    many = [part10([MODALITY]), *[element] * (16 * 1024), encode([PATIENT])]
    refused = run(many, "--hold-limit", "4")
    assert refused.code == 1
    assert "more bytes stand before the end of the patient's attributes than are held" in (
        refused.err
    )
    assert refused.out == b""
    assert refused.peak - small < HELD * 4 * MIB + STREAMED
    taken = run(many, "--hold-limit", "32")
    assert (taken.code, taken.err) == (0, "")
    assert len(taken.out) == sum(map(len, many))


def test_default_of_what_is_held(run: Run, small: int) -> None:
    endless = iter(lambda: encode([E(0x00080008, "CS", b"A" * 60_000)]) * 16, None)
    refused = run(_chain(part10([MODALITY]), endless), keep=False)
    assert refused.code == 1
    assert f"offset {HOLD_LIMIT}: more bytes" in refused.err
    assert refused.peak - small < HELD * HOLD_LIMIT + STREAMED


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


LYING = 0xFFFFFFFE


@pytest.mark.parametrize("element", [
    E(0x00080060, "UT", b"MR", length=LYING), E(0x7FE00010, "OW", b"ab", length=LYING),
    E(0x00091001, "UN", b"\xfe\xff\0\xe0\x10\0\0\0", length=LYING),
    E(0x00091001, "UN", b"abcd", length=LYING), E(0x00420011, "OB", b"%PDF", length=LYING),
    E(0x00081115, "SQ", b"\xfe\xff\0\xe0\x10\0\0\0", length=LYING),
    E(0x00081115, "SQ", b"\xfe\xff\0\xe0\xfe\xff\xff\xff", undefined=True),
    E(0x60003000, "OW", b"ab", length=LYING), E(0x0040A160, "UT", b"ab", length=LYING),
    E(0x7FE00010, "OB", b"\xfe\xff\0\xe0\xfe\xff\xff\xff", undefined=True),
], ids=repr)  # fmt: skip
@pytest.mark.parametrize("before", [True, False])
def test_length_of_four_gigabytes_in_a_short_file(
    run: Run, small: int, element: E, before: bool
) -> None:
    """Also where it stands before the Patient ID, so that all is held."""
    data = part10([element] if before else [PATIENT, element])
    outcome = run(data)
    assert outcome.code == 1
    assert "offset" in outcome.err
    assert "internal" not in outcome.err
    assert outcome.peak - small < STREAMED


@pytest.mark.parametrize("tag", [0x00080018, 0x00080060, 0x00080020, 0x00100020, 0x00091001])
def test_length_of_four_gigabytes_in_implicit_vr(run: Run, small: int, tag: int) -> None:
    data = part10([E(tag, "UI", b"1.2.3.4", length=LYING)], IMPLICIT_LE)
    outcome = run(data)
    assert outcome.code == 1
    assert "offset" in outcome.err
    assert outcome.peak - small < STREAMED


@pytest.mark.parametrize(("vr", "tag"), [("UN", 0x00091001), ("OB", 0x00420011)])
def test_a_gigabyte_that_is_rewritten(run: Run, small: int, vr: str, tag: int) -> None:
    """Blanked piece by piece; a private value that begins as an item does is tried, then walked."""
    size = 1 << 30
    header = encode([E(tag, vr, b"", length=size)])
    block = b"\x81" * MIB
    outcome = run([HEAD, header, *[block] * 1024], keep=False)
    assert outcome.code == 0
    assert outcome.peak - small < STREAMED


def test_value_tried_for_items(run: Run, small: int) -> None:
    """Just under the limit it is held whole; it does not tile."""
    size = TRIAL - 16
    value = b"\xfe\xff\0\xe0\xff\xff\xff\xff" + b"\0" * (size - 8)
    outcome = run([HEAD, encode([E(0x00091001, "UN", value)])], keep=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.peak - small < HELD * TRIAL + STREAMED


# -- deflated ----------------------------------------------------------------------------------


def bomb(size: int, *before: E) -> bytes:
    """A deflated data set with a value of `size` zeros."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(encode([*before, E(0x7FE00010, "OW", b"", length=size)]))
    for _ in range(size // MIB):
        packed += packer.compress(bytes(MIB))
    return part10([], DEFLATED[0]).removesuffix(b"\3\0") + packed + packer.flush()


def test_a_bomb_in_pixel_data(run: Run, small: int) -> None:
    data = bomb(128 * MIB, MODALITY, PATIENT)
    assert len(data) < 1 * MIB
    outcome = run(data)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out) < 2 * MIB
    assert outcome.peak - small < STREAMED


def test_a_bomb_before_the_patient_id(run: Run, small: int) -> None:
    """All of it would have to be held."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(encode([MODALITY]))
    element = encode([E(0x00080008, "CS", b"A" * 60_000)])
    for _ in range(4000):
        packed += packer.compress(element)
    data = part10([], DEFLATED[0]).removesuffix(b"\3\0") + packed + packer.flush()
    assert len(data) < MIB
    refused = run(data, "--hold-limit", "8")
    assert refused.code == 1
    assert "than are held" in refused.err
    assert refused.out == b""
    assert refused.peak - small < HELD * 8 * MIB + STREAMED


def test_how_much_may_be_inflated(run: Run) -> None:
    data = bomb(64 * MIB, MODALITY, PATIENT)
    refused = run(data, "--inflate-limit", "32")
    assert refused.code == 1
    assert "inflates to more than the limit" in refused.err
    taken = run(data, "--inflate-limit", "65")
    assert (taken.code, taken.err) == (0, "")


def test_inflate_limit_to_the_byte() -> None:
    elements = [MODALITY, PATIENT]
    data, plain = part10(elements, DEFLATED[0]), encode(elements)
    assert Veil(key=KEY, inflate_limit=len(plain)).bytes(data) == veil().bytes(data)
    with pytest.raises(DicomError) as caught:
        Veil(key=KEY, inflate_limit=len(plain) - 1).bytes(data)
    assert caught.value.offset == data.index(b"WARD7MR ") + 8
    assert "inflates to more than the limit" in caught.value.reason


@pytest.mark.parametrize("limit", ["hold_limit", "inflate_limit"])
@pytest.mark.parametrize("wrong", [0, -1])
def test_limits_that_are_none(limit: str, wrong: int) -> None:
    with pytest.raises(UsageError, match=limit):
        Veil(key=KEY, **{limit: wrong})


@pytest.mark.parametrize("wrong", ["0", "-1", "many", ""])
def test_limits_that_are_none_on_the_command_line(run: Run, wrong: str) -> None:
    for option in ("--hold-limit", "--inflate-limit"):
        outcome = run(b"", f"{option}={wrong}")
        assert outcome.code == 2
        assert "MiB" in outcome.err


# -- slow and broken pipes ---------------------------------------------------------------------


def test_byte_by_byte(run: Run) -> None:
    data = sample()
    outcome = run(struct.unpack(f"{len(data)}c", data))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == veil().bytes(data)


def test_it_sleeps_while_it_waits(key_file: Path) -> None:
    """Between two bytes it is not once at work, however long that takes."""
    data = part10([MODALITY, PATIENT, E(0x7FE00010, "OW", bytes(100))])
    process = Process(key_file)

    def sleeps() -> bool:
        before = process.work()
        time.sleep(0.1)
        return not unread(process.stdin.fileno()) and process.work() == before

    for at in range(4):
        process.stdin.write(data[at : at + 1])
        wait_for(sleeps)
    process.feed(data[4:])
    outcome = process.end()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == veil().bytes(data)


@pytest.mark.parametrize("encoding", [None, DEFLATED[0]])
def test_a_pipe_that_stalls(key_file: Path, encoding: str | None) -> None:
    """What is settled has left before the rest comes: a program at the other end may wait for it.
    A deflated data set leaves in whole blocks."""
    pixels = os.urandom(3 * WINDOW)
    data = part10([MODALITY, PATIENT, E(0x7FE00010, "OW", pixels)], *[encoding] * bool(encoding))
    half = len(data) // 2
    go_on = threading.Event()

    def stalling() -> Iterator[bytes]:
        yield data[:half]
        go_on.wait(SECONDS)
        yield data[half:]

    process = Process(key_file)
    process.feed(stalling())
    first = b""
    while len(first) < half - (2 * BLOCK if encoding else 0):
        piece = process.stdout.read(BLOCK)
        assert piece
        first += piece
    go_on.set()
    outcome = process.end()
    assert (outcome.code, outcome.err) == (0, "")
    assert first + outcome.out == veil().bytes(data)


def test_a_reader_that_has_seen_enough(key_file: Path) -> None:
    process = Process(key_file)
    process.feed(_chain(part10([PATIENT, E(0x7FE00010, "OW", b"", length=1 << 30)]),
                        [bytes(MIB)] * 1024))  # fmt: skip
    assert process.stdout.read(132)[128:] == b"DICM"
    process.stdout.close()
    process.stdout = open(os.devnull, "rb", buffering=0)
    outcome = process.end()
    assert (outcome.code, outcome.err) == (0, "")


def test_endless_zeros_are_no_dicom(run: Run, small: int) -> None:
    outcome = run(iter(lambda: bytes(MIB), None))
    assert outcome.code == 1
    assert "not a DICOM file" in outcome.err
    assert outcome.peak - small < STREAMED


def test_refused_the_same_in_memory() -> None:
    """The limits of the command are those of the library."""
    result = run_bytes(veil(), part10([nested(129)])).result
    assert isinstance(result, Refusal)
    assert result.fault == "TOO_DEEP"
