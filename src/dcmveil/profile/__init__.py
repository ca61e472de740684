"""Profiles: what PS3.15 Annex E and others ask for, as rules that the core can look up.

A profile is read from the tables beside this file and from files of the user, put together as a
Draft, and frozen. Nothing here knows an input.
"""

from __future__ import annotations

from ..errors import UsageError
from .frozen import EDITION, Profile, frozen_basic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .builtin import EDITIONS, NAMES, OPTIONS, draft_of
    from .model import Draft, Row

__all__ = ["EDITION", "EDITIONS", "NAMES", "OPTIONS", "Draft", "Profile", "Row", "draft_of", "load"]


def load(
    name: str = "basic", options: tuple[str, ...] | list[str] = (), edition: str | None = None
) -> Profile:
    """The profile of that name, or of a file that ends in `.toml`, frozen.

    options   of PS3.15 Table E.1-1, such as "retain-uids"
    edition   of PS3.15, such as "2023b", for the profile basic

    Raises UsageError, for a file with its name, line and what was meant.
    """
    if name == "basic" and not options and edition in (None, EDITION):
        profile = frozen_basic()
        if profile is not None:
            return profile
    if name.endswith(".toml"):
        from .language import draft_of_file

        draft = draft_of_file(name, tuple(options), edition)
    else:
        from .builtin import draft_of

        draft = draft_of(name, tuple(options), edition)
    try:
        return draft.freeze()
    except ValueError as error:  # a limit of the rule table that nobody thought of
        raise UsageError(f"{name}: more rules than can be held ({error})") from None


def __getattr__(name: str) -> object:
    """What only a draft needs is imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import builtin

    value: object = getattr(builtin, name)
    globals()[name] = value
    return value
