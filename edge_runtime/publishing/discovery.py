"""The node as Home Assistant's MQTT integration discovers it: one device, described in one message.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError
from edge_runtime.publishing.topics import Topics

Component = dict[str, Any]

SILENT_S = 60
"""Counters older than this are unknown: they come every 10 s while frames flow."""
ABOVE_ZERO = "{{ 'ON' if value | int(0) > 0 else 'OFF' }}"


def slug(name: str) -> str:
    """The name as Home Assistant writes it in ids: a-z, 0-9, `_` and `-`."""
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_")


def config_topic(prefix: str, node: str) -> str:
    """Where the device is announced.

    Raises:
        ConfigError: nothing of the node's name can stand in an id.
    """
    if not slug(node):
        raise ConfigError(
            f"node.name {node!r}: Home Assistant's ids need a letter a-z or a digit; "
            'choose another name, or mqtt.discovery = ""'
        )
    return f"{prefix}/device/{slug(node)}/config"


def device_config(
    config: Config, topics: Topics, counted: Iterable[tuple[str, str]], *, version: str, pictures: Sequence[str] = ()
) -> dict[str, Any]:
    """The discovery message.

    Args:
        config: zones, lines, slots and tamper stand in it.
        topics: of the node.
        counted: the (zone, label) pairs whose counts are published.
        version: of this program.
        pictures: labels whose snapshots are published; none where no pixels may leave the node.
    """
    node = slug(topics.node)
    return {
        "device": {
            "identifiers": [f"edge_{node}"],
            "name": topics.node,
            "manufacturer": "edge-runtime",
            "model": f"camera {topics.camera}",
            "sw_version": version,
        },
        "origin": {"name": "edge-runtime", "sw_version": version},
        "availability": [{"topic": topics.status, "payload_available": "online", "payload_not_available": "offline"}],
        "components": {
            **_of_counts(topics, counted),
            **_of_lines(config, topics),
            **_of_slots(config, topics),
            **_of_pictures(topics, pictures),
            **_of_tamper(config, topics),
            **_of_identity(config, topics),
            **_of_node(topics),
        },
    }


def withdrawn(components: Mapping[str, Component]) -> dict[str, Component]:
    """The same components as Home Assistant is told to remove them: nothing but the platform."""
    return {key: {"platform": component["platform"]} for key, component in components.items()}


def _component(topics: Topics, platform: str, key: str, name: str, **fields: Any) -> tuple[str, Component]:
    """A component under a key of its own on the device; without blanks, at which Home Assistant splits keys."""
    node = slug(topics.node)
    return key, {
        "platform": platform,
        "unique_id": f"edge_{node}_{slug(topics.camera)}_{key}",
        "default_entity_id": f"{platform}." + re.sub("[^a-z0-9]+", "_", f"{node}_{key}"),
        "name": name,
        **fields,
    }


def _title(*words: str) -> str:
    text = " ".join(words).replace("_", " ").replace("-", " ")
    return text[:1].upper() + text[1:]


def _of_counts(topics: Topics, counted: Iterable[tuple[str, str]]) -> dict[str, Component]:
    """For each zone and label: somebody there (yes or no), and how many."""
    found: list[tuple[str, Component]] = []
    for zone, label in counted:
        key, topic = f"{zone}.{slug(label)}", topics.count(zone, label)
        found.append(
            _component(
                topics,
                "binary_sensor",
                key,
                _title(zone, label),
                state_topic=topic,
                value_template=ABOVE_ZERO,
                device_class="occupancy",
            )
        )
        found.append(
            _component(
                topics,
                "sensor",
                f"{key}.count",
                _title(zone, label, "count"),
                state_topic=topic,
                state_class="measurement",
                icon="mdi:counter",
            )
        )
    return dict(found)


def _of_lines(config: Config, topics: Topics) -> dict[str, Component]:
    return dict(
        _component(
            topics,
            "sensor",
            f"{line.name}.{way}",
            _title(line.name, way),
            state_topic=topics.line(line.name),
            value_template=f"{{{{ value_json['{way}'] }}}}",
            state_class="total_increasing",
            icon=f"mdi:location-{'enter' if way == 'in' else 'exit'}",
        )
        for line in config.lines
        for way in ("in", "out")
    )


def _of_slots(config: Config, topics: Topics) -> dict[str, Component]:
    found = [
        _component(
            topics,
            "binary_sensor",
            f"slot.{slot.name}",
            _title("slot", slot.name),
            state_topic=topics.slot(slot.name),
            payload_on="occupied",
            payload_off="free",
            device_class="occupancy",
            icon="mdi:parking",
        )
        for slot in config.slots
    ]
    if config.slots:
        found.append(
            _component(
                topics,
                "sensor",
                "slots.free",
                "Free slots",
                state_topic=topics.slots,
                value_template="{{ value_json.free }}",
                state_class="measurement",
                icon="mdi:parking",
            )
        )
    return dict(found)


def _of_pictures(topics: Topics, labels: Sequence[str]) -> dict[str, Component]:
    return dict(
        _component(
            topics,
            "image",
            f"snapshot.{slug(label)}",
            _title("latest", label),
            image_topic=topics.snapshot(label),
            content_type="image/jpeg",
        )
        for label in labels
    )


def _of_tamper(config: Config, topics: Topics) -> dict[str, Component]:
    if not config.tamper.enabled:
        return {}
    return dict(
        [
            _component(
                topics,
                "binary_sensor",
                "tamper",
                "Tamper",
                state_topic=topics.tamper,
                value_template="{{ value_json.state }}",
                json_attributes_topic=topics.tamper,
                device_class="tamper",
            )
        ]
    )


def _of_identity(config: Config, topics: Topics) -> dict[str, Component]:
    """Whether somebody unknown is seen, and who of the known."""
    if not config.identity.enabled:
        return {}
    # A state of Home Assistant has 255 letters at the most.
    names = "{{ (value_json.names | join(', '))[:255] or 'nobody' }}"
    return dict(
        [
            _component(
                topics,
                "binary_sensor",
                "identity.unknown",
                "Unknown person",
                state_topic=topics.identity,
                value_template="{{ 'ON' if value_json.unknown > 0 else 'OFF' }}",
                device_class="occupancy",
                icon="mdi:account-question",
            ),
            _component(
                topics,
                "sensor",
                "identity.known",
                "Known persons",
                state_topic=topics.identity,
                value_template=names if config.identity.tell_names else "{{ value_json.known }}",
                icon="mdi:account-check",
            ),
        ]
    )


def _of_node(topics: Topics) -> dict[str, Component]:
    """Its health and its switches."""
    health: dict[str, Any] = {
        "state_topic": topics.health,
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "expire_after": SILENT_S,
    }
    return dict(
        [
            _component(
                topics,
                "binary_sensor",
                "connectivity",
                "Connectivity",
                state_topic=topics.status,
                payload_on="online",
                payload_off="offline",
                device_class="connectivity",
                entity_category="diagnostic",
                # What says "offline" must not become unavailable with the node.
                availability=[],
            ),
            _component(
                topics,
                "sensor",
                "fps",
                "Frame rate",
                **health,
                value_template="{{ value_json.fps_now }}",
                unit_of_measurement="fps",
                suggested_display_precision=1,
                icon="mdi:speedometer",
            ),
            _component(
                topics,
                "sensor",
                "temperature",
                "Board temperature",
                **health,
                value_template="{{ value_json.temperature_c }}",
                unit_of_measurement="°C",
                suggested_display_precision=1,
                device_class="temperature",
            ),
            *(
                _component(
                    topics,
                    "switch",
                    name,
                    _title(name),
                    state_topic=topics.switch(name),
                    command_topic=topics.command(name),
                    icon=icon,
                )
                for name, icon in (("detection", "mdi:motion-sensor"), ("privacy", "mdi:eye-off"))
            ),
        ]
    )
