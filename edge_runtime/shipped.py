"""Where the files that come with the program are: models and the demo clip."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.errors import ConfigError, FormatError
from edge_runtime.settings import nearest, toml

_PACKAGE = Path(__file__).resolve().parent
# A wheel carries the models inside the package; a checkout has them at its top.
_FOLDERS = (_PACKAGE / "_models", _PACKAGE.parent / "models")


def shipped(name: str, folders: tuple[Path, ...] = _FOLDERS) -> Path:
    """The shipped file called `name`, as in `shipped("demo.mp4")`.

    Args:
        name: a file name, with its suffix.
        folders: where to look, first come first served.

    Raises:
        ConfigError: none of the folders has it.
    """
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(map(str, folders))
    raise ConfigError(f"{name}: not shipped with this program (looked in {looked}); give a path or reinstall")


def shipped_model(name: str, field: str) -> Path:
    """The shipped model called `name`, a bundle before plain ONNX.

    Args:
        name: as in models/, without its suffix.
        field: the setting that names it, for the message.

    Raises:
        ConfigError: there is none.
    """
    if not name:
        raise ConfigError(f"{field} is empty: name a model in models/, or give the path of one")
    for suffix in (".edge", ".onnx"):
        for folder in _FOLDERS:
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}"
    known = sorted({file.stem for folder in _FOLDERS for file in folder.glob("*.edge")})
    raise ConfigError(f"{field} = {toml(name)}: not shipped with this program, and no path{nearest(name, known, '')}")


def model_file(path: Path, field: str) -> Path:
    """The path, of a file that is there.

    Args:
        path: of a model, shipped or not.
        field: the setting that names it, for the message.

    Raises:
        FormatError: there is none.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such model file; check {field}")
    return path
