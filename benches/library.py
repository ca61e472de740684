"""dcmveil as a library: a process that treats one folder after the other.

Each line of its input has a target, or a target, a tab and a source; it answers with the seconds
that took. What it costs to start Python, to import and to make a Veil is no part of them. Each has
a Veil of its own: one that has seen these files before would know their UIDs.
"""

from __future__ import annotations

import os
import sys
import time

import dcmveil
from dcmveil.keys import read_key


def main() -> None:
    key = read_key(os.environ["DCMVEIL_KEY_FILE"])
    for line in sys.stdin:
        target, _, source = line.rstrip("\n").partition("\t")
        veil = dcmveil.Veil(key=key)
        start = time.perf_counter()
        done = veil.tree(source, target) if source else veil.tree(target)
        seconds = time.perf_counter() - start
        if not done.all_done:
            sys.exit("not all files were treated")
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
