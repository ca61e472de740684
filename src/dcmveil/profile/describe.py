"""A profile as people and programs read it: a table, Markdown, or JSON.

The JSON is stable: keys are added, none changes its meaning while `format` stays.
"""

from __future__ import annotations

from .model import Draft, Row
from .names import Names, shown

FORMAT = 1
_WIDEST = 44  # characters of a column of the table; the few longer cells push the next one on
_WHEN_SHORT = {"set": "cut", "set-or-keep": "keep", "set-or-blank": "blank"}

Cells = dict[str, object]


def described(draft: Draft, names: Names) -> dict[str, object]:
    """All of a profile, as JSON has it (see docs/profiles.md)."""
    return {
        "format": FORMAT,
        "name": draft.name,
        "title": draft.title,
        "base": draft.base,
        "edition": draft.edition,
        "options": list(draft.options),
        "codes": list(draft.codes),
        "digest": draft.freeze().digest.hex(),
        "unlisted": draft.unlisted,
        "unknown": draft.unknown,
        "private": private_word(draft),
        "shift-days": list(draft.shift_days),
        "rules": [_of_tag(row, names) for row in sorted(draft.rows.values(), key=_by_tag)],
        "path-rules": [
            {
                "path": [shown(f"{tag:08X}") for tag in path],
                "keyword": "/".join(_called(f"{tag:08X}", names) for tag in path),
                **_of_action(row),
            }
            for path, row in draft.paths.items()
        ],
        "vr-rules": [{"vr": vr, **_of_action(row)} for vr, row in sorted(draft.by_vr.items())],
        "private-rules": [
            {
                "group": f"{group:04X}",
                "creator": creator,
                "element": f"{low:02X}",
                "vr": row.vr or "",
                **_of_action(row),
            }
            for (creator, group, low), row in sorted(draft.private.items())
        ],
        "inside-blanked-sequences": [
            _of_tag(row, names) for row in sorted(draft.structure.values(), key=_by_tag)
        ],
    }


def private_word(draft: Draft) -> str:
    """What the profile says of private attributes: keep, blank or safe."""
    return "safe" if draft.honours_characteristics else draft.private_default


def action_words(row: Row) -> str:
    """The action of a row in one cell."""
    verb, _, argument = row.action.partition(":")
    if verb in _WHEN_SHORT:
        short = {"cut": "", "keep": ", or keep", "blank": ", or blank"}[_WHEN_SHORT[verb]]
        return f'set "{argument}"{short}'
    return f"{verb} ({argument})" if argument else verb


def _of_action(row: Row) -> Cells:
    verb, _, argument = row.action.partition(":")
    cells: Cells = {"action": "set" if verb in _WHEN_SHORT else verb}
    if argument:
        cells["argument"] = argument
    if verb in _WHEN_SHORT:
        cells["too-long"] = _WHEN_SHORT[verb]
    cells["source"] = row.source
    return cells


def _of_tag(row: Row, names: Names) -> Cells:
    return {
        "tag": shown(row.pattern),
        "keyword": names.keyword_of(row.pattern),
        "vr": names.vr_of(row.pattern) or row.vr or "",
        **_of_action(row),
    }


def _by_tag(row: Row) -> str:
    return row.pattern


def _called(tag: str, names: Names) -> str:
    return names.keyword_of(tag) or shown(tag)


# -- tables ----------------------------------------------------------------------------------

_HEAD = ["tag", "VR", "keyword", "action", "where from"]


def tables(draft: Draft, names: Names) -> list[tuple[str, list[list[str]]]]:
    """Titled tables, the first row of each its head."""

    def of_tags(rows: dict[str, Row]) -> list[list[str]]:
        return [
            [
                shown(row.pattern),
                names.vr_of(row.pattern) or row.vr or "",
                names.keyword_of(row.pattern),
                action_words(row),
                row.source,
            ]
            for row in sorted(rows.values(), key=_by_tag)
        ]

    places = [
        ["/".join(_called(f"{tag:08X}", names) for tag in path), action_words(row), row.source]
        for path, row in draft.paths.items()
    ]
    by_vr = [[vr, action_words(row), row.source] for vr, row in sorted(draft.by_vr.items())]
    private = [
        [f"{group:04X}", creator, f"{low:02X}", row.vr or "", action_words(row), row.source]
        for (creator, group, low), row in sorted(draft.private.items())
    ]
    found = [
        ("Attributes", [_HEAD, *of_tags(draft.rows)]),
        ("Attributes in one place", [["place", "action", "where from"], *places]),
        ("Attributes that no row names, by VR", [["VR", "action", "where from"], *by_vr]),
        (
            "Private attributes",
            [["group", "creator", "low byte", "VR", "action", "where from"], *private],
        ),
        ("Inside a blanked sequence", [_HEAD, *of_tags(draft.structure)]),
    ]
    return [(title, rows) for title, rows in found if len(rows) > 1]


def heading(draft: Draft) -> list[str]:
    """The lines above the tables."""
    least, most = draft.shift_days
    moved = any(row.action == "shift" for row in (*draft.rows.values(), *draft.by_vr.values()))
    lines = [
        f"{draft.name}: {draft.title}",
        f"options: {', '.join(draft.options) or 'none'}",
        f"attributes that no row names: {draft.unlisted}; not in the dictionary: {draft.unknown}; "
        f"private: {private_word(draft)}",
    ]
    return [*lines, f"dates move by {least} to {most} days"] if moved else lines


def as_text(draft: Draft, names: Names) -> str:
    """Columns for a terminal."""
    lines = heading(draft)
    for title, rows in tables(draft, names):
        widths = [min(max(len(row[i]) for row in rows), _WIDEST) for i in range(len(rows[0]))]
        lines += ["", title, ""]
        for row in rows:
            cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def as_markdown(draft: Draft, names: Names) -> str:
    first, *rest = heading(draft)
    lines = [f"# {first}", "", *(f"* {line}" for line in rest)]
    for title, rows in tables(draft, names):
        lines += ["", f"## {title}", "", *markdown_table(rows)]
    return "\n".join(lines) + "\n"


def markdown_table(rows: list[list[str]]) -> list[str]:
    """The lines of a table, the first row its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
