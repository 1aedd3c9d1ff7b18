"""Every setting: one home, one default, one line of documentation.

The dataclasses below are the truth. A TOML file overrides them, `--set a.b=value` overrides the file, and
`edge-runtime config --default` prints the commented file made from them.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge_runtime import rules, settings
from edge_runtime.datatypes import TamperKind
from edge_runtime.errors import ConfigError
from edge_runtime.rules import LabelConfig as LabelConfig
from edge_runtime.rules import LineConfig as LineConfig
from edge_runtime.rules import ParkingConfig as ParkingConfig
from edge_runtime.rules import PlatesConfig as PlatesConfig
from edge_runtime.rules import SlotConfig as SlotConfig
from edge_runtime.rules import ZoneConfig as ZoneConfig
from edge_runtime.settings import setting


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """This machine."""

    name: str = setting("edge", "name of this node; part of every topic")
    state: str = setting("~/.local/state/edge-runtime", "folder for the outbox and the node's identity")


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """Where frames come from."""

    name: str = setting("camera", "name of the camera; part of events and topics")
    source: str = setting("demo", "0, 1, ... (V4L2) | picamera | rtsp://... | a clip | demo | synthetic")
    size_wh: tuple[int, int] = setting((1280, 720), "pixels asked of a camera; a clip keeps its own", low=16)
    fps: float = setting(15.0, "frames a second asked of a camera", low=0.1, high=240)
    lores_wh: tuple[int, int] = setting((320, 240), "the small picture fits into this, own aspect", low=32)
    retry_s: float = setting(0.5, "wait before a lost camera is opened again; doubles each time", low=0.01)
    retry_max_s: float = setting(30.0, "longest wait between two tries", low=0.01)
    stalled_s: float = setting(10.0, "no frame processed for so long: the node's status is offline", low=1)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """What is done with a frame."""

    mode: Literal["crops", "attention", "full"] = setting(
        "crops", "crops: attention, then the detector on crops | attention: alone | full: detector alone"
    )


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """The network that says where to look."""

    model: str = setting("scene_attention", "a model in models/ by name, or a path")
    score_min: float = setting(0.25, "regions scored below this are not looked at", low=0, high=1)
    iou_max: float = setting(0.5, "regions of one label that overlap more are one", low=0, high=1)


@dataclass(frozen=True, slots=True)
class CroppingConfig:
    """How regions become crops."""

    budget: int = setting(8, "crops a frame at the most", low=1, high=64)
    margin: float = setting(0.25, "context around a region, as a share of its longer side", low=0, high=2)
    carry_s: float = setting(1.5, "seconds a live track is looked at after attention last saw it", low=0)


@dataclass(frozen=True, slots=True)
class DetectionConfig:
    """The network that looks closely."""

    model: str = setting("crop_detector", "a model in models/ by name, or a path")
    score_min: float = setting(0.1, "detections scored below this are dropped", low=0, high=1)
    iou_max: float = setting(0.5, "detections of one group that overlap more are one", low=0, high=1)


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """How detections become tracks."""

    start_score: float = setting(
        0.6,
        "a new track needs a detection scored at least this; 0.4 in mode full, where no second network agrees",
        low=0,
        high=1,
    )
    match_score: float = setting(0.15, "weaker detections than this prolong no track", low=0, high=1)
    iou_min: float = setting(0.2, "overlap that a detection and a track's forecast need", low=0, high=1)
    confirm_hits: int = setting(3, "matched detections before a track is told of", low=1)
    lost_s: float = setting(2.0, "a track unseen this long has ended", low=0)


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """What is told."""

    update_s: float = setting(2.0, "seconds between two track_update events of one track", low=0.1)


@dataclass(frozen=True, slots=True)
class TamperConfig:
    """When somebody or something is at the camera itself."""

    enabled: bool = setting(True, "watch for it")
    kinds: tuple[TamperKind, ...] = setting(
        ("covered", "blinded", "defocused", "moved", "frozen", "noise"),
        "watched for; leave moved out where a head turns",
    )
    every_s: float = setting(0.25, "seconds between two looks", low=0.05, high=1)
    learn_s: float = setting(5.0, "seconds the scene is learnt before anything can be missed in it", low=1)
    adapt_s: float = setting(60.0, "time constant with which the learnt scene follows the light", low=5)
    raise_s: float = setting(3.0, "covered or blinded for so long: tamper", low=0)
    scene_s: float = setting(8.0, "defocused, moved or noisy for so long: tamper", low=0)
    frozen_s: float = setting(10.0, "the same picture for so long: tamper", low=0)
    clear_s: float = setting(2.0, "well again for so long: tamper_clear", low=0)
    accept_s: float = setting(300.0, "moved for so long: the new view is learnt, tamper_clear; 0: never", low=0)
    kept_share: float = setting(0.35, "share of the scene in its place at which it is gone", low=0, high=0.6)
    sharp_share: float = setting(0.2, "share of its sharpness at which the scene is defocused", low=0, high=0.6)
    white_share: float = setting(0.6, "share of white pixels at which the camera is blinded", low=0.1, high=1)
    noise_level: float = setting(5.0, "noise in grey levels of the small picture at which it counts", low=0.5)


@dataclass(frozen=True, slots=True)
class IdentityConfig:
    """Who it is: faces compared with those that `edge-runtime enroll` has put into the gallery."""

    enabled: bool = setting(False, "tell known persons from unknown ones")
    embedder: str = setting("face_embedder", "a model in models/ by name, or a path with NAME.adapter.toml beside it")
    landmarks: str = setting("face_landmarks", "the network that finds eyes, nose and mouth, by name or path")
    gallery: str = setting("gallery", "who is enrolled: a file in the state folder, or a path; embeddings, encrypted")
    key: str = setting("gallery.key", "its key: a file in the state folder, or a path to a better kept one")
    threshold: float = setting(0.0, "a face at most so far from a person's is known; 0: the embedder's own", low=0)
    min_side_px: int = setting(32, "faces whose shorter side has fewer pixels of the frame tell nothing", low=16)
    views: int = setting(3, "good views of a face before anything is said of it", low=1, high=8)
    tell_names: bool = setting(True, "events carry the name; false: only known or unknown")
    active: str = setting("", 'local times it works, as "22:00-06:00" or "mon-fri 08:00-18:00; sat"; empty: always')
    quiet: str = setting("", "local times it tells nothing, written alike; empty: none")

    def __post_init__(self) -> None:
        rules.check_hours(self)


@dataclass(frozen=True, slots=True)
class PrivacyConfig:
    """What pixels leave the node over MQTT."""

    level: Literal["events", "crops", "snapshots"] = setting(
        "events", "events: none | crops: pictures of objects; faces, heads and plates blurred | snapshots: as they are"
    )
    every_s: float = setting(2.0, "seconds between two pictures of one label", low=0.1)


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """Events that the broker has not acknowledged yet."""

    max_bytes: int = setting(64_000_000, "bytes kept on disk; beyond, the oldest are dropped and counted", low=4096)
    max_age_s: float = setting(604_800.0, "seconds an event is kept; older ones are dropped and counted", low=1)


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """The broker."""

    broker: str = setting("none", "mqtt://[user:password@]host[:port] | embedded | none")
    root: str = setting("edge", "first level of every topic")
    discovery: str = setting("homeassistant", "Home Assistant's discovery prefix; empty: no discovery")
    profile: Literal["edge", "frigate"] = setting("edge", "frigate: speak Frigate's topics as well")
    frigate_root: str = setting("frigate", "first level of Frigate's topics, of the profile frigate")
    port: int = setting(1883, "port of the embedded broker", low=0, high=65535)
    keepalive_s: int = setting(
        30, "seconds of silence after which the broker declares the node dead", low=1, high=65535
    )


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The live page."""

    listen: str = setting("", "[HOST:]PORT; empty: no page. Loopback unless a host is given")
    fps: float = setting(10.0, "pictures a second sent to a viewer at the most", low=0.1, high=60)
    token: str = setting("", "password of the page; empty: none on loopback, a new one printed at each start beyond it")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings."""

    node: NodeConfig = field(default_factory=NodeConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    cropping: CroppingConfig = field(default_factory=CroppingConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    zones: tuple[ZoneConfig, ...] = ()
    lines: tuple[LineConfig, ...] = ()
    labels: tuple[LabelConfig, ...] = ()
    slots: tuple[SlotConfig, ...] = ()
    parking: ParkingConfig = field(default_factory=ParkingConfig)
    tamper: TamperConfig = field(default_factory=TamperConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    plates: PlatesConfig = field(default_factory=PlatesConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    outbox: OutboxConfig = field(default_factory=OutboxConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    web: WebConfig = field(default_factory=WebConfig)

    def __post_init__(self) -> None:
        rules.check_names((("zones", self.zones), ("lines", self.lines), ("slots", self.slots)))


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The defaults, then the TOML file at `path`, then `overrides` of the form `section.key=value`.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type or value out of range.
    """
    config = Config()
    if path is not None:
        config = settings.build(Config, settings.read_toml(path, ConfigError), str(path), ConfigError)
    for text in overrides:
        config = _override(config, text)
    return config


def default_file() -> str:
    """The commented TOML file with every setting at its default."""
    return settings.default_file(Config, "edge-runtime configuration: every setting, at its default.")


def _override(config: Config, text: str) -> Config:
    """`config` with one `section.key=value` applied; the value is TOML, or a bare text."""
    path, equals, raw = text.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot:
        raise ConfigError(f"--set {text}: must have the form section.key=value, as in camera.fps=10")
    sections = typing.get_type_hints(Config)
    if section not in sections:
        raise ConfigError(f"--set {text}: unknown section {section}{settings.nearest(section, sections, '')}")
    if settings.item_kind(sections[section]) is not None:
        raise ConfigError(f"--set {text}: {section} is a list of tables; write it into the file given with --config")
    old = getattr(config, section)
    try:
        value = tomllib.loads(f"v = {raw.strip()}")["v"]
    except ValueError:
        value = raw.strip()
    if typing.get_type_hints(type(old)).get(key) is str and not isinstance(value, str):
        value = raw.strip()  # `--set camera.source=0`: a text that looks like a number
    table = dataclasses.asdict(old) | {key: value}
    new = settings.build(type(old), table, f"--set {text}", ConfigError, f"{section}.")
    return dataclasses.replace(config, **{section: new})
