"""dcmveil as a library: a process that has a Veil, and treats one folder after the other.

Each line of its input has a target, or a target, a tab and a source; it answers with the seconds
that took. What it costs to start Python, to import and to make the Veil is no part of them.
"""

from __future__ import annotations

import os
import sys
import time

import dcmveil
from dcmveil.keys import read_key


def main() -> None:
    veil = dcmveil.Veil(key=read_key(os.environ["DCMVEIL_KEY_FILE"]))
    for line in sys.stdin:
        target, _, source = line.rstrip("\n").partition("\t")
        start = time.perf_counter()
        done = veil.tree(source, target) if source else veil.tree(target)
        seconds = time.perf_counter() - start
        if not done.all_done:
            sys.exit("not all files were treated")
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
