"""Write docs/corpus.md: what happens to every file of the public test data.

    python tools/corpus_table.py > docs/corpus.md

The files are those of pydicom's wheel and of pydicom-data. Needs the test extra.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import corpus
import dcmveil

HEAD = """\
# Every file of the public test data

Made by `tools/corpus_table.py` from the files of pydicom and pydicom-data, with the Basic
Profile. `tests/test_oracle_corpus.py` checks each rewritten one against pydicom, tag by tag and
byte by byte, and that DCMTK and GDCM still open what they opened before.

"""


def main() -> None:
    veil = dcmveil.Veil("basic", key=bytes(range(32)))
    rows = []
    counts = {"rewritten": 0, "refused": 0, "not DICOM": 0}
    for name, path in corpus.files():
        reads = corpus.pydicom_reads(path) is not None
        try:
            with path.open("rb") as src, open(os.devnull, "wb") as dst:
                report = veil.stream(src, dst)
        except dcmveil.DicomError as error:
            outcome = "refused" if reads else "not DICOM"
            detail = str(error)
        else:
            outcome = "rewritten"
            changed = sum(report.actions.values()) - report.actions.get("check uid", 0)
            detail = f"{changed} values of {report.elements} elements"
        counts[outcome] += 1
        rows.append(f"| {name} | {'yes' if reads else 'no'} | {outcome} | {detail} |")
    print(HEAD + ", ".join(f"{n} {what}" for what, n in counts.items()) + ".\n")
    print("| file | pydicom reads it | outcome | |\n|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
