"""The hand-written stub and the compiled module offer the same names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from runflat import _core

ROOT = Path(__file__).parents[2]


def stub_members(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """The public names that a stub declares, and what a class declares below its name."""
    members = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            members[node.name] = node.body
        elif isinstance(node, ast.FunctionDef):
            members[node.name] = []
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            members[node.target.id] = []
    return {name: below for name, below in members.items() if not name.startswith("_")}


def public(names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_the_stub_names_what_the_module_has() -> None:
    stub = stub_members(ast.parse((ROOT / "python/runflat/_core.pyi").read_text()).body)
    assert set(stub) == public(dir(_core))
    for name, below in stub.items():
        if below:
            assert set(stub_members(below)) == public(vars(getattr(_core, name))), name


def test_the_package_and_the_build_have_one_version() -> None:
    pattern = r'^(?:version = "|project\(runflat VERSION )([0-9.]+)'
    for file in ("pyproject.toml", "CMakeLists.txt"):
        assert re.search(pattern, (ROOT / file).read_text(), re.M).group(1) == _core.__version__
