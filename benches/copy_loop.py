"""The floor of a copy in Python: read each file of a folder whole, write it into another.

No grammar, no profile, no care for a file that is there: `python copy_loop.py SRC DST`.
"""

import os
import sys


def main(src: str, dst: str) -> None:
    for where, _, names in os.walk(src):
        there = dst + where[len(src) :]
        os.makedirs(there, exist_ok=True)
        for name in names:
            with open(f"{where}/{name}", "rb", buffering=0) as file:
                data = file.read()
            with open(f"{there}/{name}", "wb", buffering=0) as file:
                file.write(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
