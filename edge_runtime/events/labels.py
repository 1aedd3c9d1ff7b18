"""The labels that a rule counts: names the models know, or the group `vehicle`."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.config import LabelConfig
from edge_runtime.datatypes import VEHICLES
from edge_runtime.errors import ConfigError
from edge_runtime.settings import nearest, toml

FACE, PERSON = "face", "person"
GROUPS = {"vehicle": frozenset(VEHICLES)}


def counted(
    labels: Sequence[str], classes: Sequence[str], where: str, key: str = "labels"
) -> dict[str, frozenset[str]]:
    """For each name a rule counts under, the labels of tracks that it stands for.

    Args:
        labels: as the rule lists them; empty: every class by itself, but a face beside persons, of whom it is a part:
            somebody who comes in would come in twice.
        classes: what the models tell apart.
        where: the rule's name in the configuration, for the message.
        key: what they stand under there.

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
            raise ConfigError(f"{where}.{key}: no model in use knows {toml(label)}{nearest(label, names, '')}")
    everything = [c for c in classes if c != FACE or PERSON not in classes]
    return {name: names[name] for name in labels or everything}


def demands(entries: Sequence[LabelConfig], classes: Sequence[str]) -> dict[str, tuple[LabelConfig, ...]]:
    """For each class, what is asked of its tracks by `[[labels]]`.

    Raises:
        ConfigError: a label that no model knows, or one that is there twice.
    """
    asked: dict[str, tuple[LabelConfig, ...]] = {}
    for i, entry in enumerate(entries):
        first = next(j for j, other in enumerate(entries) if other.label == entry.label)
        if first != i:
            raise ConfigError(f"labels[{i}].label = {toml(entry.label)}: is labels[{first}] once more; leave one out")
        for label in counted((entry.label,), classes, f"labels[{i}]", "label")[entry.label]:
            asked[label] = (*asked.get(label, ()), entry)
    return asked
