"""The state of a training on disk: whole or absent, and nothing but numbers in it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from build_tools.errors import PassError


class Checkpoint:
    """A file that an interrupted training goes on from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any] | None:
        """The state, or None when there is no such file.

        Raises:
            PassError: the file is torn.
        """
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise PassError(f"{self.path}: torn or no checkpoint; delete it to train from the start") from error
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state.

        Raises:
            PassError: a full disk or a folder that cannot be written.
        """
        partial = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, partial)
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
            partial.unlink(missing_ok=True)
            raise PassError(f"{self.path}: cannot be written ({error}); free space or choose another place") from error
