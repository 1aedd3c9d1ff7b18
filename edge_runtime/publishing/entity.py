"""One entity of a node in Home Assistant: its key on the device, its ids and its name."""

from __future__ import annotations

import re
from typing import Any

from edge_runtime.publishing.topics import Topics

Component = dict[str, Any]


def slug(name: str) -> str:
    """The name as Home Assistant writes it in ids: a-z, 0-9, `_` and `-`."""
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_")


def entity(topics: Topics, platform: str, key: str, name: str, **fields: Any) -> tuple[str, Component]:
    """A component under a key of its own on the device; without blanks, at which Home Assistant splits keys."""
    node = slug(topics.node)
    return key, {
        "platform": platform,
        "unique_id": f"edge_{node}_{slug(topics.camera)}_{key}",
        "default_entity_id": f"{platform}." + re.sub("[^a-z0-9]+", "_", f"{node}_{key}"),
        "name": name,
        **fields,
    }


def title(*words: str) -> str:
    """The words as a name for people."""
    text = " ".join(words).replace("_", " ").replace("-", " ")
    return text[:1].upper() + text[1:]
