"""What the command refuses: one line says where, and shows no value; no half output is left."""

from __future__ import annotations

from pathlib import Path

import pytest

import dcmveil
from build import DEFLATED, EXPLICIT_LE, E, part10, sample_elements
from dcmveil import cli
from faces import run, run_forked, shell
from samples import KEY, LATE, MIB, SAMPLE, assert_refused, big

# -- input that must be refused --------------------------------------------------------------------

NOT_DICOM = {
    "empty": b"",
    "one byte": b"D",
    "text": b"Report on Mrs DOE, born 19610704, HOSP-004711.\n" * 40,
    "short text": b"DOE^JOHANNA",
    "JPEG": bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + bytes(range(256)) * 8,
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8,
    "PDF": b"%PDF-1.7\n1 0 obj << /Author (DOE) >> endobj\n" * 9,
    "ZIP": b"PK\3\4\x14\0\0\0\x08\0" + b"DOE_JOHANNA.dcm" * 30,
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "preamble alone": bytes(128) + b"DICM",
    "a length too long": part10([E(0x00100010, "PN", "DOE^JOHANNA", length=60000)]),
    "a length past an item": part10([E(0x00081115, "SQ", b"\xfe\xff\0\xe0\x04\0\0\0\x10\0\x10\0")]),
    "a stray item": part10([E(0x00100010, "PN", "DOE"), b"\xfe\xff\0\xe0\0\0\0\0"]),
    "a broken deflate": part10([], DEFLATED[0]) + b"\xff" * 50,
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_DICOM)
def test_refused(tmp_path: Path, key: Path, name: str) -> None:
    for options in ([], ["--atomic"]):
        for to in (None, tmp_path / "out.dcm"):
            done = run("--key-file", key, *options, data=NOT_DICOM[name], to=to)
            assert_refused(done.code, done.err)
            if options or to:
                assert not done.out


SMALL = {0x00080018, 0x00081032, 0x00100010, 0x00100020, 0x00280010, 0x60003000, 0x7FE00010}


@pytest.mark.parametrize("option", [[], ["--atomic"]], ids=["plain", "atomic"])
def test_every_truncation(tmp_path: Path, key: Path, option: list[str]) -> None:
    elements = [e for e in sample_elements() if isinstance(e, E) and e.tag in SMALL]
    data = part10(elements, meta=[E(0x00020010, "UI", EXPLICIT_LE)])
    # Without its last elements it is a data set all the same, and zeros may follow any.
    start = len(data) - len(part10(elements, meta=[]))
    ends = [start + len(part10(elements[:n], meta=[])) for n in range(1, len(elements) + 1)]
    assert ends[-1] == len(data)
    # how the output is written does not depend on the byte where the input ends
    step = 7 if option else 1
    for length in sorted({*range(0, len(data) + 1, step), *ends, *(end + 1 for end in ends[:-1])}):
        last = max((end for end in ends if end <= length), default=0)
        done = run_forked(tmp_path, data[:length], "--key-file", key, "--quiet", *option)
        if last and not any(data[last:length]):
            assert (done.code, len(done.out), done.err) == (0, length, ""), length
        else:
            assert_refused(done.code, done.err)
            assert not done.out, length


def test_truncations_of_a_deflated_file(tmp_path: Path, key: Path) -> None:
    data = part10(sample_elements(), DEFLATED[0])
    for length in range(140, len(data) - 2, 97):
        done = run_forked(tmp_path, data[:length], "--key-file", key)
        assert_refused(done.code, done.err, offset=False)
        assert not done.out


def test_a_bug_of_ours_shows_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(plan: cli.Plan) -> int:
        raise ValueError("DOE^JANE")

    monkeypatch.setattr(cli, "_stream", broken)
    assert cli.main(["stream", "--quiet"]) == cli.NOT_ALL
    assert capsys.readouterr().err == "dcmveil: internal error (ValueError); please report it\n"


# -- the output on an error ------------------------------------------------------------------------


def test_output_is_cut_back_to_its_start(tmp_path: Path, key: Path) -> None:
    out = tmp_path / "out"
    source = tmp_path / "in"
    source.write_bytes(LATE)
    for redirect in (f"> {out}", f">> {out}", f"1<> {out}"):
        out.write_bytes(b"" if redirect.startswith("1") else b"here before\n")
        script = f"dcmveil < {source} {redirect}"
        done = shell(script, key)
        assert_refused(done.returncode, done.stderr)
        assert out.read_bytes() == (b"here before\n" if redirect.startswith(">>") else b"")
    done = shell(f"{{ echo before; dcmveil < {source}; echo after; }} > {out}", key)
    assert out.read_bytes() == b"before\nafter\n"


@pytest.mark.parametrize("size", [MIB, 20 * MIB], ids=["in-memory", "spooled"])
def test_atomic_writes_nothing_on_a_late_error(tmp_path: Path, key: Path, size: int) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    for to in (None, tmp_path / "out"):
        done = run("--atomic", "--key-file", key, data=big(size, cut=1), to=to, TMPDIR=str(spool))
        assert_refused(done.code, done.err)
        assert not done.out
        assert not list(spool.iterdir())


def test_atomic_past_its_memory(tmp_path: Path, key: Path) -> None:
    data = big(20 * MIB)
    done = run("--atomic", "--key-file", key, data=data, TMPDIR=str(tmp_path))
    assert done.code == 0
    same = done.out == dcmveil.Veil(key=KEY).bytes(data)
    assert same
    assert list(tmp_path.iterdir()) == [key]


def test_input_and_output_are_one_file(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "in.dcm"
    for redirect in (f"1<> {path}", f">> {path}"):
        path.write_bytes(SAMPLE)
        done = shell(f"dcmveil < {path} {redirect}", key)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert path.read_bytes() == SAMPLE


def test_input_and_output_are_one_device(key: Path) -> None:
    done = shell("dcmveil < /dev/null > /dev/null", key)
    assert_refused(done.returncode, done.stderr)
