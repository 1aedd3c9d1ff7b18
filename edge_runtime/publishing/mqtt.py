"""Events to an MQTT broker: every committed row is sent until the broker has acknowledged it.

The outbox is the queue; paho holds no more than a window of messages that are under way. Those it sends again by
itself after a lost connection, in order; everything else waits on disk, over restarts too.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from edge_runtime.errors import ConfigError, StorageError
from edge_runtime.publishing.outbox import Outbox, Row

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

WINDOW = 20
"""Messages under way at once: enough to fill a slow link, few enough to be sent again after it broke."""
RETRY_S, RETRY_MAX_S = 1, 30
"""Shortest and longest pause between two tries to connect."""
CONNECT_S = 5.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is; `name` is fit for a message."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None

    @property
    def name(self) -> str:
        """The address without its secrets."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def parse_broker(url: str) -> BrokerAddress:
    """The address in `mqtt://[user[:password]@]host[:port]` or `mqtts://...`.

    Raises:
        ConfigError: another form. The message holds no password.
    """
    parts = urlsplit(url if "://" in url else f"mqtt://{url}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == -1 or parts.path not in ("", "/"):
        shown = url.rpartition("@")[2]
        raise ConfigError(f"mqtt.broker {shown}: must look like mqtt://[user:password@]host[:port], embedded or none")
    tls = parts.scheme == "mqtts"
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return BrokerAddress(parts.hostname, port or (8883 if tls else 1883), tls, user, password)


class MqttPublisher:
    """Connects in the background from the start, and for as long as it lives; a dead broker stops nothing.

    Args:
        url: of the broker.
        outbox: entered; rows leave it when the broker has acknowledged them.
        root: first level of every topic.
        node: name of the node, second level of its topics.
        keepalive_s: silence after which the broker declares the node dead and publishes its last will.
        on_problem: told of each outage once, and of its end; from paho's thread.
        newest: begin with MQTT 5; false where the broker is known to speak 3.1.1 only.

    Raises:
        ConfigError: the URL is not a broker's.
    """

    durable = True

    def __init__(
        self,
        url: str,
        outbox: Outbox,
        *,
        root: str,
        node: str,
        keepalive_s: int,
        on_problem: Callable[[str], None],
        newest: bool = True,
    ) -> None:
        self._address = parse_broker(url)
        self.name = self._address.name
        self._outbox, self._on_problem, self._keepalive_s = outbox, on_problem, keepalive_s
        self._node, self._topic = node, f"{root}/{node}"
        # paho calls back from its own thread, while rows are announced from the pipeline's.
        self._lock, self._sending, self._again = threading.Lock(), threading.Lock(), False
        self._under_way: dict[int, int] = {}
        self._early: dict[int, bool] = {}
        self._sent_seq = 0
        self._connected = threading.Event()
        self._down = self._closing = False
        self._newest = newest
        self._client = self._made()
        self._start()

    def announce(self, row: Row) -> None:
        """Send what the window allows; the row itself is on disk and goes when its turn comes."""
        self._send()

    def publish_health(self, facts: dict[str, Any]) -> None:
        """The counters, retained; lost when there is no connection, as the next ones follow soon."""
        if self._connected.is_set():
            self._client.publish(f"{self._topic}/health", json.dumps(facts), qos=0, retain=True)
        self._send()

    def wait_connected(self, timeout_s: float) -> bool:
        """Whether there is a connection, after waiting for it."""
        return self._connected.wait(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way, say offline, and leave; never longer than about `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self._connected.is_set() and time.monotonic() < deadline and self._outbox.counts.pending:
            self._send()
            time.sleep(POLL_S)
        self._closing = True
        if self._connected.is_set():
            said = self._client.publish(f"{self._topic}/status", "offline", qos=1, retain=True)
            while not said.is_published() and self._connected.is_set() and time.monotonic() < deadline + 1:
                time.sleep(POLL_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _start(self) -> None:
        """Connect in the background; paho's thread calls back from here on."""
        self._client.connect_async(self._address.host, self._address.port, self._keepalive_s)
        self._client.loop_start()

    def _fall_back(self) -> None:
        """From MQTT 5 to 3.1.1, for good: a client's protocol is fixed."""
        old, self._newest = self._client, False
        self._client = self._made()
        self._start()
        old.disconnect()  # ends its thread, in which this runs

    def _made(self) -> Client:
        """A client speaking MQTT 5, or 3.1.1 where the broker knows no better."""
        from paho.mqtt.client import Client, MQTTv5, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"edge-{self._node}", protocol=MQTTv5 if self._newest else MQTTv311
        )
        client.max_inflight_messages_set(WINDOW)
        client.reconnect_delay_set(RETRY_S, RETRY_MAX_S)
        client.connect_timeout = CONNECT_S
        client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            client.tls_set()
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._lost("no connection")
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            if reason.getName() == "Unsupported protocol version" and client is self._client:
                self._fall_back()
            else:
                self._lost(f"refused: {reason.getName()}")
            return
        client.publish(f"{self._topic}/status", "online", qos=1, retain=True)
        self._connected.set()
        if self._down:
            self._down = False
            self._on_problem(f"broker {self.name}: connected, {self._outbox.counts.pending} events to send")
        self._send()

    def _on_disconnect(
        self, client: Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if client is not self._client:
            return
        was_up = self._connected.is_set()
        if not was_up and self._newest and not self._closing:
            # Connected and thrown out before a word was said: so do brokers that cannot read MQTT 5 at all.
            self._fall_back()
            return
        self._connected.clear()
        if was_up and not self._closing:
            self._lost(f"connection lost ({reason.getName()})")

    def _lost(self, why: str) -> None:
        if not self._down and not self._closing:
            self._down = True
            self._on_problem(f"broker {self.name}: {why}; events are kept on disk, trying again")

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        with self._lock:
            seq = self._under_way.pop(mid, None)
            if seq is None:  # acknowledged before `publish` returned its number, or not an event
                self._early[mid] = reason.is_failure
                return
        self._answered(seq, refused=reason.is_failure)
        self._send()

    def _answered(self, seq: int, *, refused: bool) -> None:
        """The broker has row `seq`, or does not want it."""
        if not refused:
            self._mapped(lambda: self._outbox.acknowledge(seq))
            return
        # Stays on disk; sent again when something else is, not at once: it would be refused again.
        self._sent_seq = min(self._sent_seq, seq - 1)
        self._on_problem(f"broker {self.name}: refused event {seq}; it is kept")

    def _send(self) -> None:
        """Hand paho the oldest rows not under way, up to the window, from one thread at a time.

        paho calls back while it holds a lock that `publish` takes too. So no lock of ours is held across `publish`,
        and who finds another thread sending leaves it a note instead of waiting.
        """
        self._again = True
        while self._again and self._sending.acquire(blocking=False):
            try:
                self._again = False
                self._send_window()
            finally:
                self._sending.release()

    def _send_window(self) -> None:
        if not self._connected.is_set():
            return
        room = WINDOW - len(self._under_way)
        rows: list[Row] = []
        if room > 0:
            self._mapped(lambda: rows.extend(self._outbox.pending(room, after=self._sent_seq)))
        for row in rows:
            self._sent_seq = row.seq
            with self._lock:
                self._early.clear()
            sent = self._client.publish(f"{self._topic}/events", row.payload, qos=1)
            with self._lock:
                refused = self._early.pop(sent.mid, None)
                if refused is None:
                    self._under_way[sent.mid] = row.seq
            if refused is not None:
                self._answered(row.seq, refused=refused)
                self._again = True

    def _mapped(self, work: Callable[[], None]) -> None:
        """Do the work on the outbox; a failing disk is told of and must not end paho's thread."""
        try:
            work()
        except StorageError as error:
            self._on_problem(str(error))
