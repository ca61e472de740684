"""The extension modules. Everything else stands in pyproject.toml.

DCMVEIL_SANITIZE=1  address and undefined-behaviour sanitizers, for tests and fuzzing
DCMVEIL_FUZZ=1      the same, and what guides libFuzzer; for clang
DCMVEIL_COVERAGE=1  counts of lines and branches by gcc, for coverage of ext/
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZE = os.environ.get("DCMVEIL_SANITIZE") == "1"
FUZZ = os.environ.get("DCMVEIL_FUZZ") == "1"
COVERAGE = os.environ.get("DCMVEIL_COVERAGE") == "1"

NAMES = ["rules", "trial", "state", "content", "machine", "values", "core", "keyed",
         "faces.system", "faces.records", "faces.ordinary", "faces.pipes"]  # fmt: skip
compile_args = ["-O3", "-Wall", "-Wno-unused-function", "-Wno-unreachable-code"]
link_args: list[str] = []
if SANITIZE or FUZZ:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    if FUZZ:
        flags.append("-fsanitize=fuzzer-no-link")
    compile_args = ["-O1", "-g", "-fno-omit-frame-pointer", *flags]
    link_args = flags
if COVERAGE:
    compile_args = ["-O0", "--coverage", "-fprofile-update=atomic"]
    link_args = ["--coverage"]

# without it gcc makes one loop of the two that read plain elements
more_args = {"content": ["-finline-limit=4000"]}
extensions = [
    Extension(
        f"dcmveil.{name}",
        [f"ext/dcmveil/{name.replace('.', '/')}.pyx"],
        extra_compile_args=compile_args + more_args.get(name, []),
        extra_link_args=link_args,
    )
    for name in NAMES
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["ext"],
        build_dir="build/c",
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
)
