"""Reads packs of faces by person: a folder for each, and a `split.json` that says which part each belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from build_tools.errors import DataError

SPLIT = "split.json"
STRANGERS = "strangers"
"""The part that lists files, each of a person who is in no other picture."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person of a pack.

    Attributes:
        name: of the folder, or of the file for a stranger.
        pictures: in order of name.
    """

    name: str
    pictures: tuple[Path, ...]


def read_persons(folder: Path, part: str) -> list[Person]:
    """The persons of one part, in order of name.

    Args:
        folder: of the pack, with `split.json` in it: `part` maps a person's folder to the number of its pictures, or
            lists files of one person each.
        part: `train`, `calibration` or `strangers`.

    Raises:
        DataError: unreadable or torn split, no such part, or pictures that are not there.
    """
    file = folder / SPLIT
    try:
        split = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); give the folder of an identity pack") from None
    except ValueError as error:
        raise DataError(f"{file}: is not JSON ({error}); copy the pack again") from None
    if not isinstance(split, dict) or part not in split:
        raise DataError(f"{file}: has no part {part}; an identity pack has train, calibration and strangers")
    if isinstance(split[part], dict):
        people = [Person(name, tuple(sorted((folder / name).glob("*.jpg")))) for name in sorted(split[part])]
        counts = [split[part][p.name] for p in people]
    elif isinstance(split[part], list) and all(isinstance(name, str) for name in split[part]):
        people = [Person(name, (folder / name,)) for name in sorted(split[part])]
        counts = [1] * len(people)
    else:
        raise DataError(f"{file}: {part} must map persons to numbers of pictures, or list files")
    for person, count in zip(people, counts, strict=True):
        if len(person.pictures) != count or not all(p.is_file() for p in person.pictures):
            raise DataError(f"{folder}: {person.name} should have {count} pictures; copy the pack again")
    return people
