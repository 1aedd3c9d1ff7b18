"""Settings: one home, one default, refused by name."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from pathlib import Path

import pytest

from edge_runtime import config
from edge_runtime.config import LineConfig, SlotConfig, ZoneConfig
from edge_runtime.errors import ConfigError
from edge_runtime.settings import item_kind


def test_the_default_file_is_the_dataclasses(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(config.default_file())
    assert config.load(file) == config.Config()
    tables = tomllib.loads(config.default_file())
    for section, kind in typing.get_type_hints(config.Config).items():
        if item_kind(kind) is not None:
            continue
        assert list(tables[section]) == [f.name for f in dataclasses.fields(kind)]
        assert all(f.metadata["doc"] for f in dataclasses.fields(kind))


def test_the_examples_of_rules_in_the_default_file_hold_once_uncommented(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    blocks = re.findall(r"^# \[\[.*?\n\n", config.default_file(), re.M | re.S)
    file.write_text(re.sub("^# ", "", "".join(blocks), flags=re.M))
    loaded = config.load(file)
    assert [z.name for z in loaded.zones] == ["path"]
    assert [line.points for line in loaded.lines] == [((0.2, 0.5), (0.8, 0.5))]
    assert [s.name for s in loaded.slots] == ["14"]
    tables = tomllib.loads(file.read_text())
    for section, kind in (("zones", ZoneConfig), ("lines", LineConfig), ("slots", SlotConfig)):
        assert list(tables[section][0]) == [f.name for f in dataclasses.fields(kind)]


def test_a_file_then_set_override_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text('[camera]\nfps = 5\nsource = "0"\n[cropping]\nbudget = 4\n')
    loaded = config.load(file, ["camera.fps=7.5", "camera.source=1", "camera.lores_wh=[160, 120]"])
    assert (loaded.camera.fps, loaded.camera.source, loaded.cropping.budget) == (7.5, "1", 4)
    assert loaded.camera.lores_wh == (160, 120)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[camera]\nfsp = 5", "unknown key camera.fsp; did you mean camera.fps?"),
        ("[camra]\nfps = 5", "unknown key camra; did you mean camera?"),
        ("[camera]\nfps = 'fast'", 'camera.fps = "fast": must be a number'),
        ("[camera]\nfps = 0", "camera.fps = 0: must be between 0.1 and 240"),
        ("[camera]\nfps = 1" + "0" * 400, "must be a finite number"),
        ("[camera]\nfps = nan", "camera.fps = NaN: must be a finite number"),
        ("[camera]\nfps = 1" + "0" * 5000, "not valid TOML"),
        ("[cropping]\nbudget = 2.5", "cropping.budget = 2.5: must be a whole number"),
        ("[pipeline]\nmode = 'both'", "must be one of crops, attention, full"),
        ("camera = 3", "camera must be a table"),
        ("[camera", "not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        config.load(file)
    assert message in str(refused.value)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["camera.fps", "fps=3", "camera.fsp=3", "nothing.at=all", "zones.name=a", "camera.fps=1" + "0" * 5000]
)
def test_a_bad_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--set"):
        config.load(None, [text])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read"):
        config.load(Path("nowhere.toml"))
