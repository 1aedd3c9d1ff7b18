"""The entities that a node has by its rules: zones, lines, slots, who is seen."""

from __future__ import annotations

from collections.abc import Iterable

from edge_runtime.config import Config
from edge_runtime.publishing.entity import Component, entity, slug, title
from edge_runtime.publishing.topics import Topics

ABOVE_ZERO = "{{ 'ON' if value | int(0) > 0 else 'OFF' }}"


def of_counts(topics: Topics, counted: Iterable[tuple[str, str]]) -> dict[str, Component]:
    """For each zone and label: somebody there (yes or no), and how many."""
    found: list[tuple[str, Component]] = []
    for zone, label in counted:
        key, topic = f"{zone}.{slug(label)}", topics.count(zone, label)
        found.append(
            entity(
                topics,
                "binary_sensor",
                key,
                title(zone, label),
                state_topic=topic,
                value_template=ABOVE_ZERO,
                device_class="occupancy",
            )
        )
        found.append(
            entity(
                topics,
                "sensor",
                f"{key}.count",
                title(zone, label, "count"),
                state_topic=topic,
                state_class="measurement",
                icon="mdi:counter",
            )
        )
    return dict(found)


def of_lines(config: Config, topics: Topics) -> dict[str, Component]:
    """For each line: how often it was crossed either way."""
    return dict(
        entity(
            topics,
            "sensor",
            f"{line.name}.{way}",
            title(line.name, way),
            state_topic=topics.line(line.name),
            value_template=f"{{{{ value_json['{way}'] }}}}",
            state_class="total_increasing",
            icon=f"mdi:location-{'enter' if way == 'in' else 'exit'}",
        )
        for line in config.lines
        for way in ("in", "out")
    )


def of_slots(config: Config, topics: Topics) -> dict[str, Component]:
    """For each slot: whether it is taken; and how many are free."""
    found = [
        entity(
            topics,
            "binary_sensor",
            f"slot.{slot.name}",
            title("slot", slot.name),
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
            entity(
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


def of_identity(config: Config, topics: Topics) -> dict[str, Component]:
    """Whether somebody unknown is seen, and who of the known."""
    if not config.identity.enabled:
        return {}
    # A state of Home Assistant has 255 letters at the most.
    names = "{{ (value_json.names | join(', '))[:255] or 'nobody' }}"
    return dict(
        [
            entity(
                topics,
                "binary_sensor",
                "identity.unknown",
                "Unknown person",
                state_topic=topics.identity,
                value_template="{{ 'ON' if value_json.unknown > 0 else 'OFF' }}",
                device_class="occupancy",
                icon="mdi:account-question",
            ),
            entity(
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
