"""Editing the rules of a configuration file: what is written reads back, and the rest stays to the byte."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import ConfigError
from edge_runtime.rules import LineConfig, SlotConfig, ZoneConfig
from edge_runtime.web.rules_file import Edited, Rule, rewritten, written

names = st.lists(st.text("abcdefgh0123456789_-", min_size=1, max_size=6), unique=True, max_size=6)
share = st.integers(0, 90).map(lambda n: n / 100)
REST = ["", "# a comment with [[zones]] in it\n", '[node]\nname = "x # [[lines]]"  # said\n', "[mqtt]\nport = 1\n\n"]
MULTI = '[camera]\nsource = """\n[[zones]]\nname = "no"\n"""\nsize_wh = [\n  64, # wide\n  64]\n'


@st.composite
def rules(draw: st.DrawFn, names: list[str]) -> list[Edited]:
    found: list[Edited] = []
    for name in names:
        kind = draw(st.sampled_from(["zones", "lines", "slots"]))
        x, y = draw(share), draw(share)
        square = ((x, y), (x + 0.1, y), (x + 0.1, y + 0.1))
        rule: Rule = {
            "zones": ZoneConfig(name, square, dwell_s=float(draw(st.integers(0, 9)))),
            "lines": LineConfig(name, square[:2], labels=draw(st.sampled_from([(), ("person",)]))),
            "slots": SlotConfig(name, square),
        }[kind]
        found.append(Edited(kind, rule))
    return found


@settings(deadline=None)
@given(st.data())
def test_what_is_written_reads_back_and_the_rest_stays_to_the_byte(data: st.DataObject) -> None:
    before = data.draw(names.flatmap(rules))
    rest = data.draw(st.permutations([*REST, MULTI]))
    newline = data.draw(st.sampled_from(["\n", "\r\n"]))
    parts = data.draw(st.permutations([*rest, *("# kept\n" + written(e) for e in before)]))
    text = "".join(parts).replace("\n", newline)
    after = []
    for old in before:
        if data.draw(st.booleans()):
            after.append(Edited(old.kind, old.rule, old.rule.name))
    kept = {e.was for e in after}
    after += [e for e in data.draw(names.flatmap(rules)) if e.rule.name not in kept]
    result = rewritten(text, after)  # proves by itself that it reads back
    for part in [*REST, MULTI]:
        assert part.replace("\n", newline) in result
    assert result.count("# kept") == len(before)
    for edit in after:
        assert written(edit).replace("\n", newline) in result
    assert rewritten(text, [Edited(e.kind, e.rule, e.rule.name) for e in before]) == text


def test_a_changed_rule_keeps_its_comments() -> None:
    text = '[[zones]]\nname = "a" # door\n# co\npoints = [\n [0.1, 0.1], # left\n [0.2, 0.1], [0.2, 0.2]] # three\n'
    rule = ZoneConfig("b", ((0.1, 0.1), (0.3, 0.1), (0.2, 0.2)), dwell_s=3.0)
    result = rewritten(text, [Edited("zones", rule, "a")])
    assert result == (
        '[[zones]]\nname = "b" # door\n# co\npoints = [[0.1, 0.1], [0.3, 0.1], [0.2, 0.2]] # three\ndwell_s = 3.0\n'
    )
    assert tomllib.loads(result)["zones"][0]["dwell_s"] == 3.0


def test_rules_spelt_another_way_are_refused() -> None:
    rule = SlotConfig("b", ((0.1, 0.1), (0.3, 0.1), (0.2, 0.2)))
    with pytest.raises(ConfigError, match="cannot be edited here"):
        rewritten("slots = []\n", [Edited("slots", rule)])
