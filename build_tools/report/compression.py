"""The report of one compression: what it came to, what each pass cost and brought, and where every byte lies."""

from __future__ import annotations

from collections.abc import Sequence

from build_tools.compress import Compressed, Measured, StepResult
from build_tools.passes.contract import Score
from build_tools.report import figures
from build_tools.report.charts import Dot, Fall, Point, dots, pairs, pareto, pile, waterfall
from build_tools.report.html import Safe, join, page, tag
from build_tools.report.layer_table import Row, layer_table, rows
from build_tools.report.look import SCRIPT, STYLE

MOST_BARS = 24
"""Weights that get bars of their own; the table has all."""


def render(compressed: Compressed, recipe_text: str, points: Sequence[Point] = ()) -> str:
    """One HTML file that needs nothing besides itself.

    Args:
        compressed: what the driver gives.
        recipe_text: the recipe as it was written.
        points: recipes that a search has tried, if one has.
    """
    done = compressed
    weights = rows(done)
    made_by = done.provenance.get("tool", "edge-build")
    return page(
        f"{done.name}: compressed {figures.ratio(done.before.bytes / done.after.bytes)} times",
        STYLE,
        SCRIPT,
        tag(
            "main",
            _headline(done),
            _waterfall(done),
            _costs(done),
            _passes(done),
            _pareto(points, done),
            _bundle(done),
            _layers(weights),
            _provenance(done),
            tag("details", tag("summary", "The recipe"), tag("pre", recipe_text)),
            tag("footer", f"Made by {made_by} in {done.seconds:.1f} s. This file loads nothing from anywhere."),
        ),
    )


def _headline(done: Compressed) -> Safe:
    kept = sum(not s.undone for s in done.steps)
    tiles = [
        _tile(
            "Size of the file",
            f"{figures.ratio(done.before.bytes / done.after.bytes)}× smaller",
            f"{figures.count(done.before.bytes)} → {figures.count(done.after.bytes)} bytes",
            f"budget {figures.count(done.recipe.budget.bytes)} bytes" if done.recipe.budget.bytes else "",
        ),
        _score_tile(done),
        _time_tile(done),
        _tile(
            "Passes",
            f"{kept} of {len(done.steps)} kept",
            _listed([name for name, s in _named(done.steps) if not s.undone]) or "none",
            f"undone: {_listed([name for name, s in _named(done.steps) if s.undone])}"
            if kept < len(done.steps)
            else "all stayed within the budget",
        ),
    ]
    header = tag("header", tag("h1", done.name), tag("p", f"from {done.source.name}"))
    return join(header, tag("div", *tiles, class_="tiles"))


def _listed(names: Sequence[str]) -> str:
    """Names with commas between; no line breaks inside a name."""
    return ", ".join(name.replace(" ", "\u00a0") for name in names)


def _tile(label: str, value: str, detail: str, verdict: str = "", mood: str | None = None) -> Safe:
    return tag(
        "div",
        tag("div", label, class_="label"),
        tag("div", value, class_=f"value {mood}" if mood else "value"),
        tag("div", detail, class_="detail"),
        tag("div", verdict, class_="verdict") if verdict else "",
        class_="tile",
    )


def _score_tile(done: Compressed) -> Safe:
    before, after = done.before.score, done.after.score
    if before is None or after is None:
        return _tile("Accuracy", "not measured", 'the recipe says evaluation.kind = "none"')
    loss = after.loss_against(before)
    value = "no loss" if loss <= 0 else f"−{figures.share(loss)}" if loss >= 0.0005 else "−0.0 %"
    budget = f"relative; budget {figures.share(done.recipe.budget.loss)}"
    detail = f"{before.metric} {figures.score(before.value)} → {figures.score(after.value)}"
    interval = _interval(after)
    if interval:
        budget += f"; 95 % interval {figures.score(interval[0])} to {figures.score(interval[1])}"
    mood = "good" if loss <= 0 else "bad" if loss > done.recipe.budget.loss else None
    return _tile(f"Accuracy ({before.metric})", value, detail, budget, mood)


def _time_tile(done: Compressed) -> Safe:
    timing = done.after.latency
    if timing is None:
        return _tile("Time", "not measured", "the recipe says budget.latency = 0")
    low, high = timing.ratio_ci
    value = "the same"
    if high < 1 or low > 1:
        value = f"{figures.ratio(1 / timing.ratio)}× faster" if high < 1 else f"{figures.ratio(timing.ratio)}× slower"
    detail = f"{timing.median_ms / timing.ratio:.2f} → {timing.median_ms:.2f} ms on one thread here"
    verdict = f"ratio {timing.ratio:.2f}, 95 % interval {low:.2f} to {high:.2f}"
    return _tile("Time of one run", value, detail, verdict, "good" if high < 1 else "bad" if low > 1 else None)


def _waterfall(done: Compressed) -> Safe:
    falls = [Fall("the input file", done.before.bytes), Fall("coded, nothing else done", done.plain.bytes)]
    falls += [Fall(name, s.measured.bytes, s.undone) for name, s in _named(done.steps)]
    falls.append(Fall("the bundle, with provenance", done.after.bytes))
    text = (
        "Each pass changes the model; then the whole of it is coded into a bundle and weighed. A pass that costs more "
        "accuracy or time than the recipe allows is undone."
    )
    return _section("Bytes, pass by pass", text, tag("div", waterfall(falls), class_="card"))


def _costs(done: Compressed) -> Safe:
    """Accuracy and time after each pass, with intervals and budgets."""
    moments = _moments(done)
    cards = []
    scored = [(name, m.score, undone) for name, m, undone in moments if m.score is not None]
    if done.before.score is not None and scored:
        first = done.before.score
        allowed = done.recipe.budget.loss
        kept = first.value * (1 - allowed) if first.higher_is_better else first.value + allowed * (1 - first.value)
        marks = [Dot(name, score.value, _interval(score), bool(undone)) for name, score, undone in scored]
        title = f"{first.metric}, {'higher' if first.higher_is_better else 'lower'} is better"
        cards.append(tag("div", tag("h3", title), dots(title, marks, "{:g}", (kept, "budget")), class_="card"))
    timed = [(name, m.latency, undone) for name, m, undone in moments if m.latency is not None]
    if timed:
        marks = [Dot(name, timing.ratio, timing.ratio_ci, bool(undone)) for name, timing, undone in timed]
        title = "time against the input model, lower is better"
        limit = (done.recipe.budget.latency, "budget")
        cards.append(tag("div", tag("h3", title), dots(title, marks, "{:g}×", limit), class_="card"))
    if not cards:
        return Safe("")
    text = "Lines through dots are 95 % intervals. Hollow marks are passes that were undone; arrows are off the scale."
    return _section("Accuracy and time", text, tag("div", *cards, class_="pair"))


def _passes(done: Compressed) -> Safe:
    """The same as a table, with what each pass said."""
    metric = done.before.score.metric if done.before.score else "score"
    head = tag(
        "tr",
        *(tag("th", t, scope="col", class_="text" if t in ("pass", "what it did") else None)
          for t in ("pass", "bytes", metric, "time", "seconds", "what it did")),
    )  # fmt: skip
    body = [_pass_row("the input file", done.before, None), _pass_row("coded only", done.plain, None)]
    body += [_pass_row(name, step.measured, step) for name, step in _named(done.steps)]
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="passes")
    refused = [(name, line) for name, step in _named(done.steps) for line in step.refused]
    left = Safe("")
    if refused:
        lines = [tag("li", f"{name}: {line}") for name, line in refused]
        left = tag("details", tag("summary", f"What passes left alone, and why ({len(refused)})"), tag("ul", *lines))
    box = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Passes")
    return join(tag("h2", "What each pass did"), box, left)


def _pass_row(name: str, measured: Measured, step: StepResult | None) -> Safe:
    timing, score = measured.latency, measured.score
    time = f"{timing.ratio:.2f} [{timing.ratio_ci[0]:.2f}, {timing.ratio_ci[1]:.2f}]" if timing else ""
    said = [step.summary] if step else []
    if step and step.undone:
        said.append(tag("div", "undone: ", step.undone, class_="why"))
    return tag(
        "tr",
        tag("th", name, scope="row", class_="text"),
        tag("td", figures.count(measured.bytes), data_label="bytes"),
        tag("td", figures.score(score.value) if score else "", data_label=score.metric if score else "score"),
        tag("td", time, data_label="time"),
        tag("td", f"{step.seconds:.1f}" if step else "", data_label="seconds"),
        tag("td", *said, class_="text wrap"),
    )


def _pareto(points: Sequence[Point], done: Compressed) -> Safe:
    if not points:
        return Safe("")
    score = done.before.score
    chart = pareto(points, score.metric if score else "score", score.higher_is_better if score else True)
    text = (
        f"{len(points)} recipes were tried. Larger dots are slower; dark ones are beaten by no other in size, time and "
        "accuracy together; the line joins the best by size and accuracy alone."
    )
    return _section("What the search found", text, tag("div", chart, class_="card"))


def _bundle(done: Compressed) -> Safe:
    written = done.written
    rest = written.bytes_total - written.weights_bytes - written.graph_bytes - written.manifest_bytes
    parts = (
        ("weights with their tables", written.weights_bytes, "now"),
        ("graph", written.graph_bytes, "floor"),
        ("manifest", written.manifest_bytes, "other"),
        ("headers and signature", rest, "rest"),
    )
    floor = sum(layer.floor_bytes for layer in written.layers)
    values = sum(r.elements for r in rows(done))
    text = (
        f"{figures.count(values)} values take {figures.count(written.weights_bytes)} bytes with their scales and "
        f"codebooks, {8 * written.weights_bytes / max(values, 1):.2f} bits each. The Shannon floor of their symbols is "
        f"{figures.count(floor)} bytes; {figures.over(floor, written.weights_bytes)}."
    )
    return _section("What the bundle is made of", text, tag("div", pile(parts), class_="card"))


def _layers(weights: list[Row]) -> Safe:
    shown, others = weights[:MOST_BARS], weights[MOST_BARS:]
    rest = ""
    if others:
        paid, floor = sum(r.bytes for r in others), sum(r.floor for r in others)
        rest = f"The other {len(others)} weights: {figures.count(paid)} bytes paid, floor {figures.count(floor)}."
    bars = pairs([(r.name, r.operator, r.bytes, r.floor) for r in shown], rest)
    text = (
        "The floor is what the symbols of a weight would take if each were coded by itself at its own frequency; "
        "context models may go below it, tables and scales come on top."
    )
    return _section(
        "Layer by layer",
        text,
        tag("div", bars, class_="card"),
        tag("p", "Every weight; the titles of the columns sort.", class_="note"),
        layer_table(weights),
    )


def _section(title: str, text: str, *content: Safe) -> Safe:
    return join(tag("h2", title), tag("p", text, class_="note"), *content)


def _provenance(done: Compressed) -> Safe:
    names = {
        "source_sha256": "input model (sha256)",
        "recipe_sha256": "recipe (sha256)",
        "seed": "seed",
        "tool": "made by",
    }
    entries = []
    for name, value in done.provenance.items():
        entries += [tag("dt", names.get(name, name)), tag("dd", str(value))]
    return join(tag("h2", "Where it comes from"), tag("dl", *entries))


def _named(steps: Sequence[StepResult]) -> list[tuple[str, StepResult]]:
    """Steps with a number, since a recipe may have a pass more than once."""
    return [(f"{index}. {step.kind}", step) for index, step in enumerate(steps, 1)]


def _moments(done: Compressed) -> list[tuple[str, Measured, str]]:
    named = [(name, s.measured, s.undone) for name, s in _named(done.steps)]
    return [("input", done.before, ""), ("coded only", done.plain, ""), *named, ("result", done.after, "")]


def _interval(score: Score) -> tuple[float, float] | None:
    """95 % interval of a share of samples; None where the figures do not tell how many there were."""
    total = score.figures.get("digits", 0.0)
    return figures.wilson(score.value * total, total) if total and score.metric == "error" else None
