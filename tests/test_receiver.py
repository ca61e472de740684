"""Outputs sent over the network to real receivers: every instance arrives, and studies and series
hold what they held before."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

import corpus
from build import DEFLATED
from dcmveil import Veil
from folders import KEY, instances, read, write

SECONDS = 300  # for what hangs
UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}

# study -> series -> instances
Studies = dict[str, dict[str, set[str]]]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """DCMTK sends small packets at once, and does not wait 40 ms twice a file for an answer."""
    monkeypatch.setenv("TCP_NODELAY", "1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """A server on loopback, ended by its own number."""
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        end = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end, (folder / "server.log").read_text()
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


def need(*programs: str) -> None:
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        pytest.skip(f"DCMTK is not here: {missing}")


def grouped(datasets: Iterator[pydicom.Dataset]) -> Studies:
    studies: Studies = {}
    for d in datasets:
        series = studies.setdefault(str(d.StudyInstanceUID), {})
        series.setdefault(str(d.SeriesInstanceUID), set()).add(str(d.SOPInstanceUID))
    return studies


def shape(studies: Studies) -> list[list[int]]:
    return sorted(sorted(len(found) for found in series.values()) for series in studies.values())


def partition(studies: Studies, name_of: dict[str, str]) -> set[frozenset[frozenset[str]]]:
    """The grouping alone: which inputs stand together, whatever the UIDs are."""
    return {
        frozenset(frozenset(name_of[uid] for uid in found) for found in series.values())
        for series in studies.values()
    }


def values(text: str, tag: str) -> list[str]:
    """What findscu has shown of a tag in its answers."""
    return [
        line.split("[", 1)[1].split("]", 1)[0].rstrip("\0 ")
        for line in text.splitlines()
        if f"({tag})" in line and "[" in line
    ]


def find(port: int, level: str, *keys: str) -> str:
    arguments = [part for key in (f"QueryRetrieveLevel={level}", *keys) for part in ("-k", key)]
    done = subprocess.run(
        ["findscu", "-v", "-S", "-aec", "STORE", *arguments, "127.0.0.1", str(port)],
        capture_output=True, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip
    answers = (done.stdout + done.stderr).split("Find Response", 1)
    return answers[1] if len(answers) > 1 else ""


def test_an_archive_groups_as_before(tmp_path: Path, veil: Veil) -> None:
    """dcmqrscp answers C-FIND from its own index of what it has received."""
    need("dcmqrscp", "storescu", "findscu")
    files = instances(40)
    root = write(tmp_path / "in", files)
    veil.tree(root, tmp_path / "out", jobs=2)
    port = free_port()
    (tmp_path / "store").mkdir()
    (tmp_path / "config").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nSTORE {tmp_path}/store RW (200, 64mb) ANY\nAETable END\n"
    )
    with serving(["dcmqrscp", "-c", str(tmp_path / "config")], port, tmp_path):
        subprocess.run(
            ["storescu", "-aec", "STORE", "+sd", "+r", "127.0.0.1", str(port), tmp_path / "out"],
            check=True, capture_output=True, timeout=SECONDS,
        )  # fmt: skip
        got: Studies = {}
        for study in values(find(port, "STUDY", "StudyInstanceUID"), "0020,000d"):
            key = f"StudyInstanceUID={study}"
            got[study] = {}
            for series in values(find(port, "SERIES", key, "SeriesInstanceUID"), "0020,000e"):
                keys = (key, f"SeriesInstanceUID={series}", "SOPInstanceUID")
                got[study][series] = set(values(find(port, "IMAGE", *keys), "0008,0018"))
    old = grouped(pydicom.dcmread(io.BytesIO(data)) for data in files.values())
    assert sum(map(len, (s for series in got.values() for s in series.values()))) == len(files)
    assert shape(got) == shape(old)
    new_of = {}
    name_of = {}
    for data in files.values():
        uid = str(pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID)
        name_of[uid] = uid
        new_of[str(pydicom.dcmread(io.BytesIO(veil.bytes(data))).SOPInstanceUID)] = uid
    assert partition(got, new_of) == partition(old, name_of)


def test_real_files_arrive(tmp_path: Path) -> None:
    """All of the corpus that can be sent, with its transfer syntaxes, to storescp."""
    need("storescp", "dcmsend")
    veil = Veil(key=KEY)
    inputs: dict[str, pydicom.Dataset] = {}  # new SOP Instance UID -> the input
    root = tmp_path / "in"
    for name, path in corpus.files():
        data = path.read_bytes()
        dataset = corpus.pydicom_reads(data)
        if dataset is None or not _can_be_sent(dataset, data):
            continue
        if str(dataset.SOPInstanceUID) in {str(d.SOPInstanceUID) for d in inputs.values()}:
            continue  # one instance in several encodings
        try:
            new = pydicom.dcmread(io.BytesIO(veil.bytes(data)))
        except Exception:
            continue
        inputs[str(new.SOPInstanceUID)] = dataset
        write(root, {name: data})
    assert len(inputs) > 60
    summary = veil.tree(root, tmp_path / "out", jobs=2)
    assert summary.outcomes["rewritten"] == len(inputs)
    port = free_port()
    (tmp_path / "store").mkdir()
    command = ["storescp", "+xa", "-pm", "-uf", "-od", str(tmp_path / "store"), "-su", "st"]
    with serving([*command, str(port)], port, tmp_path):
        done = subprocess.run(
            ["dcmsend", "-v", "+sd", "+r", "-dn", "127.0.0.1", str(port), tmp_path / "out"],
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    received = read(tmp_path / "store")
    folders: dict[str, set[str]] = {}
    for name, data in received.items():
        d = pydicom.dcmread(io.BytesIO(data), force=True)
        folders.setdefault(name.split("/")[0], set()).add(str(d.SOPInstanceUID))
    assert {uid for found in folders.values() for uid in found} == set(inputs)
    by_study: dict[str, set[str]] = {}
    for uid, dataset in inputs.items():
        by_study.setdefault(str(dataset.StudyInstanceUID), set()).add(uid)
    assert sorted(map(sorted, folders.values())) == sorted(map(sorted, by_study.values()))


def _can_be_sent(dataset: pydicom.Dataset, data: bytes) -> bool:
    """It has what a composite instance needs, and a storage class that DCMTK knows."""
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    if data[128:132] != b"DICM" or not all(dataset.get(name) for name in needed):
        return False
    meta = dataset.file_meta
    if meta.get("TransferSyntaxUID") not in UNCOMPRESSED or meta.TransferSyntaxUID in DEFLATED:
        return False
    return "Storage" in pydicom.uid.UID(dataset.SOPClassUID).name and "Retired" not in str(
        pydicom.uid.UID(dataset.SOPClassUID).info
    )
