"""The peers, each over a whole folder in one process: `python peer_runs.py NAME SRC DST`.

None does the same work as another; what each changes is counted beside its rate. Those that work in
place get a copy of the inputs in DST.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

NAMES = ("0010,0010", "0010,0020", "0008,0090")  # replaced
EMPTIED = ("0010,0030", "0008,0020", "0008,0021", "0008,0080")


def files(folder: str) -> Iterator[str]:
    for where, _, names in os.walk(folder):
        yield from (os.path.join(where, name) for name in names)


def outputs(src: str, dst: str) -> Iterator[tuple[str, str]]:
    for path in files(src):
        new = os.path.join(dst, os.path.relpath(path, src))
        os.makedirs(os.path.dirname(new), exist_ok=True)
        yield path, new


def pydicom(src: str, dst: str) -> None:
    """Names, dates, UIDs of instances; private elements removed."""
    import pydicom
    from pydicom.uid import generate_uid

    def change(_: object, element: pydicom.DataElement) -> None:
        if element.VR == "PN":
            element.value = "ANON"
        elif element.VR in ("DA", "TM", "DT"):
            element.value = ""
        elif element.VR == "UI" and element.keyword.endswith("InstanceUID"):
            element.value = generate_uid(entropy_srcs=[element.value])

    for path, new in outputs(src, dst):
        dataset = pydicom.dcmread(path)
        dataset.remove_private_tags()
        dataset.walk(change)
        dataset.PatientID = "ANON"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(new)


def dicognito(src: str, dst: str) -> None:
    import pydicom
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer()
    for path, new in outputs(src, dst):
        dataset = pydicom.dcmread(path)
        anonymizer.anonymize(dataset)
        dataset.save_as(new)


def dicom_anonymizer(src: str, dst: str) -> None:
    from dicomanonymizer import anonymize_dicom_file

    for path, new in outputs(src, dst):
        anonymize_dicom_file(path, new)


def deid(src: str, dst: str) -> None:
    """The recipe that ships with it, read once."""
    from deid.config import DeidRecipe
    from deid.dicom import replace_identifiers

    recipe = DeidRecipe()
    for path, new in outputs(src, dst):
        [dataset] = replace_identifiers(
            dicom_files=[path], deid=recipe, save=False, remove_private=True, strip_sequences=False
        )
        dataset.save_as(new)


def fw_file_rs(src: str, dst: str) -> None:
    """Reads headers; writes nothing."""
    from fw_file_rs import dcm

    for path in files(src):
        dcm.parse_header(dcm.read_until_pixels(path))


def gdcm(src: str, dst: str) -> None:
    """FileAnonymizer: the named elements of the top level."""
    import gdcm

    for path, new in outputs(src, dst):
        anonymizer = gdcm.FileAnonymizer()
        anonymizer.SetInputFileName(path)
        anonymizer.SetOutputFileName(new)
        for tag in EMPTIED:
            anonymizer.Empty(gdcm.Tag(*(int(part, 16) for part in tag.split(","))))
        for tag in NAMES:
            anonymizer.Replace(gdcm.Tag(*(int(part, 16) for part in tag.split(","))), "ANON")
        if not anonymizer.Write():
            raise SystemExit("FileAnonymizer failed")


PEERS: dict[str, Callable[[str, str], None]] = {
    one.__name__: one for one in (pydicom, dicognito, dicom_anonymizer, deid, fw_file_rs, gdcm)
}
IMPORTED = {"dicom_anonymizer": "dicomanonymizer"}  # where the module has another name


FEW = {f"({tag})": "ANON" for tag in NAMES} | {f"({tag})": "" for tag in EMPTIED}


def dcmodify(paths: str, new: dict[str, str] = FEW) -> list[str]:
    """The shell command that edits the files listed in `paths` in place, many at a time. new: what
    becomes of the values at these tag paths."""
    edits = " ".join("-ma " + shlex.quote(f"{place}={value}") for place, value in new.items())
    return ["sh", "-c", f"xargs dcmodify -nb -q -imt {edits} < {paths}"]


def gdcmanon(src: object, dst: object) -> str:
    """The shell command that does all of a folder."""
    edits = [f"--replace {_short(tag)}=ANON" for tag in NAMES]
    edits += [f"--empty {_short(tag)}" for tag in EMPTIED]
    return f"gdcmanon --dumb -r -i {src} -o {dst} {' '.join(edits)}"


def _short(tag: str) -> str:
    return ",".join(part.lstrip("0") for part in tag.split(","))


if __name__ == "__main__":
    name, source, target = sys.argv[1:]
    Path(target).mkdir(exist_ok=True)
    PEERS[name](source, target)
