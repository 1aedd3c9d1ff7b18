"""Whether a track counts for a rule: its label, score, size and age."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edge_runtime.config import LabelConfig, LineConfig, ZoneConfig
from edge_runtime.datatypes import Track
from edge_runtime.events.appearance import Moment
from edge_runtime.events.footing import side_px

Demands = Mapping[str, tuple[LabelConfig, ...]]


def unfit(
    track: Track, moment: Moment, labels: Collection[str], rule: ZoneConfig | LineConfig, demands: Demands
) -> str | None:
    """Why this track does not count now, for a person; None: it counts.

    Args:
        track: as it is.
        moment: now.
        labels: those that count.
        rule: what it asks of all of them.
        demands: what `[[labels]]` asks of each label's.
    """
    if track.label not in labels:
        return f"label {track.label} is not among {', '.join(sorted(labels))}"
    whys = (_below(track, moment, asked) for asked in (rule, *demands.get(track.label, ())))
    return next((why for why in whys if why is not None), None)


def _below(track: Track, moment: Moment, rule: ZoneConfig | LineConfig | LabelConfig) -> str | None:
    age_s = (moment.at_ns - track.start_ns) / 1e9
    if track.mean_score < rule.min_score:
        return f"score {track.mean_score:.2f} is below min_score = {rule.min_score}"
    if side_px(track) < rule.min_side_px:
        return f"side {side_px(track):.0f} px is below min_side_px = {rule.min_side_px}"
    if age_s < rule.min_age_s:
        return f"age {age_s:.2f} s is below min_age_s = {rule.min_age_s}"
    return None
