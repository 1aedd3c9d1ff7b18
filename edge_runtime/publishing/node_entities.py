"""The entities that every node has: its pictures where they may leave, tamper, health, switches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_runtime.config import Config
from edge_runtime.publishing.entity import Component, entity, slug, title
from edge_runtime.publishing.topics import Topics

SILENT_S = 60
"""Counters older than this are unknown: they come every 10 s while frames flow."""


def of_pictures(topics: Topics, labels: Sequence[str]) -> dict[str, Component]:
    """For each label: the latest picture of such an object; and a button that asks for new ones."""
    found = [
        entity(
            topics,
            "image",
            f"snapshot.{slug(label)}",
            title("latest", label),
            image_topic=topics.snapshot(label),
            content_type="image/jpeg",
        )
        for label in labels
    ]
    if labels:
        found.append(
            entity(
                topics,
                "button",
                "snapshot.now",
                "Take pictures",
                command_topic=topics.command("snapshot"),
                icon="mdi:camera",
            )
        )
    return dict(found)


def of_tamper(config: Config, topics: Topics) -> dict[str, Component]:
    """Whether somebody is at the camera itself."""
    if not config.tamper.enabled:
        return {}
    return dict(
        [
            entity(
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


def of_node(topics: Topics) -> dict[str, Component]:
    """Its health and its switches."""
    health: dict[str, Any] = {
        "state_topic": topics.health,
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "expire_after": SILENT_S,
    }
    return dict(
        [
            entity(
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
            entity(
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
            entity(
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
                entity(
                    topics,
                    "switch",
                    name,
                    title(name),
                    state_topic=topics.switch(name),
                    command_topic=topics.command(name),
                    icon=icon,
                )
                for name, icon in (("detection", "mdi:motion-sensor"), ("privacy", "mdi:eye-off"))
            ),
        ]
    )
