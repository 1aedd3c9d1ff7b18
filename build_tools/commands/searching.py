"""What `sensitivity` and `search` share: the recipe they judge by, the workers they compute on, and how they tell."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build_tools.commands.arguments import positive

if TYPE_CHECKING:
    from build_tools.recipe import Recipe
    from build_tools.search.job import Job
    from build_tools.search.workers import DaskWorkers


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare where trials are computed."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=positive, metavar="N", help="processes of this machine (default: its cores)")
    where.add_argument("--cluster", metavar="ADDRESS", help="a Dask scheduler's, as tcp://host:8786")


def workers_for(job: Job, args: argparse.Namespace) -> AbstractContextManager[DaskWorkers]:
    """The workers that were asked for.

    Raises:
        SearchError: no scheduler at that address, or Dask is not installed.
    """
    import os

    from build_tools.errors import SearchError
    from build_tools.search.workers import cluster_workers, local_workers

    try:
        import distributed  # noqa: F401
        import optuna  # noqa: F401
    except ImportError as error:
        raise SearchError(f"{error.name} is not installed; install edge-runtime[search]") from None
    if args.cluster:
        return cluster_workers(job, args.cluster)
    return local_workers(job, args.workers or os.cpu_count() or 1)


def read_recipe(path: Path | None) -> tuple[Recipe, Path, dict[str, Any]]:
    """The recipe to judge by (a sound one when there is none), the folder of its paths, and its tables as they stand.

    Raises:
        RecipeError: unreadable, unknown key, wrong type or value.
    """
    import tempfile

    from build_tools import recipe
    from build_tools.errors import RecipeError
    from build_tools.recipe_file import WITHOUT_RECIPE
    from edge_runtime import settings

    if path is not None:
        return recipe.read(path), path.parent, settings.read_toml(path, RecipeError)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "default.toml"
        file.write_text(WITHOUT_RECIPE)
        return recipe.read(file), Path(), settings.read_toml(file, RecipeError)


class Teller:
    """Tells of progress on standard error: counts change one line on a terminal, everything else is a line.

    Args:
        quiet: tell nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._open = quiet, False

    def __call__(self, text: str) -> None:
        counting = text.startswith(("layer ", "sensitivity "))
        if self._quiet or (counting and not sys.stderr.isatty() and not _mark(text)):
            return
        if counting and sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            self.close()
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line that changes."""
        if self._open:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._open = False


def _mark(text: str) -> bool:
    """Whether a count is worth a line of a log: every tenth, and the last."""
    done, slash, total = text.rpartition(" ")[2].partition("/")
    return not slash or done == total or int(done) % 10 == 0
