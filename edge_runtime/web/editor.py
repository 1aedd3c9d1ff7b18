"""The rules in force and the edits of the page: checked as at the start, written, then applied between two frames."""

from __future__ import annotations

import dataclasses
import hashlib
import queue
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime import settings
from edge_runtime.config import Config
from edge_runtime.datatypes import VEHICLES
from edge_runtime.errors import ConfigError, EdgeRuntimeError, StorageError
from edge_runtime.events.labels import counted
from edge_runtime.publishing.topics import topics_of
from edge_runtime.web.rules_file import KINDS, Edited, rewritten, written
from edge_runtime.whole_file import write_whole

WHERE = re.compile(r"(zones|lines|slots)\[(\d+)\](?:\.(\w+))?")


@dataclass(frozen=True, slots=True)
class _Proposal:
    revision: str
    config: Config
    was: str | None
    text: str | None
    answer: Future[None]


class RulesEditor:
    """Takes edits from the page's thread (`propose`) and puts them into force in the frame loop's (`settle`).

    Args:
        config: all settings, as they were at the start.
        path: the file they came from; None: edits last until the program ends.
        classes: the labels that the models tell apart.
    """

    def __init__(self, config: Config, path: Path | None, classes: Sequence[str]) -> None:
        self._config, self._path, self._classes = config, path, tuple(classes)
        self._waiting: queue.SimpleQueue[_Proposal] = queue.SimpleQueue()

    def described(self) -> dict[str, Any]:
        """The rules in force, for the page, with what it needs to edit them."""
        config = self._config  # the frame loop may put another in its place meanwhile
        rules = {kind: [dataclasses.asdict(rule) for rule in getattr(config, kind)] for kind in KINDS}
        fields = {
            kind: {
                f.name: {"doc": f.metadata["doc"], "default": f.default}
                for f in dataclasses.fields(of)
                if f.default is not dataclasses.MISSING
            }
            for kind, of in KINDS.items()
        }
        groups = ["vehicle"] if {*VEHICLES} & {*self._classes} and "vehicle" not in self._classes else []
        return {
            "revision": _revision(config),
            "rules": rules,
            "fields": fields,
            "labels": [*self._classes, *groups],
            "file": None if self._path is None else self._path.name,
            "text": _text(config),
        }

    def propose(self, asked: Any) -> Future[None]:
        """Check what the page asks for, `{revision, rules: {zones: [{..., was}], ...}}`; done once it is in force.

        Raises:
            ConfigError: it is refused, by field and with a remedy; nothing has changed.
        """
        if not isinstance(asked, dict) or not isinstance(asked.get("rules"), dict):
            raise ConfigError("page: must send the rules")
        self._same(asked.get("revision"))
        tables, names = {}, {}
        for kind in KINDS:
            rows = asked["rules"].get(kind, [])
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ConfigError(f"page: {kind} must be a list of tables")
            if not all(isinstance(row.get("was"), str | None) for row in rows):
                raise ConfigError(f"page: was must be the name that one of {kind} had")
            names[kind] = [row.get("was") for row in rows]
            tables[kind] = [{k: v for k, v in row.items() if k != "was"} for row in rows]
        new = settings.build(Config, tables, "page", ConfigError)
        for kind in ("zones", "lines"):
            for i, rule in enumerate(getattr(new, kind)):
                counted(rule.labels, self._classes, f"{kind}[{i}]")
        rules = {kind: getattr(new, kind) for kind in KINDS}
        new = dataclasses.replace(self._config, **rules)
        topics_of(new)  # names that are taken
        edits = [Edited(k, rule, was) for k in KINDS for rule, was in zip(rules[k], names[k], strict=True)]
        was = None if self._path is None else self._file(self._path)
        text = None if was is None else rewritten(was, edits)
        proposal = _Proposal(asked["revision"], new, was, text, Future())
        self._waiting.put(proposal)
        return proposal.answer

    def settle(self, apply: Callable[[Config], None]) -> Config | None:
        """Put waiting edits into force, between two frames; a refused one leaves all as it was.

        Rules are written first: whoever takes new ones forgets what went on by the old ones, and a full disk must not
        cost that.

        Args:
            apply: takes the new rules, or raises and keeps the old ones.

        Returns:
            What is in force from now on; None where nothing has changed.
        """
        changed = None
        while not self._waiting.empty():
            proposal = self._waiting.get()
            if not proposal.answer.set_running_or_notify_cancel():
                continue
            try:
                self._same(proposal.revision)
                self._write(proposal.text)
                self._applied(proposal, apply)
            except EdgeRuntimeError as error:
                proposal.answer.set_exception(error)
                continue
            self._config = changed = proposal.config
            proposal.answer.set_result(None)
        return changed

    def _applied(self, proposal: _Proposal, apply: Callable[[Config], None]) -> None:
        try:
            apply(proposal.config)
        except EdgeRuntimeError as refused:
            try:
                self._write(proposal.was)
            except StorageError:
                raise StorageError(
                    f"{self._path}: holds rules that cannot be put into force ({refused}) and cannot be written back; "
                    "those before go on until the program ends; correct the file by hand"
                ) from None
            raise

    def _same(self, revision: Any) -> None:
        if revision != _revision(self._config):
            raise ConfigError("page: the rules were changed elsewhere in the meantime; load the page again")

    def _write(self, text: str | None) -> None:
        if self._path is None or text is None:
            return
        try:
            write_whole(self._path, text)
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot be written ({error.strerror}), so nothing was changed; give the program the "
                "right to write it and its folder"
            ) from None

    def _file(self, path: Path) -> str:
        """The file as it is now, if its rules are still those in force."""
        tables = settings.read_toml(path, ConfigError)
        there = settings.build(Config, {k: tables[k] for k in KINDS if k in tables}, str(path), ConfigError)
        for kind in KINDS:
            if {*getattr(there, kind)} != {*getattr(self._config, kind)}:
                raise ConfigError(f"{path.name}: its {kind} were changed by hand; start the program again first")
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()


def _text(config: Config) -> str:
    return "\n".join(written(Edited(kind, rule)) for kind in KINDS for rule in getattr(config, kind))


def _revision(config: Config) -> str:
    """Names rules, over restarts too: a page that was left open must not undo what it has not seen."""
    return hashlib.sha256(_text(config).encode()).hexdigest()[:16]


def refusal(error: EdgeRuntimeError) -> dict[str, Any]:
    """What the page shows of an error, and beside which field."""
    found = WHERE.search(str(error))
    where = None if found is None else {"kind": found[1], "index": int(found[2]), "field": found[3]}
    return {"error": str(error).removeprefix("page: "), "where": where}
