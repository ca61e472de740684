"""A DICOMDIR of three patients, and what the profile omidb, which moves dates, makes of one."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Sequence
from functools import cache

import pydicom

import dcmveil
from build import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, E, part10
from cases import KEY
from directories import Record, image, patient, series, study

SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"
IDS = ("HOSP-0001", "HOSP-0002", "OTHER-77-C")
A, B = IDS[:2]


@cache
def omidb() -> dcmveil.Veil:
    return dcmveil.Veil("omidb", key=KEY)


def read(data: bytes) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data))


def records(data: bytes) -> list[pydicom.Dataset]:
    return list(read(data).DirectoryRecordSequence)


def own_file(patient_id: str, name: str = "DOE^JANE", date: str = "20160229") -> pydicom.Dataset:
    """A file of that patient, rewritten."""
    elements: list[E | bytes] = [
        E(0x00080016, "UI", MAMMOGRAPHY),
        E(0x00080020, "DA", date),
        E(0x00100010, "PN", name),
        E(0x00100020, "LO", patient_id),
    ]
    return read(omidb().bytes(part10(elements)))


def three_patients() -> list[Record]:
    return [
        patient(
            one,
            *(study(10 * n + k, series(n, image(100 * n + k), image(150 * n + k))) for k in (1, 2)),
        )
        for n, one in enumerate(IDS, 1)
    ]


def shuffled(roots: Sequence[Record], seed: int) -> list[Record]:
    order = [record for root in roots for record in root.all()]
    random.Random(seed).shuffle(order)
    return order
