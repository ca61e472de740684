"""The words above the rules of a profile file, and what is said of a profile that has rules."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.pixels import pixel_array

import corpus
import dcmveil
from build import E, sample
from dcmveil.profile import EDITIONS, NAMES, OPTIONS, draft_of
from dcmveil.profile.frozen import PSEUDONYM_KINDS
from dcmveil.profile.language import draft_of_file, read_file
from dcmveil.profile.wanted import WORDS
from sites import BASIC, GEMS, KEY, MR, NOTHING, Site, sequence


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


# -- words above the rules -------------------------------------------------------------------


def test_allow_list_keeps_what_is_named_and_what_files_need(site: Site) -> None:
    text = 'extends = "basic"\nunlisted = "blank"\n[rules]\nPatientSex = "keep"\n"VR TM" = "keep"'
    dataset = site.after(
        text,
        E(0x00080005, "CS", "ISO_IR 100"),
        E(0x00080030, "TM", "1015"),
        E(0x00080060, "CS", "MR"),
        E(0x00081150, "UI", MR),
        E(0x00100040, "CS", "F"),
        E(0x00180050, "DS", "3.5"),
        E(0x00080404, "DT", "20240229"),
        E(0x00140102, "DA", "20240229"),
        E(0x00140103, "TM", "1015"),
        E(0x00280002, "US", [1]),
        E(0x00280004, "CS", "MONOCHROME2"),
        E(0x00280010, "US", [4]),
        E(0x00280011, "US", [8]),
        E(0x00280100, "US", [16]),
        E(0x00280101, "US", [12]),
        E(0x00280102, "US", [11]),
        E(0x00280103, "US", [0]),
        E(0x00281050, "DS", "40"),
        sequence(0x52009229, [E(0x00180050, "DS", "3.5"), E(0x00100040, "CS", "F")]),
    )
    assert dataset.SpecificCharacterSet == "ISO_IR 100"
    assert dataset.SOPClassUID == MR
    assert dataset.ReferencedSOPClassUID == MR
    assert dataset.PatientSex == "F"
    assert (dataset.Rows, dataset.Columns, dataset.BitsAllocated) == (4, 8, 16)
    assert dataset.WindowCenter == 40
    assert dataset.PixelData == bytes(range(64))
    assert dataset.Modality == ""
    assert dataset.SliceThickness in (None, "")
    assert dataset.ItemInventoryDateTime == ""
    assert dataset.SecondaryReviewDate == ""
    assert dataset.SecondaryReviewTime == "1015"
    # an unlisted sequence is walked: what is named in it stays, the rest does not
    inner = dataset[0x52009229].value[0]
    assert inner.PatientSex == "F"
    assert inner.SliceThickness in (None, "")
    assert dataset.pixel_array.shape == (4, 8)


def test_allow_list_is_one_line(site: Site) -> None:
    data = sample()
    veil = dcmveil.Veil(site.write('extends = "basic"\nunlisted = "blank"\n'), key=KEY)
    old, new = (pydicom.dcmread(io.BytesIO(d)) for d in (data, veil.bytes(data)))
    assert new.PixelData == old.PixelData
    assert new.pixel_array.shape == (8, 8)
    kept = {e.keyword for e in new if e.VR != "SQ" and e.value and e.value == old[e.tag].value}
    assert kept == {
        "BitsAllocated",
        "BitsStored",
        "Columns",
        "HighBit",
        "PhotometricInterpretation",
        "PixelData",
        "Rows",
        "SOPClassUID",
        "SamplesPerPixel",
        "SpecificCharacterSet",
        "WindowCenter",
    }
    assert not any(new.IconImageSequence[0].PixelData)


def test_allow_list_drops_what_options_keep_by_vr(site: Site) -> None:
    """An option keeps the dates of its rows; others are in no row."""
    text = 'extends = "basic"\noptions = ["retain-longitudinal-full-dates"]\n'
    dates = E(0x00080020, "DA", "20240229"), E(0x00140102, "DA", "20240229")
    for unlisted, other in (("keep", "20240229"), ("blank", "")):
        dataset = site.after(f'{text}unlisted = "{unlisted}"\n', *dates)
        assert dataset.StudyDate == "20240229"
        assert dataset.SecondaryReviewDate == other


def test_unknown(site: Site) -> None:
    elements = [E(0x00081FF0, "LO", "NEWER"), sequence(0x00081FF2, [E(0x00100010, "PN", "DOE")])]
    dataset = site.after(BASIC, *elements)
    assert dataset[0x00081FF0].value == "\0" * 5 or not dataset[0x00081FF0].value.strip()
    dataset = site.after(BASIC.replace("[rules]", 'unknown = "keep"'), *elements)
    assert dataset[0x00081FF0].value == "NEWER"
    assert dataset[0x00081FF2].value[0].PatientName == ""
    dataset = site.after(f'{BASIC}"(0008,1FF0)" = "keep"', *elements)
    assert dataset[0x00081FF0].value == "NEWER"


def test_private_words(site: Site) -> None:
    elements = [
        E(0x00190010, "LO", GEMS),
        E(0x00191023, "DS", "12"),
        E(0x00191025, "SL", [7]),
        E(0x00191026, "LO", "DOE^JANE"),
    ]

    def values(word: str) -> list[object]:
        text = f'extends = "basic"\nprivate = "{word}"\n'
        dataset = site.after(text, *elements)
        return [dataset[tag].value for tag in (0x00191023, 0x00191025, 0x00191026)]

    assert values("keep") == [12, 7, "DOE^JANE"]
    assert values("blank") == ["", 0, ""]
    assert values("safe") == [12, 0, ""]


@pytest.mark.parametrize("extends", ["basic", "sup142", "omidb"])
def test_private_safe_is_the_option(extends: str, site: Site) -> None:
    draft = draft_of_file(site.write(f'extends = "{extends}"\nprivate = "safe"\n'))
    assert draft.honours_characteristics
    assert draft.walk_private
    assert len(draft.private) == 479
    if extends != "omidb":
        same = draft_of(extends, ("retain-safe-private",))
        assert draft.options == same.options
        assert draft.codes == same.codes
        assert draft.rows.keys() == same.rows.keys()


def test_shift_days(site: Site) -> None:
    text = 'extends = "nothing"\nunlisted = "keep"\nprivate = "blank"\nunknown = "blank"\n'
    text += 'shift-days = [10, 10]\n[rules]\n"VR DA" = "shift"\n'
    assert site.after(text, E(0x00080020, "DA", "20240229")).StudyDate == "20240310"


def test_pseudonym_table(site: Site) -> None:
    table = site.folder / "ids.csv"
    table.write_text("old,new,shift_days\n12345678,TRIAL-01,-1\n")
    dataset = site.after(
        BASIC + 'PatientID = "pseudonym"\nPatientName = "pseudonym"\nStudyDate = "shift"',
        E(0x00080020, "DA", "20240301"),
        E(0x00100010, "PN", "DOE^JANE"),
        pseudonyms=dcmveil.load_pseudonyms(table),
    )
    assert dataset.PatientID == "TRIAL-01"
    assert dataset.PatientName == "TRIAL-01"
    assert dataset.StudyDate == "20240229"


def test_options_and_editions_of_file_and_user_add_up(site: Site) -> None:
    path = site.write('extends = "basic"\noptions = ["retain-uids"]\nedition = "2011"\n')
    draft = draft_of_file(path, ("clean-graphics", "retain-uids"))
    assert draft.options == ("retain-uids", "clean-graphics")
    assert draft.codes == ["113100", "113110", "113103"]
    assert draft.edition == "2011"
    assert draft_of_file(path, (), "2023b").edition == "2023b"
    veil = dcmveil.Veil(path, options=["clean-graphics"], edition="2023b", key=KEY)
    assert veil.profile.draft.options == ("retain-uids", "clean-graphics")
    assert veil.profile.draft.edition == "2023b"


def test_a_file_without_rules_does_what_it_extends(site: Site) -> None:
    for name in NAMES:
        draft, base = draft_of_file(site.write(f'extends = "{name}"\n')), draft_of(name)
        of_file, of_base = (
            {tag: row.action for tag, row in d.rows.items() if tag != "00120063"}
            for d in (draft, base)
        )
        assert of_file == of_base
        assert draft.by_vr.keys() == base.by_vr.keys()


def test_a_file_extends_another(site: Site) -> None:
    (site.folder / "sites").mkdir()
    site.write(
        'extends = "basic"\nprivate = "safe"\n[rules]\nPatientSex = "keep"\nPatientID = "blank"',
        "hospital.toml",
    )
    text = 'extends = "../hospital.toml"\n[rules]\nPatientID = "pseudonym"\n'
    path = site.write(text, "sites/trial.toml")
    draft = draft_of_file(path, ("retain-uids",))
    assert draft.rows["00100040"].action == "keep"
    assert draft.rows["00100020"].action == "pseudonym:patient"
    assert draft.rows["0020000D"].action == "keep"
    assert draft.options == ("retain-safe-private", "retain-uids")
    assert draft.base == "basic"
    assert "hospital.toml, line 4" in draft.rows["00100040"].source


def test_a_file_and_its_name_do_not_change_the_digest(site: Site) -> None:
    text = 'extends = "basic"\n[rules]\nPatientSex = "keep"\n'
    one = dcmveil.load_profile(site.write(text, "one.toml"))
    other = dcmveil.load_profile(site.write(f"# of the trial\n{text}", "other.toml"))
    third = dcmveil.load_profile(site.write(text.replace("Sex", "Age"), "third.toml"))
    assert one.digest == other.digest != third.digest
    assert one.rules.frozen


# -- what is said of it ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("", "REMOVED"),
        ('[rules]\nStudyDate = "keep"', "UNMODIFIED"),
        ('[rules]\nStudyDate = "keep"\nSeriesDate = "shift"', "MODIFIED"),
        ('[rules]\n"VR DT" = "year"', "MODIFIED"),
        ('[rules]\nLongitudinalTemporalInformationModified = { set = "REMOVED" }', "REMOVED"),
        ('options = ["retain-longitudinal-full-dates"]', "UNMODIFIED"),
    ],
)
def test_longitudinal_marker(text: str, marker: str, site: Site) -> None:
    dataset = site.after(f'extends = "basic"\n{text}', E(0x00280303, "CS", "UNMODIFIED"))
    assert dataset.LongitudinalTemporalInformationModified == marker


def test_method(site: Site) -> None:
    room = E(0x00120063, "LO", "x" * 64)
    assert site.after('extends = "basic"\ntitle = "Trial 12"', room).DeidentificationMethod == (
        "dcmveil Trial 12, from basic 113100"
    )
    assert site.after(BASIC, room).DeidentificationMethod == (
        "dcmveil a profile file, from basic 113100"
    )
    assert site.after(NOTHING, room).DeidentificationMethod == "x" * 64
    own = f'{BASIC}DeidentificationMethod = {{ set = "OURS" }}'
    assert site.after(own, room).DeidentificationMethod == "OURS"


def test_notes(site: Site) -> None:
    path = site.write(
        f"""extends = "basic"
unlisted = "blank"
private = "keep"
[rules]
SeriesDescription = "clean"
StudyDate = "clean"
ContentSequence = "clean"
PatientComments = "clean"
'0019 "GEMS_ACQU_1" 23' = "keep"
'0019 "{GEMS}" 23' = "keep"
"(0008,9999)" = "keep"
"VR LO" = "hash"
"""
    )
    file = read_file(path)
    assert [note.removeprefix(f"{path}:") for note in file.notes] == [
        "2: note: blanks what no row names, yet keeps what no dictionary knows",
        "5: note: only dates and sequences are cleaned yet: "
        "SeriesDescription (0008,103E) gets blank",
        "8: note: only dates and sequences are cleaned yet: PatientComments (0010,4000) gets blank",
        f'9: note: no list has this creator; "{GEMS}" was meant?',
        "11: note: the dictionary does not have (0008,9999)",
        "12: note: 136 attributes of LO have rows of their own, which go first",
    ]
    assert [rule.action for rule in file.rules[:4]] == ["blank", "shift", "keep", "blank"]
    assert file.rules[0].before == "blank"


def test_clean_takes_the_basic_action(site: Site) -> None:
    """Text that an option would keep is blanked when it is to be cleaned."""
    draft = draft_of_file(
        site.write(
            'extends = "basic"\noptions = ["retain-device-identity"]\n[rules]\n'
            'DeviceSerialNumber = "clean"\nRequestedContrastAgent = "clean"\n'
            'PatientID = "clean"\nRows = "keep"\n'
        )
    )
    assert draft.rows["00181000"].action == "blank"
    assert draft.rows["00100020"].action == "dummy"


@pytest.mark.filterwarnings("ignore")
def test_an_allow_list_leaves_every_picture_of_the_corpus(site: Site) -> None:
    text = 'extends = "nothing"\nunlisted = "blank"\nprivate = "blank"\nunknown = "blank"\n'
    veil = dcmveil.Veil(site.write(text), key=KEY, accept_cut_pixels=True)
    pictures = 0
    for name, path in corpus.files():
        try:
            old = pixel_array(path, index=0)
        except Exception:  # no image, or one that no reader can decode
            continue
        try:
            new = veil.bytes(path.read_bytes())
        except dcmveil.DicomError:
            continue
        array = pixel_array(io.BytesIO(new), index=0)
        assert array.dtype == old.dtype, name
        assert array.tobytes() == old.tobytes(), name
        before, after = pydicom.dcmread(path), pydicom.dcmread(io.BytesIO(new))
        assert after.get("NumberOfFrames") == before.get("NumberOfFrames"), name
        for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            assert after.get(keyword) == before.get(keyword), name  # and so the other frames
        pictures += 1
    assert pictures > 100


def test_the_examples_of_the_documentation_are_right(site: Site) -> None:
    text = (Path(__file__).parents[1] / "docs" / "profiles.md").read_text("utf-8")
    examples = text.split("```toml\n")[1:]
    assert len(examples) == 2
    for example in examples:
        draft = draft_of_file(site.write(example.partition("```")[0]))
        assert draft.freeze().rules.frozen


def test_the_documentation_names_every_word() -> None:
    text = (Path(__file__).parents[1] / "docs" / "profiles.md").read_text("utf-8")
    for word in (*NAMES, *OPTIONS, *OPTIONS.values(), *EDITIONS, *WORDS, *PSEUDONYM_KINDS):
        assert word in text, word
