"""Everything the build tool raises on purpose.

BuildToolsError
├── RecipeError    a key or value of a recipe
├── DataError      pictures, labels, calibration data
├── ModelError     a model file, its inputs or outputs
├── PassError      a compression pass could not do its work
├── BudgetError    a budget cannot be met
└── SearchError    a search has no workers, or a storage of another search
"""

from __future__ import annotations


class BuildToolsError(Exception):
    """Root of the tree. The text is one line: what, where, and the remedy."""

    exit_code = 1


class RecipeError(BuildToolsError):
    """A recipe has an unknown key, a wrong type or a value out of range."""

    exit_code = 2


class DataError(BuildToolsError):
    """Pictures or labels are missing, torn, or not of the form they claim."""


class ModelError(BuildToolsError):
    """A model file cannot be read, or its inputs and outputs do not fit its task."""

    exit_code = 4


class PassError(BuildToolsError):
    """A compression pass could not do its work."""


class BudgetError(BuildToolsError):
    """A byte, time or accuracy budget cannot be met."""


class SearchError(BuildToolsError):
    """A search cannot reach its workers, or its storage belongs to another search."""
