"""Libraries of C that a process loads first, to stand between it and the system.

What is compiled makes its calls without Python, so nothing can be put in their place there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def library(folder: Path, source: str) -> Path:
    """The path of a library with these functions, for LD_PRELOAD."""
    if os.environ.get("LD_PRELOAD"):  # a sanitizer wants to be the first itself
        pytest.skip("another library is loaded first")
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler here, or no library can be loaded first")
    text = folder / "preloaded.c"
    text.write_text(source)
    made = text.with_suffix(".so")
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, text, "-ldl"]
    subprocess.run(command, check=True)
    return made
