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
    assert result == text.replace('"a"', '"b"').replace("0.2, 0.1]", "0.3, 0.1]") + "dwell_s = 3.0\n"
    assert tomllib.loads(result)["zones"][0]["dwell_s"] == 3.0


CORNERS = """[[slots]]
name = "14"
points = [
  # as seen from the street
  [0.10, 0.1],  # by the tree, [0.9, 0.9]
  [0.2, 0.1],
  [0.2, 0.2] # the kerb
  , [ 0.1, # under the lamp
      0.2 ],
]  # four
"""


def with_corners(*corners: tuple[float, float], text: str = CORNERS) -> str:
    return rewritten(text, [Edited("slots", SlotConfig("14", corners), "14")])


A, B, C, D = (0.1, 0.1), (0.2, 0.1), (0.2, 0.2), (0.1, 0.2)


def test_a_moved_corner_changes_its_numbers_alone() -> None:
    assert with_corners((0.125, 0.1), B, C, D) == CORNERS.replace("[0.10,", "[0.125,")
    assert with_corners(A, B, C, (0.1, 0.25)) == CORNERS.replace("      0.2 ]", "      0.25 ]")


def test_a_corner_that_is_put_in_or_removed_leaves_the_others_their_lines_and_comments() -> None:
    assert with_corners(A, (0.15, 0.05), B, C, D) == CORNERS.replace("  [0.2, 0.1],", "  [0.15, 0.05],\n  [0.2, 0.1],")
    assert with_corners(A, C, D) == CORNERS.replace("  [0.2, 0.1],\n", "")
    assert with_corners(B, C, D) == CORNERS.replace("[0.10, 0.1],  # by", "# by")
    last = CORNERS.replace("      0.2 ],", "      0.2 ]  # end")
    assert with_corners(A, B, C, D, (0.1, 0.15), text=last) == last.replace(
        "0.2 ]  # end", "0.2 ],  # end\n[0.1, 0.15]"
    )
    line = '[[slots]]\nname = "14"\npoints = [[0.1, 0.1], [0.2, 0.1], [0.2, 0.2], [0.1, 0.2]] # four\n'
    assert with_corners(A, B, C, text=line) == line.replace(", [0.1, 0.2]]", "]")
    assert with_corners(A, B, C, D, (0.1, 0.15), text=line) == line.replace("0.2]] #", "0.2], [0.1, 0.15]] #")


@settings(deadline=None)
@given(st.data())
def test_whatever_corners_are_moved_put_in_or_removed_every_comment_stays(data: st.DataObject) -> None:
    corners = [(0.1, 0.1), (0.5, 0.1), (0.6, 0.3), (0.5, 0.5), (0.1, 0.5), (0.05, 0.3)]  # any of them: a convex area
    some = st.lists(st.sampled_from(corners), min_size=3, unique=True).map(
        lambda chosen: sorted(chosen, key=corners.index)
    )
    before, after = data.draw(some), data.draw(some)
    blank = st.sampled_from(["", " ", "\n  ", "  # a, [b]\n", '\n# "c\n  '])
    items = ["".join([data.draw(blank), f"[{x}, {y}]", data.draw(blank)]) for x, y in before]
    end = data.draw(st.sampled_from(["", ","])) + data.draw(blank)
    newline = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = f'[[slots]]\nname = "14" # s\npoints = [{",".join(items)}{end}] # p\n'.replace("\n", newline)
    result = with_corners(*after, text=text)  # proves by itself that it reads back
    for comment in ("# a, [b]", '# "c', "# s", "# p"):
        assert result.count(comment) == text.count(comment)
    assert result.count("\r") == (result.count("\n") if newline == "\r\n" else 0)


def test_labels_keep_their_comments_too() -> None:
    points = '[[zones]]\nname = "a"\npoints = [[0.1, 0.1], [0.2, 0.1], [0.2, 0.2]]\n'
    text = points + 'labels = [\n  "person", # us\n  "car"\n]\n'
    rule = ZoneConfig("a", (A, B, C), labels=("person", "dog"))
    assert rewritten(text, [Edited("zones", rule, "a")]) == text.replace("car", "dog")
    rule = ZoneConfig("a", (A, B, C), labels=("person",))
    assert rewritten(text, [Edited("zones", rule, "a")]) == text.replace('"person", # us\n  "car"\n', '"person" # us\n')
    rule = ZoneConfig("a", (A, B, C))
    assert rewritten(text, [Edited("zones", rule, "a")]) == text.replace('"person", # us\n  "car"\n', "# us\n")


def test_an_empty_list_makes_room_for_the_first_table() -> None:
    new = [Edited("zones", ZoneConfig("a", (A, B, C))), Edited("slots", SlotConfig("14", (A, B, C, D)))]
    text = '# ours\nzones = []  # none yet\nslots = [ # later\n]\nlines = []\n\n[node]\nname = "x"\n'
    tables = "\n" + written(new[0]) + "\n" + written(new[1])
    assert rewritten(text, new) == '# ours\n# none yet\n# later\nlines = []\n\n[node]\nname = "x"\n' + tables
    assert rewritten("zones = []", new[:1]) == written(new[0])


def test_rules_spelt_another_way_are_refused() -> None:
    rule = SlotConfig("b", ((0.1, 0.1), (0.3, 0.1), (0.2, 0.2)))
    with pytest.raises(ConfigError, match="cannot be edited here"):
        rewritten('slots = [{name = "a", points = []}]\n', [Edited("slots", rule)])
