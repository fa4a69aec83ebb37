"""The hand-written stub and the compiled module offer the same names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from runflat import _core

ROOT = Path(__file__).parents[2]


def stub_names() -> set[str]:
    tree = ast.parse((ROOT / "python/runflat/_core.pyi").read_text())
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_the_stub_names_what_the_module_has() -> None:
    present = {name for name in dir(_core) if not name.startswith("_")} | {"__version__"}
    assert stub_names() == present


def test_the_package_and_the_build_have_one_version() -> None:
    pattern = r'^(?:version = "|project\(runflat VERSION )([0-9.]+)'
    for file in ("pyproject.toml", "CMakeLists.txt"):
        assert re.search(pattern, (ROOT / file).read_text(), re.M).group(1) == _core.__version__
