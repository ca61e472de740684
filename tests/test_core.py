"""What the compiled face asks of its caller, and what becomes of a failed machine."""

from __future__ import annotations

import pytest

from build import E, Fragments, Item, encode
from cases import Refusal, check_case, veil
from dcmveil import DicomError, core

MODALITY = E(0x00080060, "CS", "MR")
UID = E(0x0020000D, "UI", "1.2.3.4")
DATA = encode([MODALITY, UID])


def no_answers(asks: list[core.Ask]) -> list[core.Answer]:
    raise AssertionError(asks)


def rewriter(answer: object = no_answers, **how: bool) -> core.Rewriter:
    return core.Rewriter(veil().profile.rules, answer, **how)  # type: ignore[arg-type]


def test_rules_must_be_frozen() -> None:
    with pytest.raises(ValueError, match="not frozen"):
        core.Rewriter(core.Rules(), no_answers)


@pytest.mark.parametrize("filled", [len(DATA) + 1, 1 << 62])
def test_no_step_outside_the_window(filled: int) -> None:
    with pytest.raises(ValueError, match="outside the window"):
        rewriter().step(bytearray(DATA), filled, True)


def test_no_step_on_bytes_that_were_dropped() -> None:
    machine = rewriter(scout=True)
    machine.drop(1)
    with pytest.raises(ValueError, match="outside the window"):
        machine.step(bytearray(DATA), len(DATA), True)


def test_done_stays_done() -> None:
    window = bytearray(encode([MODALITY]))
    machine = rewriter()
    assert [machine.step(window, len(window), True) for _ in range(3)] == [core.DONE] * 3


def test_failed_stays_failed() -> None:
    machine = rewriter()
    window = bytearray(encode([MODALITY]) + b"\xff" * 9)
    seen = []
    for call in (lambda: machine.step(window, len(window), True), lambda: machine.cut(3)) * 2:
        with pytest.raises(DicomError) as caught:
            call()
        seen.append(caught.value)
    assert all(error is seen[0] for error in seen)


@pytest.mark.parametrize("new", [b"1.2", b"1.2.3.4.5.6.7"])
def test_an_answer_of_another_length(new: bytes) -> None:
    """It would move all that follows: the window stays as it was there, and nothing goes on."""
    window = bytearray(DATA)
    machine = rewriter(lambda asks: [new] * len(asks))
    for _ in range(2):
        with pytest.raises(ValueError, match="length"):
            machine.step(window, len(window), True)
    assert window == DATA


# -- how much a rule table holds -----------------------------------------------------------------


def test_literals_are_few_and_short() -> None:
    rules = core.Rules()
    with pytest.raises(ValueError, match="literal"):
        rules.literal(bytes(1025), core.CUT)
    with pytest.raises(ValueError, match="literal"):
        rules.literal(b"YES", core.CLEAR + 1)
    assert [rules.literal(b"%d" % i, core.CUT) for i in range(64)] == list(range(64))
    with pytest.raises(ValueError, match="literal"):
        rules.literal(b"one more", core.CUT)


def test_path_rules_have_a_limit() -> None:
    rules = core.Rules()
    for scope in (256, -1):
        with pytest.raises(ValueError, match="path rule"):
            rules.set_scope(0, 0x00081115, core.BLANK, 0, scope)
    for tag in range(3001):
        rules.set_scope(0, tag, core.BLANK, 0, 0)
    with pytest.raises(ValueError, match="path rule"):
        rules.set_scope(0, 3001, core.BLANK, 0, 0)


def test_dictionaries_are_loaded_once_and_first() -> None:
    rules = core.Rules()
    with pytest.raises(ValueError, match="private rule"):
        rules.set_private("ACME", 0x0009, 1, core.KEEP)
    rules.load(b"00080060 CS\n", b"@ACME\n0009 01 LO\n")
    with pytest.raises(ValueError, match="private dictionary"):
        rules.load(b"", b"@ACME\n0009 01 LO\n")


def test_no_literal_for_a_vr() -> None:
    """A literal belongs to a row: for a VR there is none to point to."""
    rules = core.Rules()
    rules.load(b"00080060 CS\n", b"")
    rules.set_vr("DA", core.LITERAL)
    with pytest.raises(ValueError, match="rule table"):
        rules.freeze()


# -- corners of the grammar that no other test comes to ------------------------------------------


def deep(inner: bytes, levels: int) -> bytes:
    for _ in range(levels):
        inner = encode([E(0x00081199, "SQ", [Item([inner])])])
    return inner


def test_fragments_in_the_deepest_item() -> None:
    inner = encode([E(0x0072007C, "OB", Fragments([b"ab"]))])
    result = check_case(encode([MODALITY]) + deep(inner, 127))
    assert isinstance(result, bytes)
    result = check_case(encode([MODALITY]) + deep(inner, 128))
    assert isinstance(result, Refusal)
    assert result.fault == "TOO_DEEP"


@pytest.mark.parametrize("vr", ["DA", "DT", "TM", "PN", "UR", "OB", "CS"])
def test_a_sequence_by_the_dictionary_in_another_vr(vr: str) -> None:
    """Nothing of it stays, and the twin agrees on what is there instead."""
    result = check_case(encode([MODALITY, E(0x00081199, vr, b"20240229101530  ")]))
    assert isinstance(result, bytes)
    assert b"2024" not in result


def un(value: bytes) -> bytes:
    return encode([MODALITY, E(0x00091001, "UN", value)])


def test_items_that_end_in_the_middle_of_a_long_header() -> None:
    """They do not tile, so the value is a leaf."""
    torn = b"\x08\0\x70\0OB\0\0" + b"\4\0"
    value = encode([E(0x00081115, "SQ", [Item([torn])])])[12:]
    result = check_case(un(value))
    assert result == un(bytes(len(value)))


@pytest.mark.parametrize("levels", [64, 65])
def test_how_deep_a_value_is_tried_for_items(levels: int) -> None:
    inner = encode([MODALITY], "implicit-le")
    for _ in range(levels):
        sequence = E(0x00081115, "SQ", [Item([inner], undefined=True)], undefined=True)
        inner = encode([sequence], "implicit-le")
    value = inner[8:-8]  # its items
    result = check_case(un(value))
    assert isinstance(result, bytes)
    assert (result == un(bytes(len(value)))) == (levels > 64)


def test_misplaced_creator_that_is_long() -> None:
    """Longer than a value is held to see whether it holds items."""
    start = b"\xfe\xff\0\xe0\0\0\0\0"
    long = start + bytes((4 << 20) - 4)
    later = E(0x00090011, "LO", "ACME")
    result = check_case(encode([MODALITY, later, E(0x00090010, "UN", long)]), splits=2)
    assert isinstance(result, Refusal)
    assert result.fault == "MISPLACED"
