"""What a report says of the output's own identity: names of files are made of it."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dcmveil import Veil

FILES = ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("piece", [None, 100])
def test_report_names_what_stands_in_the_output(name: str, piece: int | None) -> None:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    out = io.BytesIO()
    with open(path, "rb") as file:
        source = file if piece is None else _Trickle(file.read(), piece)
        report = Veil("basic", key=bytes(range(32))).stream(source, out)  # type: ignore[arg-type]
    out.seek(0)
    new = pydicom.dcmread(out)
    assert report.study == new.StudyInstanceUID
    assert report.series == new.SeriesInstanceUID
    assert report.instance == new.SOPInstanceUID
    old = pydicom.dcmread(path)
    assert report.patient_id == new.PatientID == ("ANON" if old.PatientID else "")
    assert report.study != old.StudyInstanceUID


class _Trickle:
    def __init__(self, data: bytes, piece: int) -> None:
        self._data = data
        self._piece = piece

    def read(self, size: int) -> bytes:
        n = min(size, self._piece)
        piece, self._data = self._data[:n], self._data[n:]
        return piece
