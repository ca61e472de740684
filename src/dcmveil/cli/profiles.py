"""dcmveil profile: list, show, check."""

from __future__ import annotations

import sys

from ..errors import UsageError
from ..profile import EDITION, EDITIONS, NAMES, OPTIONS, Draft, draft_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Plan

FORMATS = ("table", "json", "markdown")


def list_profiles(plan: Plan) -> int:
    """What ships."""
    lines = ["profiles"]
    lines += [f"  {name:8}  {draft_of(name).title}" for name in NAMES]
    lines += ["", "options (of basic, and of sup142 but for retain-institution-identity)"]
    lines += [f"  {option:34}  code {code} of CID 7050" for option, code in OPTIONS.items()]
    editions = [f"{edition} (default)" if edition == EDITION else edition for edition in EDITIONS]
    lines += ["", "editions of PS3.15 (of basic)", f"  {', '.join(editions)}"]
    _write("\n".join(lines) + "\n")
    return 0


def show_profile(plan: Plan) -> int:
    """Every row of a profile, or its conformance statement."""
    from ..profile.names import Names

    draft = _draft(plan.profile, tuple(plan.options), plan.edition)
    names = Names()
    if plan.conformance:
        from ..profile.conformance import statement

        _write(statement(draft, names))
        return 0
    from ..profile import describe

    if plan.format == "json":
        import json

        _write(json.dumps(describe.described(draft, names), indent=1, ensure_ascii=False) + "\n")
    elif plan.format == "markdown":
        _write(describe.as_markdown(draft, names))
    else:
        _write(describe.as_text(draft, names))
    return 0


def check_profile(plan: Plan) -> int:
    """Whether a profile file is right: its mistakes go to standard error, one a line."""
    from ..profile.language import read_file

    try:
        file = read_file(plan.profile)
        file.draft.freeze()
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except ValueError as error:  # a limit of the rule table that nobody thought of
        print(f"{plan.profile}: more rules than can be held ({error})", file=sys.stderr)
        return 2
    count = len(file.rules)
    rules = "1 rule" if count == 1 else f"{count} rules"
    _write("\n".join([f"{plan.profile}: ok, {rules}", *file.notes]) + "\n")
    return 0


def _draft(name: str, options: tuple[str, ...], edition: str | None) -> Draft:
    if not name.endswith(".toml"):
        return draft_of(name, options, edition)
    from ..profile.language import draft_of_file

    return draft_of_file(name, options, edition)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()  # a closed pipe is seen here, not at exit
