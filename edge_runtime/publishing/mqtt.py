"""Events to an MQTT broker: every committed row is sent until the broker has acknowledged it.

The outbox is the queue; paho holds no more than a window of messages that are under way. Those it sends again by
itself after a lost connection, in order; everything else waits on disk, over restarts too.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import PublishError, StorageError
from edge_runtime.publishing.address import check_topic_names, parse_broker
from edge_runtime.publishing.client import LEAVE_S, leave, make_client
from edge_runtime.publishing.outbox import Outbox, Row
from edge_runtime.publishing.puback_times import PubackTimes
from edge_runtime.publishing.side_topics import SideTopics
from edge_runtime.publishing.status import Status
from edge_runtime.publishing.turns import Turns

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

WINDOW = 20
"""Messages under way at once: enough to fill a slow link, few enough to be sent again after it broke."""
STATUS_ROOM = 2
"""Of these, kept free for the retained messages, which count towards the broker's limit like any other."""
REFUSED_S, REFUSED_MAX_S = 1.0, 60.0
"""Shortest and longest pause before events that the broker refused are offered again."""


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
        online: what the status says until `say_online` is told otherwise.
        times: told of acknowledgements and of what held them up.

    Attributes:
        side: what shares the connection with the events.
        trouble: what stood in the way of the last connection that failed or was lost.

    Raises:
        ConfigError: the URL is not a broker's, or a name cannot stand in a topic.
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
        online: bool = True,
        times: PubackTimes | None = None,
    ) -> None:
        check_topic_names(root, node)
        self._address = parse_broker(url)
        self.name = self._address.name
        self._outbox, self._on_problem, self._keepalive_s = outbox, on_problem, keepalive_s
        self._times = times or PubackTimes(time.monotonic_ns)
        self._node, self._topic = node, f"{root}/{node}"
        # paho calls back from its own thread, while rows are announced from the pipeline's. `_book` guards what
        # follows it, and is never held across a call of paho's, which has locks of its own.
        self._book = threading.Lock()
        self._under_way: dict[int, int] = {}  # message id -> seq
        self._early: dict[int, bool] = {}  # message id -> refused: answered before `publish` returned the id
        self._pause_until_s, self._pause_s = 0.0, REFUSED_S
        self._turns = Turns(self._send_window)
        self._connected, self._left = threading.Event(), threading.Event()
        self._greeted = self._open = self._down = self._closing = False
        self._window = WINDOW - STATUS_ROOM
        self._status, self._newest = Status(f"{self._topic}/status", online), newest
        self.side, self.trouble = SideTopics(), "no answer"
        self._client = self._made()
        self._start(self._client)

    def announce(self, row: Row) -> None:
        """Send what the window allows; the row itself is on disk and goes when its turn comes."""
        self._turns.take()

    def publish_health(self, facts: dict[str, Any]) -> None:
        """The counters, retained."""
        self.side.put(f"{self._topic}/health", json.dumps(facts))
        self._turns.take()

    def say_online(self, online: bool) -> None:
        """Change the retained status; while there is no connection it is offline in any case."""
        self._status.online = online
        self._turns.take()

    def wait_connected(self, timeout_s: float) -> bool:
        """Whether there is a connection, after waiting for it."""
        return self._connected.wait(timeout_s)

    def demand_connection(self, timeout_s: float) -> None:
        """Wait for a connection.

        Raises:
            PublishError: there is none in time; with what stands in the way, as far as it is known.
        """
        if not self.wait_connected(timeout_s):
            raise PublishError(
                f"{self.name}: no connection within {timeout_s:.0f} s: {self.trouble}; "
                "check mqtt.broker, its login and that the broker runs"
            )

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way, say offline, and leave; at most about 2 s longer than `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        self._turns.until(lambda: not (self._connected.is_set() and self._outbox.counts.pending), deadline)
        self._closing = True
        client = self._client
        if not self._connected.is_set():
            # Not joined: its thread may be waiting for a name server. It ends by itself.
            client.disconnect()
            return
        # As any other status, in its turn: said past `_status`, an "online" that waited would come after it and stay.
        self._status.online = False
        deadline = max(deadline, time.monotonic() + LEAVE_S)
        self._turns.until(lambda: not self._connected.is_set() or self._status.stands(), deadline)
        self._left.clear()
        leave(client, self._left)

    def _start(self, client: Client) -> None:
        """Connect in the background; paho's thread calls back from here on."""
        # Clean: what the broker does not have is in the outbox; a session of the broker's would hold it twice.
        client.connect_async(self._address.host, self._address.port, self._keepalive_s)
        client.loop_start()

    def _fall_back(self) -> None:
        """From MQTT 5 to 3.1.1, for good: a client's protocol is fixed. Runs in the old client's thread."""
        old, self._newest = self._client, False
        client = self._made()
        with self._book:
            # What the old client had under way goes with it; the rows are still in the outbox.
            self._client = client
            self._under_way.clear()
            self._open = False
        self._status.forget()
        self._start(client)
        old.disconnect()

    def _made(self) -> Client:
        """A client whose callbacks are ours."""
        client = make_client(self._address, self._node, f"{self._topic}/status", newest=self._newest)
        client.max_inflight_messages_set(WINDOW)
        client.on_pre_connect, client.on_connect = self._on_pre_connect, self._on_connect
        client.on_connect_fail, client.on_disconnect = self._on_connect_fail, self._on_disconnect
        client.on_publish, client.on_message = self._on_publish, self.side.heard
        return client

    def _on_pre_connect(self, client: Client, _data: object) -> None:
        if client is self._client:
            self._greeted = False

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if client is not self._client or self._closing:
            client.disconnect()
            return
        self._greeted = True
        if reason.is_failure:
            if self._newest and reason.getName() == "Unsupported protocol version":
                self._fall_back()
            else:
                self._lost(f"refused: {reason.getName()}")
            return
        allowed = getattr(properties, "ReceiveMaximum", WINDOW)
        self._window = max(1, min(WINDOW, allowed) - STATUS_ROOM)
        # Rows wait for the first answer (`_on_publish`): paho sends what was under way only after this returns,
        # and newer rows must not overtake it. A status that was not answered it sends again, too.
        self._status.send(client, anew=True)
        self._times.interrupted(self._outbox.counts)
        self._connected.set()
        self.side.opened(client)
        if self._down:
            self._down = False
            self._on_problem(f"broker {self.name}: connected, {self._outbox.counts.pending} events to send")

    def _on_connect_fail(self, client: Client, _data: object) -> None:
        if client is self._client:
            error = sys.exc_info()[1]  # paho calls this while it handles what the socket raised
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error or "unreachable")
            self._lost(f"no connection ({why})")

    def _on_disconnect(
        self, client: Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if client is not self._client:
            return
        self._connected.clear()
        self.side.closed()
        self._open = False
        self._left.set()
        if self._closing:
            return
        if not self._greeted and self._newest:
            # Connected and thrown out before a word was said: so do brokers that cannot read MQTT 5 at all.
            self._fall_back()
        elif reason.getName() == "Session taken over":
            self._lost(f"another node is called {self._node} too, give each its own node.name")
        elif not self._down:  # after a refusal that one says more
            self._lost(f"connection lost ({reason.getName()})")

    def _lost(self, why: str) -> None:
        self.trouble = why
        if not self._down and not self._closing:
            self._down = True
            self._on_problem(f"broker {self.name}: {why}; events are kept on disk, trying again")

    def _on_publish(
        self, client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if client is not self._client:
            return
        self._open = self._connected.is_set()
        self._status.answered(mid)
        with self._book:
            seq = self._under_way.get(mid)
            if seq is None:  # not an event, or answered before `publish` returned its id
                self._early[mid] = reason.is_failure
        if seq is not None:
            self._answered(seq, refused=reason.is_failure)
            with self._book:
                self._under_way.pop(mid, None)
        self._turns.take()

    def _answered(self, seq: int, *, refused: bool) -> None:
        """The broker has row `seq`, or does not want it: then all wait a while, as the next would fare no better."""
        if refused:
            self._pause(f"broker {self.name}: refused event {seq}; events are kept on disk and offered again")
            return
        self._times.acknowledged(seq)
        try:
            self._outbox.acknowledge(seq)
            self._pause_s = REFUSED_S
        except StorageError as error:  # must not end paho's thread
            self._pause(str(error))

    def _pause(self, why: str) -> None:
        """Send nothing for a while, longer each time; tell of it once. The next event or health ends it."""
        self._times.interrupted(self._outbox.counts)
        now_s = time.monotonic()
        if now_s < self._pause_until_s:
            return
        if self._pause_s == REFUSED_S:
            self._on_problem(why)
        self._pause_until_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, REFUSED_MAX_S)

    def _send_window(self) -> None:
        """Hand paho the oldest rows not under way, up to the window."""
        client = self._client
        if self._open:
            self._status.send(client)
        with self._book:
            # Before the outbox is read: a row acknowledged in between is then in neither.
            busy = set(self._under_way.values())
            self._early.clear()
        room = self._window - len(busy)
        if not self._open or room <= 0 or time.monotonic() < self._pause_until_s:
            return
        try:
            rows = [row for row in self._outbox.pending(room + len(busy)) if row.seq not in busy]
        except StorageError as error:
            self._pause(str(error))
            return
        for row in rows:
            if not self._open:
                return
            sent = client.publish(f"{self._topic}/events", row.payload, qos=1)
            with self._book:
                if client is not self._client:
                    return
                refused = self._early.pop(sent.mid, None)
                if refused is None:
                    self._under_way[sent.mid] = row.seq
            if refused is not None:
                self._answered(row.seq, refused=refused)
                self._turns.take()
