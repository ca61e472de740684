"""A TOML file as statements with their lines.

tomllib tells no lines, and stops at the first fault. So each statement is given to it alone: a
line, and the lines after it while an array or a text is open.
"""

from __future__ import annotations

import re
import tomllib

_LONGEST = 200  # lines of one statement; what is open for longer was never closed

_POSITION = re.compile(r" \(at .*\)$")
_PRIVATE_KEY = re.compile(r"""\s*["(]?\(?[0-9A-F]{4}[\s,]*["(]""", re.I)
_TAG_KEY = re.compile(r"\s*\(?[0-9A-Fx]{4}\s*,", re.I)
_VR_KEY = re.compile(r"\s*VR\s+\w+\s*=")
_PATH_KEY = re.compile(r"\s*\w+(\s*/\s*\w+)+\s*=")
_BARE_VALUE = re.compile(r"[^=]*=\s*([A-Za-z][\w-]*)\s*(#.*)?$")
_BARE_IN_LIST = re.compile(r"\s*([A-Za-z][\w-]*)\s*,?\s*(#.*)?$")
_STATEMENT = re.compile(r"""\s*(\[|[\w"'(].*=)""")
_COLON = re.compile(r"""\s*(["']?[\w(),/ ]+["']?)\s*:\s*["']?([^"']*)""")
_ODD_QUOTES = re.compile("[\u2018\u2019\u201c\u201d\u201e]")
_HEADER = re.compile(r"\[+\s*([\w-]+)")


class Statement:
    """One value, with its whole key and the line it begins on."""

    def __init__(self, line: int, key: tuple[str, ...], value: object) -> None:
        self.line = line
        self.key = key
        self.value = value


Fault = tuple[int, str]  # line, what is wrong


class Toml:
    """The values of a file, `line_of` each key, and the faults of its syntax."""

    def __init__(self, text: str) -> None:
        self.values: dict[str, object] = {}
        self.faults: list[Fault] = []
        statements, self.line_of = _statements(text, self.faults)
        for statement in statements:
            self._add(statement)
        if not self.faults:
            # what the statements do not show one by one
            try:
                tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                line = _line_in(error) or text.count("\n") + 1
                self.faults.append((line, _reason(error)))

    def _add(self, statement: Statement) -> None:
        table = self.values
        for n, part in enumerate(statement.key, 1):
            key = statement.key[:n]
            here = table.get(part)
            last = n == len(statement.key)
            if here is not None and (last or not isinstance(here, dict)):
                what = "two rules for one attribute: " if key[0] == "rules" else ""
                self.faults.append(
                    (statement.line, f"{what}{part} stands on line {self.line_of[key]} already")
                )
                return
            self.line_of.setdefault(key, statement.line)
            if last:
                table[part] = statement.value
            else:
                inner: dict[str, object] = table.setdefault(part, {})  # type: ignore[assignment]
                table = inner


def _statements(
    text: str, faults: list[Fault]
) -> tuple[list[Statement], dict[tuple[str, ...], int]]:
    """The values in order, and the lines of the tables' headers."""
    found: list[Statement] = []
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    table: tuple[str, ...] = ()
    headers: dict[tuple[str, ...], int] = {}
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        number = at + 1
        at += 1
        if not line or line.startswith("#"):
            continue
        parsed, end = _parse(lines, at)
        if isinstance(parsed, Exception):
            faults.append(_fault(parsed, lines, at, end))
            header = _HEADER.match(line)
            table = (header[1],) if header else table
            at = _next_statement(lines, at, end)
            continue
        at = end
        if not line.startswith("["):
            found += [Statement(number, (*table, *key), value) for key, value in _leaves(parsed)]
            continue
        table = _only_key(parsed)
        if line.startswith("[["):
            faults.append((number, f"there is one table {table[0]}: write [{table[0]}]"))
        elif table in headers:
            first = headers[table]
            faults.append((number, f"[{'.'.join(table)}] stands on line {first} already"))
        headers.setdefault(table, number)
    return found, headers


def _parse(lines: list[str], at: int) -> tuple[dict[str, object] | Exception, int]:
    """The statement that begins on the line before index `at`, or why it is none; and the index of
    the first line after what was read."""
    statement = lines[at - 1]
    for end in range(at, at + _LONGEST):
        try:
            return tomllib.loads(statement + "\n"), end
        except RecursionError:
            return EOFError("lists and tables nested too deep"), end
        except tomllib.TOMLDecodeError as error:
            if "at end of document" not in str(error):
                return error, end
            if end >= len(lines):
                break
            statement += "\n" + lines[end]
    return EOFError("a list or a text is not closed"), at


def _fault(error: Exception, lines: list[str], at: int, end: int) -> Fault:
    line = at - 1 + (_line_in(error) or 1)
    text = lines[line - 1].strip()
    if line == at:
        return line, _meant(text) or _reason(error)
    bare = _BARE_IN_LIST.match(text)
    return line, f'put the word in quotes: "{bare[1]}"' if bare else _reason(error)


def _next_statement(lines: list[str], at: int, end: int) -> int:
    """Where to go on after a fault: what is left of a list that spans lines is passed over."""
    if end > at:
        while end < len(lines) and not _STATEMENT.match(lines[end]):
            end += 1
    return end


def _leaves(table: dict[str, object]) -> list[tuple[tuple[str, ...], object]]:
    """The values of nested tables, each with its whole key; an empty table is a value."""
    leaves: list[tuple[tuple[str, ...], object]] = []
    for key, value in table.items():
        if isinstance(value, dict) and value:
            leaves += [((key, *inner), leaf) for inner, leaf in _leaves(value)]
        else:
            leaves.append(((key,), value))
    return leaves


def _only_key(parsed: object) -> tuple[str, ...]:
    """The key of a table's header."""
    key: tuple[str, ...] = ()
    while parsed:
        if isinstance(parsed, list):
            parsed = parsed[0]
            continue
        assert isinstance(parsed, dict)
        part, parsed = next(iter(parsed.items()))
        key += (part,)
    return key


# -- words for faults ------------------------------------------------------------------------


def _meant(line: str) -> str:
    """What was probably meant by a line that is no TOML; empty: no idea."""
    header = _HEADER.match(line)
    if header and "]" not in line:
        return f"a table is not closed: write [{header[1]}]"
    key, equals, value = (part.strip() for part in line.partition("="))
    if _ODD_QUOTES.search(line):
        return 'not the quotes of TOML: write " for them'
    if _PRIVATE_KEY.match(line):
        key = key.removeprefix('"').removesuffix('"')
        return f"put the private attribute in single quotes: '{key}'"
    if _TAG_KEY.match(line):
        return f'put the tag in quotes: "{key}"'
    if _VR_KEY.match(line):
        return f'put the rule by VR in quotes: "{key}"'
    if _PATH_KEY.match(line):
        return f'put the path in quotes: "{key}"'
    bare = _BARE_VALUE.match(line)
    if bare:
        return f'put the word in quotes: "{bare[1]}"'
    colon = _COLON.match(line)
    if colon and not equals:
        return f'write = for the colon: {colon[1]} = "{colon[2]}"'
    if value.startswith("{") and ":" in value:
        return 'write = for the colon: { set = "TEXT" }'
    if not equals and not line.startswith("["):
        return 'a line is KEY = VALUE, such as PatientID = "blank"'
    return ""


def _reason(error: Exception) -> str:
    reason = _POSITION.sub("", str(error))
    if not isinstance(error, tomllib.TOMLDecodeError):
        return reason
    if "illegal character '\\n'" in reason.lower():
        return "not TOML: a closing quote is missing"
    return f"not TOML: {reason[:1].lower()}{reason[1:]}"


def _line_in(error: Exception) -> int:
    """The line that an error tells, from 1; 0: none."""
    match = re.search(r"at line (\d+)", str(error))
    return int(match[1]) if match else 0
