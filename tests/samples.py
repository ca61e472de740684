"""What the tests of the command share: a sample with its secrets, large inputs, and how the refusal
of one must look."""

from __future__ import annotations

import re

from build import E, part10, sample, sample_elements

KEY = bytes(range(32))
SAMPLE = sample()
# Every value of the sample that could lead to a person or a place.
SECRETS = [
    "DOE", "JOHANNA", "HOSP-004711", "19610704", "ACC-778812", "PACSHEAD", "WARD7MR", "WHITE",
    "Elsewhere", "OPERATOR", "OLD-99812", "SN-332211", "20240229", "1.2.826.0.1.36",
    "Daughter",
]  # fmt: skip
MIB = 1 << 20


def big(size: int, cut: int = 0) -> bytes:
    """The sample with native pixel data of `size` bytes, `cut` bytes short at the end."""
    elements = [e for e in sample_elements() if isinstance(e, E) and e.tag < 0x7FE00010]
    data = part10([*elements, E(0x7FE00010, "OW", bytes(range(256)) * (size // 256))])
    return data[: len(data) - cut]


LATE = big(4 * MIB, cut=2)  # rewritten and written out in part before the error is met


def assert_refused(code: int, err: str, *, offset: bool = True) -> None:
    """Exit 1 and exactly one line for a person, that says where, and shows no value."""
    assert code == 1
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert err.startswith("dcmveil: ")
    if offset:
        assert re.match(r"dcmveil: offset [0-9]+[,:]", err), err
    assert not [secret for secret in SECRETS if secret in err]
