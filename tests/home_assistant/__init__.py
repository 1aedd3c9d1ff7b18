"""A real Home Assistant for the tests, in an environment of its own: it needs a newer Python and a hundred packages.

`./test` makes that environment where it can. Home Assistant runs as a child, driven over its standard input and output.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.mosquitto import free_port

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-home-assistant/bin/python"
BLUEPRINTS = ROOT / "deploy/homeassistant/blueprints"
INSTALLED = (PYTHON.parents[1] / ".installed").is_file()
START_S = 240.0
"""It starts within ten seconds; a busy machine takes its time."""


class HomeAssistant:
    """Runs while entered, with the MQTT integration set up by its own dialogue for the broker at `port`.

    `notify.phone` and `test.open` are actions whose calls it remembers.

    Args:
        folder: of its configuration; used again, it knows its entities still.
        port: of the broker on 127.0.0.1.
        automations: as its `automation:` section.
    """

    def __init__(self, folder: Path, port: int, automations: list[dict[str, Any]]) -> None:
        self._folder, self._port, self._web = folder, port, free_port()
        shutil.copytree(BLUEPRINTS, folder / "blueprints", dirs_exist_ok=True)
        # JSON is YAML.
        (folder / "configuration.yaml").write_text(
            json.dumps(
                {"http": {"server_host": ["127.0.0.1"], "server_port": self._web}, "automation": automations},
                indent=1,
            )
        )
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with (self._folder / "stderr.log").open("w") as log:
            self._process = subprocess.Popen(
                [str(PYTHON), str(Path(__file__).with_name("driver.py")), str(self._folder), str(self._port)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._answer() == "ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def states(self) -> dict[str, dict[str, Any]]:
        """Of each entity with a registered id: `state`, `attributes`, `unique_id`."""
        return self._ask("states")

    def state(self, entity: str) -> str | None:
        """Of one entity; None: there is none."""
        found = self.states().get(entity)
        return None if found is None else found["state"]

    def devices(self) -> list[dict[str, Any]]:
        """Its devices: `name`, `identifiers`, `maker`, `version`."""
        return self._ask("devices")

    def call(self, action: str, **data: Any) -> None:
        """Do an action, as `switch.turn_off`."""
        self._ask("call", action=action, data=data)

    def calls(self) -> list[dict[str, Any]]:
        """The calls of `notify.phone` and `test.open` so far: `action` and its data."""
        return self._ask("calls")

    def complaints(self) -> list[str]:
        """What MQTT, the automations or templates warned of so far."""
        return self._ask("complaints")

    def picture(self, path: str) -> bytes:
        """What a phone gets for an entity's `entity_picture`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._web}{path}", timeout=30) as answer:
            content: bytes = answer.read()
        return content

    def wait(self, until: Callable[[Self], bool], timeout_s: float = START_S) -> bool:
        """Whether `until` came true in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if until(self):
                return True
            time.sleep(0.1)
        return until(self)

    def _ask(self, do: str, **more: Any) -> Any:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"Home Assistant ended; see {self._folder}/stderr.log"
        return json.loads(line)
