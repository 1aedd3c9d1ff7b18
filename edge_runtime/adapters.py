"""What all networks of others have in common: a TOML file beside the model that says how it is used.

`face.onnx` or `face.edge` has `face.adapter.toml` beside it; what its keys are, the room says that uses the network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import onnxruntime as ort

from edge_runtime.errors import ConfigError
from edge_runtime.settings import build, read_toml

Adapter = TypeVar("Adapter")


def adapter_path(model: Path) -> Path:
    """Where a model's adapter is: `face.adapter.toml` beside `face.onnx`."""
    return model.with_name(f"{model.stem}.adapter.toml")


def read_adapter(kind: type[Adapter], model: Path, wants: str) -> Adapter:
    """The adapter of a model.

    Args:
        kind: a dataclass of settings.
        model: the model's file.
        wants: what the adapter says of the model, for the message where there is none.

    Raises:
        ConfigError: missing, not TOML, a key that is unknown, missing or out of range.
    """
    path = adapter_path(model)
    if not path.is_file():
        raise ConfigError(f"{path}: missing; it says how {model.name} wants {wants} does")
    return read_adapter_file(kind, path)


def read_adapter_file(kind: type[Adapter], path: Path) -> Adapter:
    """The adapter in a file; see `read_adapter`."""
    return build(kind, read_toml(path, ConfigError), str(path), ConfigError)


def chosen_output(session: ort.InferenceSession, model: Path, wanted: str) -> str:
    """The output that an adapter names, or the only one.

    Raises:
        ConfigError: there is no such output, or none is named and there are several.
    """
    names = [o.name for o in session.get_outputs()]
    if wanted in names:
        return wanted
    if wanted or len(names) > 1:
        raise ConfigError(
            f"{adapter_path(model)}: output = {json.dumps(wanted)}: the network has {', '.join(names)}; "
            "name one of them"
        )
    return str(names[0])
