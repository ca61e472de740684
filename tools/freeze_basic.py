"""Freeze the profile basic beforehand, for `dcmveil.profile.frozen`. After a change to its tables:

    python tools/freeze_basic.py            write the file
    python tools/freeze_basic.py --check    exit 1 if the committed file would change

The lines of the file are the rules of the newest edition without options, as the core takes them;
above them stand the digest of the profile, its literals and its actions by VR.
"""

import sys
from pathlib import Path

from dcmveil import core
from dcmveil.profile import draft_of
from dcmveil.profile.frozen import BASIC, SOURCES, stamp
from dcmveil.profile.model import ACTIONS, Codes, Draft, literal_of
from dcmveil.profile.tables_io import read_bytes

FILE = Path(__file__).resolve().parents[1] / "src" / "dcmveil" / "profile" / "tables" / BASIC


def frozen(draft: Draft) -> bytes:
    """The file for a draft. Raises ValueError for one that has more than the file can say."""
    plain = Draft("")
    for name in ("unlisted", "unknown", "private_default", "walk_private", "private", "paths",
                 "honours_characteristics", "shift_days"):  # fmt: skip
        if getattr(draft, name) != getattr(plain, name):
            raise ValueError(f"{name} cannot be frozen beforehand")
    rules = core.Rules(unknown=ACTIONS[draft.unknown])
    rules.load(read_bytes("dictionary.txt"), read_bytes("private_dictionary.txt"))
    codes = Codes(rules)
    lines = draft.lines(codes, rules)
    head = [f"# {draft.title}: tag, VR, action, action in a blanked sequence, argument"]
    head += [f"digest {draft.freeze().digest.hex()}"]
    for word, (action, _) in codes.items():  # in the order of their numbers
        if action == core.LITERAL:
            data, when_short = literal_of(word)
            head.append(f"literal {when_short} {data.decode()}")
    head += [f"vr {vr} {ACTIONS[row.action]}" for vr, row in draft.by_vr.items()]
    rest = "\n".join(head).encode() + b"\n\n" + lines
    return stamp(rest, [read_bytes(name) for name in SOURCES]) + b"\n" + rest


def main(arguments: list[str]) -> int:
    data = frozen(draft_of("basic"))
    if arguments == ["--check"]:
        if not FILE.is_file() or FILE.read_bytes() != data:
            print(f"{FILE.name}: differs from what would be frozen", file=sys.stderr)
            return 1
        return 0
    FILE.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
