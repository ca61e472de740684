"""What outputs are called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmveil import DicomError, Report, UsageError
from dcmveil.faces.names import Names

KEY = bytes(range(32))
MAC = "[0-9a-f]{32}"


def report(patient: str = "", study: str = "", series: str = "", instance: str = "") -> Report:
    made = Report()
    made.patient_id, made.study, made.series, made.instance = patient, study, series, instance
    return made


FULL = report("ANON 7", "2.25.1", "2.25.2", "2.25.3")


def name(template: str | None = None, of: Report = FULL, relative: bytes = b"a/b.dcm") -> bytes:
    return Names(template, key=KEY).name(of, relative)


def test_the_default_is_made_of_new_uids() -> None:
    assert name() == b"2.25.1/2.25.2/2.25.3.dcm"


def test_every_field() -> None:
    template = "{PatientID}/s-{StudyInstanceUID}_{SeriesInstanceUID}/{SOPInstanceUID}/{Mac}"
    mac = Names(key=KEY).mac(b"a/b.dcm")
    assert name(template) == b"ANON_7/s-2.25.1_2.25.2/2.25.3/" + mac.encode()


def test_missing_values() -> None:
    names = Names("{PatientID}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}", key=KEY)
    one, two = (names.name(report(), path) for path in (b"a", b"b"))
    expected = f"no-patient/no-study/no-series/no-instance-{names.mac(b'a')}"
    assert one.decode() == expected
    assert one != two


def test_the_mac_is_keyed_and_pinned() -> None:
    names = Names(key=KEY)
    assert names.mac(b"a/b.dcm") == "dec8744ddd6f5bb5aef4ae7c21952099"
    assert names.mac(b"a/c.dcm") != names.mac(b"a/b.dcm")
    assert Names(key=KEY[::-1]).mac(b"a/b.dcm") != names.mac(b"a/b.dcm")


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ("..", "_."),
        (".", "_"),
        (".hidden", "_hidden"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("a/b\\c:d", "a_b_c_d"),
        ("a\nb\0c", "a_b_c"),
        ("\u00e9", "__"),
        ("x" * 300, "x" * 64),
    ],
)
def test_values_become_safe(value: str, safe: str) -> None:
    assert name("{PatientID}", report(value)).decode() == safe


@given(*[st.text(max_size=400)] * 4, st.binary(max_size=20))
def test_any_value_gives_a_safe_path(a: str, b: str, c: str, d: str, relative: bytes) -> None:
    a, b, c, d = (x.encode(errors="replace").decode() for x in (a, b, c, d))
    template = "{PatientID}/{StudyInstanceUID}{SeriesInstanceUID}{SOPInstanceUID}{PatientID}.dcm"
    made = name(template, report(a, b, c, d), relative)
    first, second = made.split(b"/")
    for component in (first, second):
        assert re.fullmatch(rb"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", component)
    assert second.endswith(b".dcm")


_FIELDS = ["{PatientID}", "{StudyInstanceUID}", "{SeriesInstanceUID}", "{SOPInstanceUID}", "{Mac}"]
_COMPONENTS = st.lists(
    st.one_of(st.sampled_from(_FIELDS), st.sampled_from(["a", "-", "x.y", "_" * 90])), min_size=1
).map("".join)
_VALUES = st.one_of(
    st.sampled_from(["", ".", "1.2", "ANON 7", "7" * 64]), st.text("a1./", max_size=80)
)


@given(st.lists(_COMPONENTS, min_size=1, max_size=3), st.tuples(*[_VALUES] * 3), st.data())
def test_names_of_a_series_are_alike_around_their_uid(
    components: list[str], shared: tuple[str, str, str], data: st.DataObject
) -> None:
    """Where it is said what stands around the UID, that is the name; where it is not, the name is
    of more than that, or may be too long."""
    names = Names("/".join(components), key=KEY)
    around = names.around_instance(report(*shared))
    uids = data.draw(st.lists(st.from_regex(r"[0-9][0-9.]{0,63}", fullmatch=True), min_size=2))
    for number, uid in enumerate(uids):
        made = names.name(report(*shared, uid), b"%d" % number)
        if around is not None:
            before, behind = around
            assert before + uid.encode() + behind == made
    varying = re.findall(r"{(SOPInstanceUID|Mac)}", "/".join(components))
    at_the_end = "{SOPInstanceUID}" in components[-1]
    if around is None:
        longest = names.name(report(*shared, "8" * 64), b"").decode()
        shortened = re.search(f"-{MAC}", longest)
        assert shortened or varying != ["SOPInstanceUID"] or not at_the_end
    else:
        assert varying == ["SOPInstanceUID"]
        assert at_the_end


def test_what_is_around_a_uid_leaves_room_for_the_longest() -> None:
    for length, fits in ((191, True), (192, False)):
        template = "y" * (length - 4) + "{SOPInstanceUID}.dcm"
        made = name(template, report(instance="8" * 64))
        assert (b"8" * 64 + b".dcm" in made) == fits
        assert (Names(template, key=KEY).around_instance(FULL) is not None) == fits


def test_kept_names_have_nothing_around_a_uid() -> None:
    assert Names(keep=True, key=KEY).around_instance(FULL) is None


def test_long_components_stay_apart_and_keep_their_ending() -> None:
    template = "{PatientID}_{StudyInstanceUID}_{SeriesInstanceUID}_{SOPInstanceUID}.dcm"
    one, two = (name(template, report("p" * 64, "1" * 64, "2" * 64, x * 64)) for x in "34")
    assert len(one) == len(two) == 255
    assert one != two
    assert re.fullmatch(f".*-{MAC}\\.dcm", one.decode())


@pytest.mark.parametrize(
    "template",
    [
        "", "/", "/abs/{Mac}", "a//b", "a/", "..", "../{Mac}", "{Mac}/..", ".", "./{Mac}",
        ".{Mac}", "{Patient}", "{patientid}", "{}", "{Mac", "Mac}", "{{Mac}}", "{Mac}}", "a\0b",
        "{Number}", "{PatientID!r}", "{PatientID:>3}",
    ],
)  # fmt: skip
def test_wrong_templates(template: str) -> None:
    with pytest.raises(UsageError, match="template for names"):
        Names(template, key=KEY)


def test_kept_names() -> None:
    names = Names(keep=True, key=KEY)
    for path in (b"a", b"a/b.dcm", b".hidden", b"a..b/...", b"caf\xc3\xa9 \xff\n", b"a\\b..\\c"):
        assert names.name(FULL, path) == path
    for path in (b"./a//b/./c", b"a//b/c", b"a/b/./c", b"a/b/c/", b"./a/b/c"):
        assert names.name(FULL, path) == b"a/b/c"


@pytest.mark.parametrize(
    "path",
    [b"", b".", b"/", b"/a", b"..", b"a/../b", b"a/..", b"a\0b", b"..\\a", b"a\\../b", b"\\a"],
)
def test_names_that_cannot_be_kept(path: bytes) -> None:
    with pytest.raises(DicomError, match="cannot be kept"):
        Names(keep=True, key=KEY).name(FULL, path)


def test_kept_names_and_a_template_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="not both"):
        Names("{Mac}", keep=True, key=KEY)
