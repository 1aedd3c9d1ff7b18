"""The node as Home Assistant's MQTT integration discovers it: one device, described in one message.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError
from edge_runtime.publishing import node_entities, rule_entities
from edge_runtime.publishing.entity import Component, slug
from edge_runtime.publishing.topics import Topics


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
            **rule_entities.of_counts(topics, counted),
            **rule_entities.of_lines(config, topics),
            **rule_entities.of_slots(config, topics),
            **node_entities.of_pictures(topics, pictures),
            **node_entities.of_tamper(config, topics),
            **rule_entities.of_identity(config, topics),
            **node_entities.of_node(topics),
        },
    }


def withdrawn(components: Mapping[str, Component]) -> dict[str, Component]:
    """The same components as Home Assistant is told to remove them: nothing but the platform."""
    return {key: {"platform": component["platform"]} for key, component in components.items()}
