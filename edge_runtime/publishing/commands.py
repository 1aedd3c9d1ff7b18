"""What can be asked of a running node: `<root>/<node>/set/<switch>`, `ON` or `OFF`, and new pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge_runtime.publishing.topics import Topics
from edge_runtime.whole_file import write_whole

KEPT = {"detection": True, "privacy": False}
"""Switches that hold over a restart, and how they stand on a new node."""
MOMENTARY = {"motion": True}
"""A sensor's word: on at every start, since a sensor that fell silent must not leave the node blind."""
SNAPSHOT = "snapshot"
"""Asked for by any payload: what is in view is shown anew."""
WORDS = {b"ON": True, b"OFF": False}


class Board(Protocol):
    """Where states are put up and commands come in; `SideTopics` is one."""

    def put(self, topic: str, payload: str | bytes) -> None:
        """Say it, retained."""

    def listen(self, topic: str, listener: Callable[[str, bytes, bool], None]) -> None:
        """Hear a topic."""


class Switches:
    """Three switches and a button; read by the pipeline's thread, set by paho's.

    `detection` off: no frame is looked at, nothing is told. `privacy` on: no picture leaves the node, nor is shown.
    `motion` off: an external sensor sees nothing move; frames are skipped once no track is left.

    Args:
        path: the file that keeps them; None: they are not kept.
        say: told of what cannot be read or kept.
    """

    def __init__(self, path: Path | None, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._on = KEPT | MOMENTARY | self._kept()
        self._pressed = False

    @property
    def detection(self) -> bool:
        """Whether frames are looked at."""
        return self._on["detection"]

    @property
    def privacy(self) -> bool:
        """Whether all pictures stay inside."""
        return self._on["privacy"]

    @property
    def motion(self) -> bool:
        """Whether something may be moving."""
        return self._on["motion"]

    def press(self) -> None:
        """Ask for a picture."""
        self._pressed = True

    def pressed(self) -> bool:
        """Whether a picture was asked for since the last call."""
        pressed, self._pressed = self._pressed, False
        return pressed

    def state(self, name: str) -> str:
        """`ON` or `OFF`."""
        return "ON" if self._on[name] else "OFF"

    def set(self, name: str, on: bool) -> None:
        """Switch it, and keep it where it is kept."""
        self._on[name] = on
        if self._path is None or name not in KEPT:
            return
        try:
            write_whole(self._path, json.dumps({key: self._on[key] for key in KEPT}))
        except OSError as error:  # must not end paho's thread
            self._say(f"{self._path}: {name} is switched, but not kept over a restart ({error.strerror})")

    def _kept(self) -> dict[str, bool]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            found = json.loads(self._path.read_text())
            return {name: bool(found[name]) for name in KEPT}
        except (OSError, ValueError, TypeError, KeyError) as error:
            self._say(f"{self._path}: the switches cannot be read ({error}); privacy is on until it is switched")
            return {"privacy": True}


class Commands:
    """Connects the switches with their topics; a command is answered by the switch's new state.

    Args:
        switches: what is switched.
        topics: where.
        board: the connection.
        say: told of what was switched, and of commands that are none.
    """

    def __init__(self, switches: Switches, topics: Topics, board: Board, say: Callable[[str], None]) -> None:
        self._switches, self._topics, self._board, self._say = switches, topics, board, say
        for name in (*KEPT, *MOMENTARY):
            board.put(topics.switch(name), switches.state(name))
        board.listen(topics.command("+"), self._heard)

    def _heard(self, topic: str, payload: bytes, retained: bool) -> None:
        name, shown = topic.rpartition("/")[2], payload[:20].decode(errors="replace")
        if retained:
            self._say(f"{topic}: ignored, since it is retained and would come again with each connection")
        elif name == SNAPSHOT:
            self._switches.press()
        elif name not in (*KEPT, *MOMENTARY):
            self._say(f"{topic}: unknown; known: {', '.join((*KEPT, *MOMENTARY, SNAPSHOT))}")
        elif payload.upper() not in WORDS:
            self._say(f"{topic}: {shown!r} is neither ON nor OFF")
        else:
            self.obey(name, WORDS[payload.upper()])

    def obey(self, name: str, on: bool) -> None:
        """Switch, and say so."""
        self._switches.set(name, on)
        self._say(f"{name} switched {self._switches.state(name)}")
        self._board.put(self._topics.switch(name), self._switches.state(name))
