"""The extension modules. Everything else stands in pyproject.toml.

DCMVEIL_SANITIZE=1  address and undefined-behaviour sanitizers, for tests and fuzzing
DCMVEIL_TRACE=1     line tracing, for coverage of ext/
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZE = os.environ.get("DCMVEIL_SANITIZE") == "1"
TRACE = os.environ.get("DCMVEIL_TRACE") == "1"

NAMES = ["rules", "trial", "state", "content", "machine", "values", "core"]
compile_args = ["-O3", "-Wall", "-Wno-unused-function", "-Wno-unreachable-code"]
link_args: list[str] = []
macros: list[tuple[str, str | None]] = []
if SANITIZE:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compile_args = ["-O1", "-g", "-fno-omit-frame-pointer", *flags]
    link_args = flags
if TRACE:
    macros = [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]

extensions = [
    Extension(
        f"dcmveil.{name}",
        [f"ext/dcmveil/{name}.pyx"],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        define_macros=macros,
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
            "linetrace": TRACE,
            "embedsignature": True,
        },
    ),
)
