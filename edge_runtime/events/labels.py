"""The labels that a rule counts: names the models know, or the group `vehicle`."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.datatypes import VEHICLES
from edge_runtime.errors import ConfigError
from edge_runtime.settings import nearest, toml

GROUPS = {"vehicle": frozenset(VEHICLES)}


def counted(labels: Sequence[str], classes: Sequence[str], where: str) -> dict[str, frozenset[str]]:
    """For each name a rule counts under, the labels of tracks that it stands for.

    Args:
        labels: as the rule lists them; empty: every class by itself.
        classes: what the models tell apart.
        where: the rule's name in the configuration, for the message.

    Raises:
        ConfigError: a label that no model knows and that is no group of such.
    """
    names = {name: frozenset((name,)) for name in classes}
    names |= {
        group: members & set(classes) | (names.get(group) or frozenset())
        for group, members in GROUPS.items()
        if group in names or members & set(classes)
    }
    for label in labels:
        if label not in names:
            raise ConfigError(f"{where}.labels: no model in use knows {toml(label)}{nearest(label, names, '')}")
    return {name: names[name] for name in labels or classes}
