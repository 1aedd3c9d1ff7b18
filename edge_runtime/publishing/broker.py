"""A broker inside the program, for a node that has no other: amqtt (MQTT 3.1.1) on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import threading
from types import TracebackType
from typing import Any, Self

from edge_runtime.errors import ConfigError, PublishError

START_S = 15.0
STOP_S = 5.0


class EmbeddedBroker:
    """Listens from entering to leaving, in a thread with a loop of its own. Anyone on this machine may connect.

    Args:
        port: 0 takes a free one; `port` tells which.
        host: a loopback address.

    Raises:
        ConfigError: the host is not this machine; on entering: the port is taken, or amqtt is not installed.
        PublishError: on entering: it did not start in time.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ConfigError(f"embedded broker: {host} is not this machine; it asks for no password, use 127.0.0.1")
        self.port, self._host = port, host
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        try:
            import amqtt.broker  # noqa: F401 - only to know whether it is there
        except ImportError:
            raise ConfigError(
                "mqtt.broker = embedded: amqtt is not installed; pip install 'edge-runtime[broker]'"
            ) from None
        self.port = self._free_port()
        # amqtt reports each connection, and its own shutdown, as warnings.
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        if not self._listening.wait(START_S) or self._failure is not None:
            raise PublishError(f"embedded broker: did not start on port {self.port}: {self._failure}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stopping is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_S)

    def _free_port(self) -> int:
        """The port, found free; amqtt itself would tell of a taken one only in its log."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, self.port))
            except OSError as error:
                raise ConfigError(
                    f"embedded broker: port {self.port} cannot be used ({error.strerror}); is a broker running "
                    f"already? Then use --broker mqtt://localhost:{self.port}, or choose a port with --set mqtt.port=0"
                ) from None
            return int(probe.getsockname()[1])

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # outermost loop of the thread: told to the one who waits for the start
            self._failure = error
            self._listening.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        config: dict[str, Any] = {
            "listeners": {"default": {"type": "tcp", "bind": f"{self._host}:{self.port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
        broker = _broker(config)
        await broker.start()
        self._listening.set()
        await self._stopping.wait()
        await broker.shutdown()


def _broker(config: dict[str, Any]) -> Any:
    """amqtt's broker, but for one thing: it sends whoever connects what is retained on topics of others.

    On connecting it goes through all clients' subscriptions (amqtt 0.12.1); only a client's own are its business.
    """
    from amqtt.broker import Broker

    class OwnRetained(Broker):  # type: ignore[misc]
        async def _publish_retained_messages_for_subscription(
            self, subscription: tuple[str, int], session: Any
        ) -> None:
            mine = self._subscriptions.get(subscription[0], ())
            if any(other.client_id == session.client_id for other, _ in mine):
                await super()._publish_retained_messages_for_subscription(subscription, session)

    return OwnRetained(config)
