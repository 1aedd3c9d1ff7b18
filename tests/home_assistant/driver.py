"""Runs in Home Assistant's own environment: starts it, and does what is asked of it, a JSON line each.

python driver.py CONFIG_FOLDER BROKER_PORT
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from typing import Any

from homeassistant import bootstrap, config, core, loader
from homeassistant.config_entries import SOURCE_USER
from homeassistant.helpers import device_registry, entity_registry

WATCHED = ("homeassistant.components.mqtt", "homeassistant.components.automation", "homeassistant.helpers.template",
           "homeassistant.components.blueprint")  # fmt: skip


class Complaints(logging.Handler):
    """Keeps the warnings of what is tested here."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(WATCHED):
            self.heard.append(f"{record.name}: {record.getMessage()}")


class Driver:
    """Home Assistant's core; one verb: `answer`."""

    def __init__(self, folder: str) -> None:
        self.hass = core.HomeAssistant(folder)
        self.complaints = Complaints()
        self._calls: list[dict[str, Any]] = []

    async def start(self, broker_port: int) -> None:
        """As `hass` would, but without the frontend, whose package is large; then MQTT by its dialogue."""
        hass = self.hass
        logging.getLogger().addHandler(self.complaints)
        loader.async_setup(hass)
        hass.config.skip_pip = True
        settings = await config.async_hass_config_yaml(hass)
        settings["automation"] = []  # until there is MQTT, which their triggers need
        assert await bootstrap.async_from_config_dict(settings, hass) is not None
        for domain, name in (("notify", "phone"), ("test", "open")):
            hass.services.async_register(domain, name, self._remember)
        await hass.async_start()
        if not hass.config_entries.async_entries("mqtt"):
            flow = await hass.config_entries.flow.async_init("mqtt", context={"source": SOURCE_USER})
            asked = {"broker": "127.0.0.1", "port": broker_port}
            flow = await hass.config_entries.flow.async_configure(flow["flow_id"], asked)
            assert flow["type"] == "create_entry", flow
            await hass.async_block_till_done()
        await hass.services.async_call("automation", "reload", blocking=True)
        await hass.async_block_till_done()

    async def answer(self, asked: dict[str, Any]) -> Any:
        """See `HomeAssistant`."""
        hass = self.hass
        if asked["do"] == "states":
            known = entity_registry.async_get(hass)
            return {
                s.entity_id: {"state": s.state, "attributes": dict(s.attributes), "unique_id": entry.unique_id}
                for s in hass.states.async_all()
                if (entry := known.async_get(s.entity_id)) is not None and entry.platform == "mqtt"
            }
        if asked["do"] == "devices":
            return [
                {"name": d.name, "identifiers": sorted(d.identifiers), "maker": d.manufacturer, "version": d.sw_version}
                for d in device_registry.async_get(hass).devices.values()
            ]
        if asked["do"] == "call":
            domain, name = asked["action"].split(".")
            await hass.services.async_call(domain, name, asked["data"], blocking=True)
            return None
        return {"calls": self._calls, "complaints": self.complaints.heard}[asked["do"]]

    def _remember(self, call: core.ServiceCall) -> None:
        self._calls.append({"action": f"{call.domain}.{call.service}", **call.data})


async def main(folder: str, broker_port: int) -> None:
    """Answer line by line until there are no more."""
    driver = Driver(folder)
    await driver.start(broker_port)
    say("ready")
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    while line := await lines.get():
        say(await driver.answer(json.loads(line)))
    await driver.hass.async_stop(force=True)


def say(answer: Any) -> None:
    """One line."""
    print(json.dumps(answer, default=str), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
