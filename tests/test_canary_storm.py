"""The short form of the storm: `make canaries` is the long one."""

from __future__ import annotations

import dcmveil
from canary_storm import one, storm
from expectations import KEY, Setting


def test_a_few_hundred_files() -> None:
    said: list[str] = []
    outcomes, findings = storm(7, 0, 600, said.append)
    assert said == []
    assert findings == 0
    assert outcomes["rewritten"] > 590


def test_a_file_can_be_made_again() -> None:
    assert one(7, 11) == one(7, 11) == "rewritten"


def test_it_finds_what_is_left(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A profile that forgets one thing is found out."""
    for forgets in ("retain-uids", "retain-device-identity", "clean-descriptors"):
        profile = dcmveil.load_profile("basic", ("retain-safe-private", forgets), None)
        lax = dcmveil.Veil(profile, key=KEY)
        monkeypatch.setattr(Setting, "veil", lambda setting, lax=lax: lax)
        assert storm(7, 0, 60, lambda finding: None)[1] > 5
