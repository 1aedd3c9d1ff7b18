"""Where the files that come with the program are: models and the demo clip."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.errors import ConfigError

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
