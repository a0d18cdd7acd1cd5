"""SECURITY.md names what exists, and no module does what the page rules out."""

import ast
import functools
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = ROOT / "imsgate"
TEXT = (ROOT / "SECURITY.md").read_text()

_MODEL = TEXT.partition("## Trust boundaries")[2].partition("## Out of scope")[0]
#: The tables by the headings of the boundaries; a row is a list of its cells.
BOUNDARIES = {
    section.partition("\n")[0]: [
        line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")
    ][1:]
    for section in _MODEL.split("\n### ")[1:]
}


@functools.cache
def _functions(path: str) -> set[str]:
    return {node.name for node in _nodes(ROOT / path) if isinstance(node, ast.FunctionDef)}


def _nodes(path: pathlib.Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(), str(path)))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_what_a_boundary_names_exists(boundary: str) -> None:
    assert BOUNDARIES[boundary]
    for _, modules, tests in BOUNDARIES[boundary]:
        named = re.findall(r"`(.+?)::(\w+)`", tests)
        assert named
        assert len(named) == len(tests.split("<br>"))
        assert [name for path, name in named if name not in _functions(path)] == []
        files = re.findall(r"`([\w/]+(?:\.py|/))`", modules)
        assert [file for file in files if not (SOURCES / file).exists()] == []


#: Modules that start programs, or that run code which they read.
FORBIDDEN = {"subprocess", "pty", "pickle", "shelve", "marshal"}

#: Start gpgv and, in a sandbox, qemu-img, with arguments that imsgate names itself.
STARTERS = {SOURCES / "sources/openpgp.py", SOURCES / "conversion/sandbox.py"}


def test_nothing_starts_a_program_or_unpickles() -> None:
    """Except for the test kits, gpgv and the sandbox. An image, a name or a message could end up in
    it."""
    imported, called = {}, {}
    for path in sorted(SOURCES.rglob("*.py")):
        if SOURCES / "testing" in path.parents:
            continue
        for node in _nodes(path):
            if isinstance(node, ast.Import):
                names = {name.name.partition(".")[0] for name in node.names}
                imported |= dict.fromkeys(
                    names - ({"subprocess"} if path in STARTERS else set()), path
                )
            elif isinstance(node, ast.ImportFrom):
                imported[(node.module or "").partition(".")[0]] = path
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called[f"{node.value.id}.{node.attr}"] = path
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called[node.func.id] = path
    runs = re.compile(r"os\.(system|popen|exec|spawn|posix_spawn)\w*|eval|exec")
    assert not FORBIDDEN & imported.keys()
    assert not [name for name in called if runs.fullmatch(name)]
