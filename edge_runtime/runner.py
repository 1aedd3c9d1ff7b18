"""Runs one camera until its clip ends or someone stops it: source, pipeline, outbox, publishers, page, recording."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.capture.frames import EveryFrame, Frames, NewestFrame
from edge_runtime.capture.latest import LatestFrame
from edge_runtime.capture.source import Source, open_source
from edge_runtime.clock import Clock
from edge_runtime.config import Config
from edge_runtime.datatypes import Event, Frame
from edge_runtime.errors import ConfigError
from edge_runtime.health import Health
from edge_runtime.imaging.colour import to_bgr
from edge_runtime.imaging.draw import annotate
from edge_runtime.imaging.record import Recorder
from edge_runtime.liveness import Liveness
from edge_runtime.pipeline import Outcome, Pipeline
from edge_runtime.publishing.commands import Switches
from edge_runtime.publishing.console import sentence
from edge_runtime.publishing.desk import EventDesk, Publisher
from edge_runtime.publishing.outbox import Outbox
from edge_runtime.publishing.slot_memory import SlotMemory
from edge_runtime.publishing.topics import topics_of
from edge_runtime.reasons import Reasons
from edge_runtime.standing import standing
from edge_runtime.viewer import Viewer
from edge_runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from edge_runtime.publishing.presence import Presence
    from edge_runtime.web.editor import RulesEditor

HEALTH_S = 10.0
"""Seconds between two health messages."""
DRAIN_S = 5.0
"""How long a clean shutdown waits for the broker's acknowledgements."""
BROKER_WAIT_S = 5.0
"""How long `--need-broker` waits for the broker at start."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the command line asks for beyond the configuration.

    Attributes:
        once: a clip is played once, even the demo.
        fast: a clip is read as fast as the machine allows, every frame is processed.
        events: where JSON lines go: `-`, a path, or None.
        record: where the annotated video goes, or None.
        stats: where the counters go as JSON, or None.
        need_broker: fail when the broker cannot be reached at start.
        config: the file that the settings came from, or None; the page's edits are written there.
    """

    once: bool = False
    fast: bool = False
    events: str | None = None
    record: Path | None = None
    stats: Path | None = None
    need_broker: bool = False
    config: Path | None = None


class Runner:
    """One verb: `run`. Everything it opens it closes, in the opposite order, however the run ends.

    Args:
        config: all settings.
        asked: what the command line asks for.
        clock: where times come from.
        say: told what a person at the terminal wants to know, a line at a time.
        stopping: whether someone asked to stop.
    """

    def __init__(
        self, config: Config, asked: Run, clock: Clock, say: Callable[[str], None], stopping: Callable[[], bool]
    ) -> None:
        self.config, self.asked, self.clock, self.say, self.stopping = config, asked, clock, say, stopping
        self.health = Health(clock)
        self._presence: Presence | None = None
        self._liveness = Liveness(config.camera.stalled_s, config.camera.fps, self._say_online, say)
        self._switches = Switches(None, say)
        self._viewer: Viewer | None = None
        self._reasons = Reasons()
        self._editor: RulesEditor | None = None
        self._recorder: Recorder | None = None
        self._told_ns = self._counted_ns = 0

    def run(self) -> Health:
        """Process frames until the end; the counters.

        Raises:
            EdgeRuntimeError: what cannot be used at start, a torn clip, a full disk.
        """
        topics_of(self.config)  # names are refused before anyone is told; without a broker, too: the page refuses them
        with ExitStack() as open_:
            source = self._source()
            pipeline = Pipeline(self.config, self.health, self._reasons.note if self.config.web.listen else None)
            slots = Path(self.config.node.state).expanduser() / "slots.json"
            self._slots = SlotMemory(slots, self.config.slots, pipeline.parking, self.say)
            desk = self._desk(open_, pipeline, live=source.live)
            self._viewer = self._page(open_, pipeline)
            watchdog = open_.enter_context(Watchdog(os.environ))
            frames = open_.enter_context(self._frames(source))
            try:
                for frame in frames:
                    if frame is not None:
                        self._one(frame, pipeline, desk, open_)
                        self._liveness.fed(self.clock.now_ns())
                        watchdog.fed(self.clock.now_ns())
                    self._liveness.check(self.clock.now_ns())
                    if self._editor is not None:
                        self._edit(self._editor, pipeline, desk)
                    self._recount(frames, desk, pipeline, every_s=HEALTH_S)
            finally:
                # What is still going on ends now, and is told of, however the loop ended.
                self._tell(desk, pipeline.finish(), pipeline)
                self._recount(frames, desk, pipeline, every_s=0.0)
                if self.asked.stats is not None:
                    self.health.write(self.asked.stats)
        return self.health

    def _source(self) -> Source:
        fast = self.asked.fast
        loop, start_ns = False if self.asked.once else None, 0 if fast else None
        source = open_source(self.config.camera, self.clock, loop=loop, paced=not fast, start_ns=start_ns)
        if fast and source.live:
            raise ConfigError(f"--fast: {source.name} gives frames at its own pace; it is for clips")
        return source

    def _frames(self, source: Source) -> Frames:
        if self.asked.fast:
            return EveryFrame(source, self.stopping)
        camera = self.config.camera
        mailbox = LatestFrame(
            source,
            self.clock,
            camera.retry_s,
            camera.retry_max_s,
            self.say,
            on_frame=lambda: self._liveness.check(self.clock.now_ns()),
        )
        return NewestFrame(mailbox, self.stopping)

    def _desk(self, open_: ExitStack, pipeline: Pipeline, *, live: bool) -> EventDesk:
        c, times = self.config, self.health.puback
        path = Path(c.node.state).expanduser() / "outbox.sqlite"
        outbox = open_.enter_context(Outbox(path, max_bytes=c.outbox.max_bytes, max_age_s=c.outbox.max_age_s))
        publishers: list[Publisher] = []
        if self.asked.events is not None:
            from edge_runtime.publishing.console import JsonLines

            publishers.append(open_.enter_context(JsonLines(self.asked.events)))
        url = c.mqtt.broker
        embedded = url == "embedded"
        if embedded:
            from edge_runtime.publishing.broker import EmbeddedBroker

            broker = open_.enter_context(EmbeddedBroker(c.mqtt.port))
            url = f"mqtt://127.0.0.1:{broker.port}"
            self.say(f"broker: embedded, {url}; watch it with: mosquitto_sub -p {broker.port} -t '{c.mqtt.root}/#' -v")
        if url != "none":
            from edge_runtime.publishing.mqtt import MqttPublisher
            from edge_runtime.publishing.presence import Presence

            mqtt = MqttPublisher(
                url,
                outbox,
                root=c.mqtt.root,
                node=c.node.name,
                keepalive_s=c.mqtt.keepalive_s,
                on_problem=self.say,
                newest=not embedded,
                online=False,
                times=times,
            )
            open_.callback(mqtt.close, DRAIN_S)
            self._presence = Presence(c, mqtt, url, pipeline.classes, say=self.say)
            if known := pipeline.parking.states():
                self._presence.slots(known)
            open_.callback(self._presence.close)
            self._switches = self._presence.switches
            publishers += [mqtt, *self._presence.publishers]
            if self.asked.need_broker:
                mqtt.demand_connection(BROKER_WAIT_S)
        return EventDesk(
            outbox, publishers, node=c.node.name, camera=c.camera.name, clock=self.clock, live=live, times=times
        )

    def _say_online(self, online: bool) -> None:
        if self._presence is not None:
            self._presence.say_online(online)

    def _page(self, open_: ExitStack, pipeline: Pipeline) -> Viewer | None:
        web = self.config.web
        if not web.listen:
            return None
        from edge_runtime.web.editor import RulesEditor
        from edge_runtime.web.server import WebPage

        self._editor = RulesEditor(self.config, self.asked.config, pipeline.classes)
        page = open_.enter_context(WebPage(web.listen, web.fps, token=web.token, editor=self._editor))
        once = f"?token={page.token}" if page.token != web.token else ""
        self.say(f"page: {page.url}{once}" + (" (web.token sets a lasting password)" if once else ""))
        if page.url_beyond is not None:
            self.say(f"page: from other machines {page.url_beyond}{once}")
        return page

    def _edit(self, editor: RulesEditor, pipeline: Pipeline, desk: EventDesk) -> None:
        """Put the page's rules into force between two frames, and tell what ends by that."""
        ended: list[Event] = []
        if (config := editor.settle(lambda asked: ended.extend(pipeline.apply(asked)))) is None:
            return
        self._slots.apply(config.slots)
        self._tell(desk, ended, pipeline)
        if self._presence is not None:
            self._presence.apply(config)

    def _one(self, frame: Frame, pipeline: Pipeline, desk: EventDesk, open_: ExitStack) -> None:
        """Process one frame, tell its events, show it, give its buffer back."""
        start_ns = self.clock.now_ns()
        try:
            looking = self._switches.detection and (self._switches.motion or pipeline.following)
            wall = self.clock.wall().astimezone() if self.clock.synced() else None
            outcome = pipeline.process(frame, wall) if looking else pipeline.skip(frame)
            if self._presence is not None:  # first, so that events can refer to what is shown
                self._presence.show(frame, outcome.detections, outcome.tracks, outcome.events)
            first = self._presence is not None and self.health.frames_processed + self.health.frames_gated == 0
            started = [Event("node_online", self.clock.now_ns())] if first else []
            # Of a clip read fast, capture times are the clip's own.
            self._tell(desk, [*started, *outcome.events], pipeline, None if self.asked.fast else frame.captured_ns)
            if looking:
                self.health.frame_done(start_ns)
            else:
                self.health.frames_gated += 1
            self._show(frame, outcome, open_)
        finally:
            frame.release()
        if self.health.frames_processed == 1:
            self.say(f"first frame processed {self.health.first_frame_s:.2f} s after the start")

    def _tell(self, desk: EventDesk, events: Sequence[Event], pipeline: Pipeline, frame_ns: int | None = None) -> None:
        if self._presence is not None:
            events = self._presence.refer(events)
        with self.health.stage("outbox"):
            payloads = desk.post(events, frame_ns)
            self._slots.update(events)
            if self._presence is not None:
                self._presence.update(events, pipeline.events.counts(), pipeline.present)
        self.health.events += len(payloads)
        if payloads and self._viewer is not None:
            self._viewer.tell(self._reasons.added(events, payloads))
        if self.asked.events != "-":
            for event in events:
                if event.track is not None or event.kind is not None or event.slot is not None:
                    self.say(sentence(event))

    def _show(self, frame: Frame, outcome: Outcome, open_: ExitStack) -> None:
        """Draw for whoever looks: the page's viewers, the recording."""
        if self._switches.privacy:
            if self._viewer is not None:
                self._viewer.hide((frame.lores.shape[1], frame.lores.shape[0]))
            return
        viewer = self._viewer if self._viewer is not None and self._viewer.wants_picture() else None
        if viewer is None and self.asked.record is None:
            return
        with self.health.stage("showing"):
            crops = f"{len(outcome.plan)} crops" if outcome.plan is not None else self.config.pipeline.mode
            text = f"{crops}  {self.health.stages['frame'].percentile_ms(0.5):.1f} ms"
            picture = annotate(to_bgr(frame.main), outcome.regions, outcome.plan, outcome.tracks, text)
            if viewer is not None:
                viewer.show(picture)
            if self.asked.record is not None:
                if self._recorder is None:
                    recorder = Recorder(self.asked.record, frame.size_wh, self.config.camera.fps)
                    self._recorder = open_.enter_context(recorder)
                self._recorder.write(picture, frame.captured_ns / 1e9)

    def _recount(self, frames: Frames, desk: EventDesk, pipeline: Pipeline, every_s: float) -> None:
        """Bring the counters up to date; tell the page each second, and the broker every `every_s`."""
        self.health.frames_seen, self.health.frames_dropped, self.health.reopened = frames.counts()
        now_ns = self.clock.now_ns()
        if self._viewer is not None and self._switches.privacy:
            self._viewer.hide()  # the last picture, if it was switched on since, or the camera gives no other
        if self._viewer is not None and now_ns - self._counted_ns >= 1e9:
            self._counted_ns = now_ns
            self._viewer.count(self.health.as_dict() | standing(desk, pipeline, self._presence))
        if self._presence is not None:
            self._presence.tick(now_ns)
            if now_ns - self._told_ns >= every_s * 1e9:
                self._told_ns = now_ns
                self._presence.health(self.health.as_dict())
