"""Areas that tracks enter, stay in and leave: `zone_enter`, `zone_leave`, `dwell`, and how many are inside.

Both ways take time: a track enters after it stood inside for `enter_s`, times in which it did not count left out, and
leaves after it stood outside, or was gone, for `leave_s`. One that comes back after it left needs `leave_s` inside, so
that no two events of one track in one zone are closer than `leave_s`, but where the program or the schedule ends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_runtime import polygons
from edge_runtime.config import ZoneConfig
from edge_runtime.datatypes import Event, Track, group_of
from edge_runtime.events.appearance import Moment, track_event
from edge_runtime.events.explanation import Explanation
from edge_runtime.events.fitness import Demands, unfit
from edge_runtime.events.footing import ground_point, went_out
from edge_runtime.events.schedule import Hours
from edge_runtime.tracking.tracker import TrackerOutput


@dataclass(slots=True)
class _Stay:
    """What a zone remembers of one track.

    Attributes:
        track: as it was last.
        seen: as it was last seen.
        at_ns: when it was last brought up to date.
        inside_ns: since when it has stood inside, later by the time in which it did not count before it entered; None:
            outside, and not entered.
        outside_ns: since when it has stood outside or been gone, after it entered.
        label: its label when it entered; None: not entered.
        told: whether a zone_enter was told.
        dwelt: whether the dwell was.
        returning: whether it left before.
        over: whether its track has ended.
    """

    track: Track
    seen: Track
    at_ns: int
    inside_ns: int | None = None
    outside_ns: int | None = None
    label: str | None = None
    told: bool = False
    dwelt: bool = False
    returning: bool = False
    over: bool = False

    @property
    def until_ns(self) -> int:
        """When it was inside last, if it leaves now."""
        return self.track.seen_ns if self.outside_ns is None else self.outside_ns


class Zone:
    """One zone; one verb: `update` with each frame's tracks.

    Args:
        config: the zone.
        counted: for each name that is counted, the labels of tracks it stands for.
        demands: what is asked of each label's tracks beside what the zone asks.
        explanation: told why.
    """

    def __init__(
        self, config: ZoneConfig, counted: Mapping[str, frozenset[str]], demands: Demands, explanation: Explanation
    ) -> None:
        self.config = config
        self._rule = f"zone {config.name}"
        self._counted = counted
        self._labels = frozenset().union(*counted.values())
        self._explanation = explanation
        self._demands = demands
        self._hours = Hours(config.active, config.quiet)
        self._stays: dict[int, _Stay] = {}
        self._left_ns: dict[str, int] = {}

    def update(self, output: TrackerOutput, moment: Moment) -> list[Event]:
        """The events of one frame, in order of track."""
        silent = self._hours.silent(moment.wall)
        if silent is not None:
            for track in output.live:
                self._note(track, moment, "schedule", silent)
            events = self.finish(moment)
            for track in output.ended:
                self._explanation.forget(track, self._rule)
            return events
        for track in output.ended:
            if track.id in self._stays:
                self._stays[track.id].over = True
            else:  # the schedule began with the frame in which it ended
                self._explanation.forget(track, self._rule)
        for track in output.live:
            stay = self._stays.setdefault(track.id, _Stay(track, track, moment.at_ns))
            stay.track = track
            if not track.lost:
                stay.seen = track
        return [event for id_ in sorted(self._stays) for event in self._step(self._stays[id_], moment)]

    def counts(self) -> dict[str, int]:
        """How many tracks are inside, by counted name; those whose zone_enter a cool-down holds back, too."""
        inside = [stay.label for stay in self._stays.values() if stay.label is not None]
        return {name: sum(label in labels for label in inside) for name, labels in self._counted.items()}

    def take_over(self, before: Zone, moment: Moment) -> list[Event]:
        """Go on from the zone of that name as it was drawn before: who was inside it is still, or leaves in time.

        Returns:
            The zone_leave of tracks that do not count any more.
        """
        self._stays, self._left_ns, events = before._stays, before._left_ns, []
        for id_, stay in self._stays.items():
            if stay.label is not None and stay.label not in self._labels:
                events += self._leave(stay, moment, stay.until_ns, f"{stay.label} does not count here any more")
                self._stays[id_] = _Stay(stay.track, stay.seen, moment.at_ns, over=stay.over)
        return events

    def finish(self, moment: Moment) -> list[Event]:
        """The zone_leave of all that were told of."""
        events = []
        for stay in self._stays.values():
            if stay.label is not None:
                events += self._leave(stay, moment, stay.until_ns, "the zone ends")
            if stay.over:
                self._explanation.forget(stay.track, self._rule)
        self._stays.clear()
        return events

    def _step(self, stay: _Stay, moment: Moment) -> list[Event]:
        """Bring one stay up to date."""
        track, since_ns, stay.at_ns = stay.track, stay.at_ns, moment.at_ns
        if stay.over:
            if stay.label is None:
                del self._stays[track.id]
                self._explanation.forget(track, self._rule)
                return []
            if stay.outside_ns is None:
                stay.outside_ns = track.seen_ns
        elif track.lost:  # where it is, nobody knows: it stays as it was, unless it was seen going out of the picture
            if stay.label is not None and stay.outside_ns is None and went_out(stay.seen, track, moment.frame_wh):
                stay.outside_ns = track.seen_ns
                self._note(track, moment, "out", "went out of the picture")
        else:
            inside = self._contains(track, moment)
            if stay.label is not None:
                return self._stayed(stay, moment, inside=inside)
            return self._entering(stay, moment, since_ns, inside=inside)
        if stay.label is not None and stay.outside_ns is not None:
            return self._leaving(stay, moment)
        return []

    def _name_of(self, label: str) -> str:
        """The name under which a label counts: `vehicle` for a car where vehicles are counted, or all there is."""
        if not self.config.labels:
            return group_of(label)
        return next((name for name, labels in self._counted.items() if label in labels), label)

    def _contains(self, track: Track, moment: Moment) -> bool:
        x, y = ground_point(track, moment.frame_wh)
        w, h = moment.frame_wh
        return polygons.contains(self.config.points, (x / w, y / h))

    def _entering(self, stay: _Stay, moment: Moment, since_ns: int, *, inside: bool) -> list[Event]:
        """One frame of a track that has not entered; `since_ns`: the one before."""
        track, c = stay.track, self.config
        why = unfit(track, moment, self._labels, c, self._demands) if inside else None
        if not inside or why is not None:
            if stay.inside_ns is not None and not inside:
                after_s = (moment.at_ns - stay.inside_ns) / 1e9
                self._note(track, moment, "brushed", f"left again after {after_s:.2f} s inside; enter_s = {c.enter_s}")
            elif why is not None:
                self._note(track, moment, why.split()[0], f"inside, but {why}")
            elif not stay.returning:
                self._note(track, moment, "outside", "stands outside")
            if not inside:
                stay.inside_ns = None
            elif stay.inside_ns is not None:  # the time until it counts again does not count
                stay.inside_ns += moment.at_ns - since_ns
            return []
        if stay.inside_ns is None:
            stay.inside_ns = moment.at_ns
            self._note(track, moment, f"inside {moment.at_ns}", "stands inside")
        needed_s = max(c.enter_s, c.leave_s) if stay.returning else c.enter_s
        if moment.at_ns - stay.inside_ns < needed_s * 1e9 or not track.confirmed:
            return []
        stay.label = track.label
        return self._stayed(stay, moment, inside=True)

    def _stayed(self, stay: _Stay, moment: Moment, *, inside: bool) -> list[Event]:
        """One frame of a track that has entered and is seen."""
        track, c = stay.track, self.config
        if not inside:
            if stay.outside_ns is None:
                stay.outside_ns = moment.at_ns
                self._note(track, moment, "leaving", "stands outside")
            return self._leaving(stay, moment)
        if stay.outside_ns is not None:
            away_s = (moment.at_ns - stay.outside_ns) / 1e9
            self._note(track, moment, "back", f"back inside after {away_s:.2f} s; leave_s = {c.leave_s}")
            stay.outside_ns = None
        assert stay.inside_ns is not None
        assert stay.label is not None
        inside_s = (moment.at_ns - stay.inside_ns) / 1e9
        events = []
        if not stay.told:
            since_s = (moment.at_ns - self._left_ns.get(self._name_of(stay.label), -(1 << 62))) / 1e9
            if since_s < c.cooldown_s:
                another = f"another {self._name_of(stay.label)} left {since_s:.2f} s ago"
                self._note(track, moment, "cooldown", f"inside, but {another}; "
                           f"cooldown_s = {c.cooldown_s}")  # fmt: skip
                return []
            stay.told = True
            self._fire(track, moment, f"zone_enter: inside for {inside_s:.2f} s, score {track.score:.2f}")
            events.append(track_event("zone_enter", track, moment, zone=c.name))
        if c.dwell_s and not stay.dwelt and inside_s >= c.dwell_s:
            stay.dwelt = True
            self._fire(track, moment, f"dwell: inside for {inside_s:.2f} s; dwell_s = {c.dwell_s}")
            events.append(track_event("dwell", track, moment, zone=c.name, dwell_s=inside_s))
        return events

    def _leaving(self, stay: _Stay, moment: Moment) -> list[Event]:
        """Whether a track that stands outside, or is over, has been away long enough."""
        assert stay.outside_ns is not None
        away_s = (moment.at_ns - stay.outside_ns) / 1e9
        if away_s < self.config.leave_s:
            return []
        how = "gone" if stay.over else "outside"
        events = self._leave(stay, moment, stay.outside_ns, f"{how} for {away_s:.2f} s")
        if stay.over:
            del self._stays[stay.track.id]
            self._explanation.forget(stay.track, self._rule)
        else:
            self._stays[stay.track.id] = _Stay(stay.track, stay.seen, moment.at_ns, returning=True)
        return events

    def _leave(self, stay: _Stay, moment: Moment, outside_ns: int, why: str) -> list[Event]:
        """The zone_leave of a stay, if its zone_enter was told."""
        assert stay.inside_ns is not None
        assert stay.label is not None
        if not stay.told:
            return []
        dwell_s = max(outside_ns - stay.inside_ns, 0) / 1e9
        self._left_ns[self._name_of(stay.label)] = moment.at_ns
        if self.config.dwell_s and not stay.dwelt:
            text = f"no dwell: dwell_s = {self.config.dwell_s} were not over when it was last seen inside"
            self._note(stay.track, moment, "no dwell", text)
        self._fire(stay.track, moment, f"zone_leave: {why}, after {dwell_s:.2f} s inside")
        return [track_event("zone_leave", stay.track, moment, zone=self.config.name, dwell_s=dwell_s)]

    def _note(self, track: Track, moment: Moment, reason: str, text: str) -> None:
        self._explanation.note(moment, track, self._rule, reason, text)

    def _fire(self, track: Track, moment: Moment, text: str) -> None:
        self._explanation.note(moment, track, self._rule, text, text, fired=True)
