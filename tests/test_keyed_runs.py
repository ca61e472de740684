"""What depends on the key depends on nothing else: not on the day, the process or the order.

Real processes, in time zones a day apart, with other hash seeds and locales and the files in
another order, give the same bytes; and one of them has no clock and no chance at all.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

import corpus
import dcmveil
from build import E, Item, part10
from expectations import FULL, KEY, MODIFIED, OPTIONS, Setting
from oracle_parse import parse

FILES = [path for _, path in corpus.files()]
SETTINGS = [
    Setting("basic"),
    *(Setting("basic", (option,)) for option in OPTIONS),
    Setting("sup142"),
    Setting("sup142", (MODIFIED,)),
    Setting("omidb"),
]
THERE = {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8"}
HERE = {"TZ": "Pacific/Pago_Pago", "PYTHONHASHSEED": "4711", "LC_ALL": "C"}

# Reads a job from standard input: rewrites its files in the order given, into its folder if it has
# one; answers with the digest of each output, None for a refused input.
WORKER = """
import hashlib, json, os, random, sys, time

job = json.load(sys.stdin)
if job["timeless"]:
    def never(*arguments, **options):
        raise AssertionError("a clock or chance was asked for")
    for name in ("time", "time_ns", "localtime", "gmtime", "strftime", "monotonic"):
        setattr(time, name, never)
    os.urandom = random.random = random.getrandbits = never
import dcmveil

profile = dcmveil.load_profile(job["profile"], job["options"])
veil = dcmveil.Veil(profile, key=bytes.fromhex(job["key"]))
digests = {}
for path in job["files"]:
    with open(path, "rb") as file:
        data = file.read()
    try:
        new = veil.bytes(data)
    except dcmveil.DicomError:
        digests[path] = None
        continue
    digests[path] = hashlib.sha256(new).hexdigest()
    if job["folder"] and new[128:132] == b"DICM":
        with open(os.path.join(job["folder"], digests[path]), "wb") as file:
            file.write(new)
json.dump(digests, sys.stdout)
"""


def work(
    setting: Setting,
    files: Sequence[Path],
    environment: dict[str, str],
    *,
    folder: Path | None = None,
    timeless: bool = False,
) -> dict[str, str | None]:
    """The digests of the files' rewritten bytes, from another process."""
    job = {
        "profile": setting.profile,
        "options": setting.options,
        "key": KEY.hex(),
        "files": [str(path) for path in files],
        "folder": str(folder) if folder else None,
        "timeless": timeless,
    }
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digests: dict[str, str | None] = json.loads(done.stdout)
    return digests


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_processes_days_and_orders_make_no_difference(setting: Setting, tmp_path: Path) -> None:
    once = work(setting, FILES, THERE, folder=tmp_path, timeless=True)
    shuffled = random.Random(str(setting)).sample(FILES, len(FILES))
    assert work(setting, shuffled, HERE) == once
    assert sum(digest is not None for digest in once.values()) > 200
    # and a second run, on what the first one wrote, changes nothing
    outputs = sorted(tmp_path.iterdir())
    assert len(outputs) > 150
    again = work(setting, outputs, HERE)
    assert again == {str(path): path.name for path in outputs}


def test_another_key_gives_other_bytes() -> None:
    other = dcmveil.Veil("omidb", key=bytes(reversed(KEY)))
    same = dcmveil.Veil("omidb", key=KEY)
    path = next(path for path in FILES if path.name == "CT_small.dcm")
    assert other.bytes(path.read_bytes()) != same.bytes(path.read_bytes())


# -- dates within a patient ------------------------------------------------------------------


def dates_of(data: bytes) -> dict[str, str]:
    """path -> date of every DA, and of every DT as far as its day."""
    found = {}
    for node in parse(data).leaves:
        if node.vr in ("DA", "DT"):
            value = node.value.rstrip(b" \0").decode("latin-1")
            if re.fullmatch(r"\d{8}(\d{6}(\.\d+)?)?", value):
                found[node.path] = value
    return found


def day(text: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(text[:8], "%Y%m%d").date()
    except ValueError:
        return None


@pytest.mark.parametrize(
    "setting", [Setting("basic", (MODIFIED,)), Setting("sup142", (MODIFIED,)), Setting("omidb")],
    ids=str,
)  # fmt: skip
def test_intervals_within_a_patient_are_kept_across_files(setting: Setting) -> None:
    veil = setting.veil()
    moved: dict[bytes, set[int]] = defaultdict(set)
    files: dict[bytes, int] = defaultdict(int)
    for path in FILES:
        data = path.read_bytes()
        if path.name.startswith("DICOMDIR"):
            continue  # each record has a patient of its own: see test_dicomdir_patients.py
        try:
            new = veil.bytes(data)
        except dcmveil.DicomError:
            continue
        patient = next((n.value for n in parse(data).leaves if n.path == "(0010,0020)"), b"")
        patient = patient.strip(b" \0")
        after = dates_of(new)
        for name, old in dates_of(data).items():
            before, then = day(old), day(after.get(name, ""))
            kept_year = name.endswith("(0010,0030)") and setting.profile == "omidb"
            if not patient and not kept_year:
                assert then is None or then.year == 1900, (path.name, name)
            elif before and then and then.year != 1900 and not kept_year:
                moved[patient].add((then - before).days)
                assert after[name][8:] == old[8:], (path.name, name)
        files[patient] += patient in moved
    assert all(len(days) == 1 for days in moved.values()), moved
    assert all(-3650 <= min(days) <= -1 for days in moved.values())
    assert len({min(days) for days in moved.values()}) > 10
    assert sum(count > 1 for count in files.values()) > 5  # patients with several files


@pytest.mark.parametrize("setting", [Setting("basic", (FULL,)), Setting("basic")], ids=str)
def test_without_modified_dates_none_is_moved(setting: Setting) -> None:
    data = part10([E(0x00080020, "DA", "20160229"), E(0x00100020, "LO", "P-1")])
    new = dates_of(setting.veil().bytes(data))
    assert list(new.values()) == (["20160229"] if setting.options else [])


def test_one_patient_in_files_of_every_form() -> None:
    """Padding, nesting, encoding and what else stands in a file make no difference."""
    veil = Setting("omidb").veil()
    seen = set()
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"):
        for written in (b"P-4711", b"P-4711  ", b" P-4711 ", b"P-4711\0 "):
            item = Item([E(0x00080022, "DA", "20160301"), E(0x00100020, "LO", "OTHER")])
            data = part10(
                [
                    E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.1.2"),
                    E(0x00080020, "DA", "20160229"),
                    E(0x00100020, "LO", written),
                    E(0x52009229, "SQ", [item]),
                ],
                syntax,
            )
            new = dates_of(veil.bytes(data))
            first, second = (day(text) for text in new.values())
            assert first
            assert second
            assert (second - first).days == 1
            seen.add(first)
    assert len(seen) == 1
