"""The documented default recipe is what the dataclasses say, and every table of it can be switched on."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from build_tools import recipe
from build_tools.cli import main
from build_tools.errors import RecipeError
from build_tools.passes.registry import PASSES, pass_class
from build_tools.recipe_file import default_text


def test_the_default_file_gives_the_default_recipe(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text(default_text())
    found = recipe.read(file)
    assert [step.kind for step in found.passes] == ["doctor", "quantize"]
    assert dataclasses.replace(found, passes=()) == recipe.Recipe()


@pytest.mark.parametrize("kind", PASSES)
def test_every_pass_stands_in_the_file_with_all_its_keys(kind: str, tmp_path: Path) -> None:
    text = default_text()
    start = text.index(f'# kind = "{kind}"')
    end = text.find("# [[passes]]", start)
    block = text[start : end if end > 0 else None]
    names = [f.name for f in dataclasses.fields(pass_class(kind))]
    assert all(f"{name} =" in block or f"[passes.{name}" in block for name in names)
    lines = [line.removeprefix("# ") for line in block.splitlines() if " = " in line or line.startswith("# [")]
    (tmp_path / "r.toml").write_text("[[passes]]\n" + "\n".join(lines))
    assert recipe.read(tmp_path / "r.toml").passes[0].settings == pass_class(kind)()


def test_the_command_prints_it_and_checks_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "--default"]) == 0
    (tmp_path / "r.toml").write_text(capsys.readouterr().out)
    assert main(["recipe", "--check", str(tmp_path / "r.toml")]) == 0
    assert "sound; passes: doctor -> quantize" in capsys.readouterr().out


def test_training_and_compressing_share_a_file_but_each_needs_its_own_part(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('name = "x"\n[[passes]]\nkind = "quantize"\n')
    assert recipe.load_passes(tmp_path / "r.toml").name == "x"
    with pytest.raises(RecipeError, match="at least one"):
        recipe.load(tmp_path / "r.toml")


def test_a_package_that_is_missing_is_named_with_how_to_install_it() -> None:
    runtime_only = (
        "import sys; sys.modules['onnx'] = None; from build_tools import cli; sys.exit(cli.main(['doctor', 'm']))"
    )
    done = subprocess.run([sys.executable, "-c", runtime_only], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "onnx is not installed; pip install 'edge-runtime[build]'" in done.stderr
