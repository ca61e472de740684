"""The house keeps its shape: which part may know which, how long a module may be, what is public.

A new module has to be entered here, and then somebody has thought of where it belongs.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import dcmveil
from dcmveil import core, errors

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src/dcmveil"
EXT = ROOT / "ext/dcmveil"
LINES = 600

# src/: a part -> the parts that it may import. `__init__` is the package's own namespace.
ARROWS: dict[str, set[str]] = {
    "__main__": {"cli"},
    "__init__": {"errors", "faces", "keys", "profile", "pseudonyms", "report", "session", "veil"},
    "cli": {
        "__init__", "veil", "trees", "faces", "inspect", "reasons", "profile", "pseudonyms", "keys",
        "report", "verify", "errors",
    },
    "veil": {
        "session", "trees", "faces", "inspect", "verify", "engine", "core", "profile",
        "pseudonyms", "keys",
        "report", "errors",
    },
    "inspect": {"session", "faces", "reasons", "core", "profile", "report", "errors"},
    "verify": {"session", "faces", "inspect", "core", "deflate", "profile", "errors"},
    "reasons": {"engine", "core", "profile"},
    "characteristics": {"core"},
    "trees": {
        "__init__", "session", "faces", "inspect", "verify", "engine", "core", "report", "errors",
    },
    "faces": {"session", "core", "keyed", "keys", "report", "errors"},
    "directory": {"keys"},
    "session": {
        "engine", "core", "characteristics", "directory", "keyed", "deflate", "report", "errors",
    },
    "engine": {
        "core", "profile", "keyed", "dates", "pseudonyms", "codestreams", "documents", "errors",
    },
    "profile": {"__init__", "core", "keys", "dates", "errors"},
    "core": {"errors"},
    "keyed": {"core", "keys", "errors"},
    "keys": {"errors"},
    "dates": {"keys", "errors"},
    "pseudonyms": {"dates", "keys", "errors"},
    "deflate": {"errors"},
    "codestreams": set(),
    "documents": set(),
    "report": set(),
    "errors": set(),
}  # fmt: skip

# ext/: each may cimport only what stands behind it.
ORDER = [
    "core", "spans", "values", "machine", "content", "plain", "nesting", "trial", "state", "rows",
    "rules", "index", "vr", "tags", "digits", "wire", "recent",
]  # fmt: skip
# Mechanism without I/O, clock or environment: there is nothing else that it could call.
LIBRARIES = {"libc.stdint", "libc.stddef", "libc.stdlib", "libc.string"}
LIBRARIES_OF_CORE = LIBRARIES | {
    "cpython.buffer", "cpython.bytes", "cpython.dict", "cpython.ref", "cpython.unicode",
}  # fmt: skip
# ext/, what is compiled and stands above the core: what each may know of dcmveil, beside itself.
ARROWS_OF_COMPILED = {
    "keyed": {"digits", "keys", "errors"},
    # faces are for I/O, so they may call the system
    "faces.ordinary": {
        "faces.output", "faces.records", "faces.system", "keyed", "core", "rules", "state", "spans",
        "errors", "report",
    },
    "faces.output": {"digits", "faces.system"},
    "faces.pipes": {"faces.stream"},
    "faces.records": {"digits", "faces.system", "spans", "wire"},
    "faces.system": {"digits", "errors"},
}  # fmt: skip
LIBRARIES_OF_KEYED = LIBRARIES | {"cpython.bytes", "cpython.dict", "cpython.ref"}
LIBRARIES_OF_FACES = re.compile(r"(libc|posix|cpython)\.\w+|os|json\.encoder")


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def core_files() -> list[Path]:
    return sorted(p for p in EXT.glob("*.p[yx][xd]") if p.stem not in ARROWS_OF_COMPILED)


def compiled_above() -> list[Path]:
    return sorted(
        [p for p in EXT.glob("*.p[yx][xd]") if p.stem in ARROWS_OF_COMPILED]
        + list(EXT.glob("faces/*.p[yx][xd]"))
    )


def compiled() -> list[Path]:
    """All of ext/; test_every_compiled_file_has_its_rules says that these two are all."""
    return core_files() + compiled_above()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    """The module or subpackage right under dcmveil that a source file belongs to."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> Iterator[str]:
    """The parts of dcmveil that a source file imports anywhere in it, for types too."""
    package = ["dcmveil", *path.relative_to(SRC).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            targets = [[*module, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == "dcmveil":
                yield target[1] if target[1:2] and target[1] in ARROWS else "__init__"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_arrows_of_src(path: Path) -> None:
    part = part_of(path)
    assert part in ARROWS, "a new part: enter it in ARROWS"
    assert set(imported_parts(path)) - {part} <= ARROWS[part]


def test_arrows_make_no_circle() -> None:
    left = {part: targets - {"__init__"} for part, targets in ARROWS.items()}
    while left:
        free = {part for part, targets in left.items() if not targets & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        left = {part: targets for part, targets in left.items() if part not in free}


def imports_of(path: Path) -> Iterator[str]:
    """What a Cython file cimports and imports, by full name."""
    for line in path.read_text().splitlines():
        found = re.match(r"\s*from\s+(\S+)\s+c?import\s+(.*)", line)
        if found and found[1] == "dcmveil":
            yield from (f"dcmveil.{name.split()[0]}" for name in found[2].split(","))
        elif found:
            yield found[1]
        elif found := re.match(r"\s*c?import\s+(.*)", line):
            yield from (name.split()[0] for name in found[1].split(","))


@pytest.mark.parametrize("path", core_files(), ids=name_of)
def test_arrows_of_ext(path: Path) -> None:
    if path.stem == "__init__":
        assert path.read_text() == ""
        return
    assert path.stem in ORDER, "a new module: enter it in ORDER"
    behind = {f"dcmveil.{name}" for name in ORDER[ORDER.index(path.stem) :]}
    allowed = behind | LIBRARIES
    if path.stem in ("core", "spans"):
        allowed |= LIBRARIES_OF_CORE | {"dcmveil.errors"}
    assert set(imports_of(path)) <= allowed


@pytest.mark.parametrize("path", compiled_above(), ids=name_of)
def test_arrows_of_what_is_compiled_above_the_core(path: Path) -> None:
    if path.stem == "__init__":
        assert path.read_text() == ""
        return
    name = ".".join(path.relative_to(EXT).with_suffix("").parts)
    allowed = {f"dcmveil.{other}" for other in ARROWS_OF_COMPILED[name] | {name}}
    imported = set(imports_of(path))
    if name.startswith("faces."):
        imported = {other for other in imported if not LIBRARIES_OF_FACES.fullmatch(other)}
    else:
        allowed |= LIBRARIES_OF_KEYED
    assert imported <= allowed


def test_what_is_compiled_above_the_core_makes_no_circle_with_src() -> None:
    """What it imports of src/ is below its own part there too."""
    for name, arrows in ARROWS_OF_COMPILED.items():
        of_src = {other for other in arrows if other in ARROWS}
        assert of_src <= ARROWS[name.partition(".")[0]]


def test_every_compiled_file_has_its_rules() -> None:
    assert sorted(path for path in EXT.rglob("*") if path.is_file()) == sorted(compiled())


@pytest.mark.parametrize("path", core_files(), ids=name_of)
def test_ext_knows_no_file_secret_or_profile(path: Path) -> None:
    """Imports say most of it. The words are for what needs none; a path is one of tags there, and a
    key may be one to sort by."""
    code = re.sub(r'"""[\s\S]*?"""|"[^"\n]*"|\'[^\'\n]*\'|#.*', "", path.read_text())
    words = r"open|os|sys|file|files|filename|pathlib|environ|getenv|print|printf|time|clock|hash"
    assert not re.findall(rf"\b(?:{words}|key_file|secret|\w*profiles?)\b", code)


@pytest.mark.parametrize("path", modules() + compiled(), ids=name_of)
def test_length_of_a_module(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES


def test_setup_names_every_extension() -> None:
    text = (ROOT / "setup.py").read_text()
    names = re.search(r"^NAMES = (\[.*?\])", text, re.MULTILINE | re.DOTALL)
    assert names
    there = [".".join(p.relative_to(EXT).with_suffix("").parts) for p in EXT.rglob("*.pyx")]
    assert sorted(ast.literal_eval(names[1])) == sorted(there)


def test_git_holds_nothing_generated() -> None:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("no git repository")
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files"]
    held = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    generated = {".c", ".cpp", ".so", ".pyd", ".o", ".pyc", ".html", ".whl", ".gz"}
    by_hand = {"benches/floor.c", "tests/fuzz/driver.c"}
    assert not [name for name in held if Path(name).suffix in generated and name not in by_hand]


# -- what is public --------------------------------------------------------------------------------


def test_the_public_names_are_there() -> None:
    for name in dcmveil.__all__:
        assert getattr(dcmveil, name) is not None
    with pytest.raises(AttributeError):
        dcmveil.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(dcmveil.__all__) - {"__version__"}))
def test_docstring_of_a_public_name(name: str) -> None:
    thing = getattr(dcmveil, name)
    assert has_docstring(thing)
    if inspect.isclass(thing):
        for method, member in vars(thing).items():
            if not method.startswith("_") and (callable(member) or isinstance(member, property)):
                assert has_docstring(member), f"{name}.{method}"


def has_docstring(thing: object) -> bool:
    # its own: an exception would do with that of Exception
    own = getattr(thing, "__doc__", None)
    return bool(own and own.strip())


@pytest.mark.parametrize("path", modules() + compiled(), ids=name_of)
def test_docstring_of_a_module(path: Path) -> None:
    text = path.read_text()
    if path.suffix == ".py":
        assert ast.get_docstring(ast.parse(text))
    elif path.suffix == ".pyx":
        assert text.startswith('"""')


def test_the_typed_face_of_the_core_is_whole() -> None:
    stub = ast.parse((SRC / "core.pyi").read_text())
    told: dict[str, set[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            told[node.name] = {m.name for m in node.body if isinstance(m, ast.FunctionDef)} | {
                ast.unparse(m.target) for m in node.body if isinstance(m, ast.AnnAssign)
            }
        elif isinstance(node, ast.AnnAssign):
            told[ast.unparse(node.target)] = set()
        elif isinstance(node, ast.FunctionDef):
            told[node.name] = set()
    there = {name for name in vars(core) if not name.startswith("_")} - set(dir(errors))
    assert set(told) == there
    for name, members in told.items():
        if members:
            public = {member for member in vars(getattr(core, name)) if not member.startswith("_")}
            assert members - {"__init__"} == public, name


def test_every_module_can_be_imported() -> None:
    for path in modules():
        parts = path.relative_to(SRC.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
