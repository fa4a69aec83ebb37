"""What the READMEs tell a reader to type works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import Run

ROOT = Path(__file__).parents[2]
TEXT = "".join(path.read_text() for path in (*ROOT.glob("README.md"), *ROOT.glob("*/README.md")))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S)
COMMANDS = [
    shlex.split(line.removeprefix("$ "), comments=True)[1:]
    for language, block in BLOCKS
    if language != "python"
    for line in block.splitlines()
    if re.match(r"(\$ )?(\.venv/bin/)?runflat ", line)
]
SNIPPETS = [block for language, block in BLOCKS if language == "python"]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_of_the_readme_runs(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    if any(argument.endswith(".csv") for argument in arguments):
        pytest.skip("replays a trace that is not part of the repository")
    arguments = ["small" if word == "SCENARIO" else word for word in arguments]
    few = ["--trials", "2"] if arguments[0] == "whatif" else []
    if arguments[0] == "train":
        assert run("data", "pack", "/usr/share/common-licenses", "-o", "text").returncode == 0
    done = run(*arguments, *few)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_of_the_readme_runs(snippet: str) -> None:
    exec(snippet, {})
