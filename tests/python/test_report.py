"""The report and the figures: complete, and readable without a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import runflat
from runflat.vocabulary import CAUSES, POLICIES


class Page(HTMLParser):
    """Collects the text outside scripts, what the page would load, and ids; counts open tags."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.loads += [attributes[name] or "" for name in ("src", "href") if name in attributes]
        self.ids |= {attributes["id"] or ""} if "id" in attributes else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)


@pytest.fixture(scope="module")
def page(small_result: runflat.Result, tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    small_result.write(folder, command="runflat whatif small --set 'a=<b>'")
    return Page((folder / "report.html").read_text())


def test_the_report_is_well_formed_and_loads_nothing(page: Page) -> None:
    assert page.open == []
    assert page.loads == []


def test_the_report_holds_the_three_charts(page: Page) -> None:
    assert page.ids >= {"goodput_over_time", "loss_vs_failed_fraction", "loss_by_cause"}


def test_the_report_explains_every_policy_and_cause_that_it_shows(
    page: Page, small_result: runflat.Result
) -> None:
    for policy in small_result.document["policies"]:
        assert POLICIES[policy["policy"]].meaning in page.words
        for cause in policy["lost_gpu_hours"]:
            assert CAUSES[cause].meaning in page.words


def test_the_report_names_every_assumption_and_how_to_repeat_it(page: Page) -> None:
    assert {"cluster.num_nodes", "model.num_layers"} <= set(page.words)
    assert "runflat whatif small --set 'a=<b>'" in page.words


def test_each_policy_and_each_cause_has_a_colour_of_its_own() -> None:
    for terms in (POLICIES, CAUSES):
        colours = [term.colour for term in terms.values()]
        assert len(set(colours)) == len(colours)
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


def test_figures_are_png_files_of_a_readable_size(
    small_result: runflat.Result, tmp_path: Path
) -> None:
    small_result.write(tmp_path)
    for name in small_result.figures():
        header = (tmp_path / f"{name}.png").read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(header[16:20], "big") >= 1000
