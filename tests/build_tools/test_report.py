"""The report of a compression: complete, true to what was measured, one file, and safe whatever names it shows."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from build_tools.compress import Compressed, compress
from build_tools.evaluation.latency import Timing
from build_tools.model import save_onnx
from build_tools.passes.contract import Score
from build_tools.passes.doctor import Doctor
from build_tools.passes.quantize import Quantize
from build_tools.passes.registry import Step
from build_tools.recipe import BudgetEntry, CalibrationEntry, CodingEntry, Recipe
from build_tools.report.charts import Point
from build_tools.report.compression import render
from tests.build_tools.onnx_models import small_net

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
RECIPE_TEXT = '[[passes]]\nkind = "quantize"  # <b>bits</b> & more'


class Reader(HTMLParser):
    """The texts of a document, its attributes, and whether every element is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "wbr", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    """A small network through three passes, the second of which costs too much."""
    folder = tmp_path_factory.mktemp("report")
    save_onnx(small_net(), folder / "small.onnx")
    recipe = Recipe(
        name="small",
        calibration=CalibrationEntry(kind="random", count=8),
        budget=BudgetEntry(loss=0.1, latency=0.0),
        coding=CodingEntry(coder="huffman"),
        passes=(Step("doctor", Doctor()), Step("quantize", Quantize(bits=2)), Step("quantize", Quantize(bits=8))),
    )
    return compress(folder / "small.onnx", recipe, folder / "small.edge", folder=folder, recipe_sha256="ab" * 32)


@pytest.fixture(scope="module")
def timed(done: Compressed) -> Compressed:
    """The same, as if it had been timed."""
    timing = Timing("after", 0.5, 0.8, (0.75, 0.85))
    return replace(
        done,
        recipe=replace(done.recipe, budget=replace(done.recipe.budget, latency=1.05)),
        plain=replace(done.plain, latency=replace(timing, ratio=1.0, ratio_ci=(0.97, 1.04))),
        after=replace(done.after, latency=timing),
        steps=tuple(replace(s, measured=replace(s.measured, latency=timing)) for s in done.steps),
    )


def test_headline_says_bytes_ratio_and_accuracy(done: Compressed) -> None:
    text = Reader(render(done, RECIPE_TEXT)).text
    assert f"{done.before.bytes:,} → {done.after.bytes:,} bytes" in text
    assert f"{done.before.bytes / done.after.bytes:.1f}× smaller" in text
    assert done.after.score is not None
    assert f"agreement 1.0000 → {done.after.score.value:.4f}" in text
    assert "2 of 3 kept" in text


def test_time_is_told_with_its_interval_and_not_told_when_it_was_not_measured(
    done: Compressed, timed: Compressed
) -> None:
    assert "not measured" in Reader(render(done, RECIPE_TEXT)).text
    text = Reader(render(timed, RECIPE_TEXT)).text
    assert "1.25× faster" in text
    assert "ratio 0.80, 95 % interval 0.75 to 0.85" in text
    slower = replace(timed, after=replace(timed.after, latency=Timing("after", 1.0, 1.5, (1.4, 1.6))))
    assert "1.50× slower" in Reader(render(slower, RECIPE_TEXT)).text
    same = replace(timed, after=replace(timed.after, latency=Timing("after", 1.0, 1.01, (0.98, 1.03))))
    assert "the same" in Reader(render(same, RECIPE_TEXT)).text


def test_undone_pass_is_shown_and_named_with_why(done: Compressed) -> None:
    assert done.steps[1].undone
    page = render(done, RECIPE_TEXT)
    text = Reader(page).text
    assert text.count(f"undone: {done.steps[1].undone}") == 2  # in the waterfall and in the table of passes
    assert 'class="undone"' in page
    assert "undone: 2.\u00a0quantize".replace("\u00a0", " ") in text.replace("\u00a0", " ")


def test_waterfall_has_every_step_with_its_bytes(done: Compressed) -> None:
    page = render(done, RECIPE_TEXT)
    steps = {"the input file": done.before, "coded, nothing else done": done.plain}
    steps |= {f"{index}. {step.kind}": step.measured for index, step in enumerate(done.steps, 1)}
    for name, measured in steps.items():
        row = re.search(rf'<tr><th scope="row" class="text">{name}</th><td class="track">.*?</tr>', page)
        assert row is not None and f">{measured.bytes:,}<" in row.group()


def test_layer_table_has_every_weight_with_its_bytes_and_floor(done: Compressed) -> None:
    page = render(done, RECIPE_TEXT)
    table = page[page.index('aria-label="Weights, layer by layer"') :]
    for layer in done.written.layers:
        row = re.search(rf'<tr><td class="text name" data-value="{re.escape(layer.name)}">.*?</tr>', table)
        assert row is not None
        said = re.findall(r'data-value="([^"]*)"', row.group())
        assert str(layer.bytes) in said and str(layer.bits) in said
        assert float(layer.floor_bytes) in [float(v) for v in said if re.fullmatch(r"[\d.e+-]+", v)]
    assert "Gemm bias" in table and "Conv bias" in table


def test_parts_of_the_bundle_add_up_to_the_file(done: Compressed) -> None:
    text = Reader(render(done, RECIPE_TEXT)).text
    sizes = [
        int(re.search(rf"{name}: ([\d,]+)", text).group(1).replace(",", ""))  # type: ignore[union-attr]
        for name in ("weights with their tables", "graph", "manifest", "headers and signature")
    ]
    assert sum(sizes) == done.written.bytes_total == done.after.bytes
    assert sum(layer.bytes for layer in done.written.layers) == sizes[0]


def test_sensitivity_of_an_undone_pass_is_kept_and_what_it_did_is_not(done: Compressed) -> None:
    said = {"fc.weight": {"sensitivity": 0.123, "rank": 7}}
    steps = (done.steps[0], replace(done.steps[1], layers=said), done.steps[2])
    text = Reader(render(replace(done, steps=steps), RECIPE_TEXT)).text
    assert "sensitivity" in text and "0.123" in text
    assert "rank" not in text


def test_error_on_digits_has_an_interval(done: Compressed) -> None:
    score = Score("error", 0.01, False, {"digits": 10_000, "wrong": 100})
    told = replace(done, before=replace(done.before, score=score), after=replace(done.after, score=score))
    assert "95 % interval 0.0082 to 0.0121" in Reader(render(told, RECIPE_TEXT)).text


def test_report_without_accuracy_passes_or_time_is_still_a_report(done: Compressed) -> None:
    bare = replace(
        done,
        before=replace(done.before, score=None),
        plain=replace(done.plain, score=None),
        after=replace(done.after, score=None),
        steps=(),
    )
    text = Reader(render(bare, "")).text
    assert "not measured" in text and "0 of 0 kept" in text


def test_extreme_ratio_is_drawn_on_a_logarithmic_scale_and_says_so(done: Compressed) -> None:
    huge = replace(done, before=replace(done.before, bytes=done.after.bytes * 1000))
    assert "logarithmic" in Reader(render(huge, RECIPE_TEXT)).text
    assert "logarithmic" not in Reader(render(done, RECIPE_TEXT)).text


def test_searched_recipes_are_drawn_when_there_are_any(done: Compressed) -> None:
    points = (Point("small", 1000, 0.9, 0.8), Point("large", 5000, 1.0, 0.9), Point("worse", 6000, 1.1, 0.7))
    text = Reader(render(done, RECIPE_TEXT, points)).text
    assert "3 recipes were tried" in text
    assert "worse: 6,000 bytes, agreement 0.7000, 1.10× time" in text
    assert "recipes were tried" not in Reader(render(done, RECIPE_TEXT)).text


def test_document_is_well_formed_and_asks_nothing_of_the_network(done: Compressed, timed: Compressed) -> None:
    for story in (done, timed):
        page = render(story, RECIPE_TEXT)
        reader = Reader(page)
        assert reader.open == []
        assert not [a for a in reader.attributes if a[0] in ("src", "href", "srcset", "action", "xlink:href")]
        assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
        assert "default-src 'none'" in page


def test_names_and_recipe_are_shown_and_never_obeyed(done: Compressed) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    steps = tuple(replace(s, summary=evil, undone=s.undone and evil, refused=(evil,)) for s in done.steps)
    layers = [replace(layer, name=evil) for layer in done.written.layers]
    story = replace(done, name=evil, steps=steps, written=replace(done.written, layers=layers), provenance={evil: evil})
    page = render(story, evil)
    reader = Reader(page)
    assert reader.open == []
    assert page.count("<script>") == 1 and "<img" not in page
    assert evil in "".join(reader.texts)


def test_same_compression_gives_the_same_report(done: Compressed) -> None:
    assert render(done, RECIPE_TEXT) == render(done, RECIPE_TEXT)


@pytest.fixture(scope="module")
def opened(timed: Compressed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (./test installs it)")
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(timed, RECIPE_TEXT), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(path.as_uri())
        yield page
        browser.close()


def test_table_sorts_by_a_click_and_says_which_way(opened: Page, timed: Compressed) -> None:
    names = "[aria-label='Weights, layer by layer'] tbody tr td:first-child"
    by_bytes = [layer.name for layer in sorted(timed.written.layers, key=lambda one: -one.bytes)]
    assert opened.locator(names).all_inner_texts() == by_bytes
    header = opened.locator("th", has=opened.get_by_role("button", name="bytes", exact=True))
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert opened.locator(names).all_inner_texts() == by_bytes[::-1]


@pytest.mark.parametrize("width", [390, 1280])
def test_page_never_scrolls_sideways(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_recipe_text_is_there_as_it_was_written(opened: Page, timed: Compressed) -> None:
    opened.get_by_text("The recipe", exact=True).click()
    assert opened.locator("pre").inner_text() == RECIPE_TEXT


def test_report_of_a_path_keeps_only_its_name(done: Compressed) -> None:
    page = render(replace(done, source=Path("/home/someone/private/model.onnx")), RECIPE_TEXT)
    assert "model.onnx" in page and "someone" not in page
