"""The node's retained status, `online` or `offline`: at most one message under way, so that none overtakes another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo


class Status:
    """Sent by one thread at a time; a message that was not answered is sent again by paho, before anything newer.

    Args:
        topic: where it stands.
        online: what it says at first.

    Attributes:
        online: what it is to say from the next `send` on.
    """

    def __init__(self, topic: str, online: bool) -> None:
        self.online = online
        self._topic, self._said = topic, ""
        self._under_way: MQTTMessageInfo | None = None
        self._answered = 0  # paho's messages count from 1

    def send(self, client: Client, *, anew: bool = False) -> None:
        """Say it if it is news, or `anew` to a broker that has heard otherwise; call again once it was answered."""
        says = "online" if self.online else "offline"
        if (anew or says != self._said) and (self._under_way is None or self._is_answered(self._under_way)):
            self._said, self._answered = says, 0
            self._under_way = self._published(client, says)

    def answered(self, mid: int) -> None:
        """The broker has answered a message; paho's `on_publish`, which is asked to `send` what waits after this.

        paho itself counts the message as published only after that callback, and nobody would come back then.
        """
        self._answered = mid

    def _published(self, client: Client, says: str) -> MQTTMessageInfo | None:
        from paho.mqtt.enums import MQTTErrorCode

        sent = client.publish(self._topic, says, qos=1, retain=True)
        if sent.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            self._said = ""  # paho's queue is full: said once something in it was answered
            return None
        # What met a connection that had just broken is sent with the next one; only asking for it would raise.
        sent.rc = MQTTErrorCode.MQTT_ERR_SUCCESS
        return sent

    def stands(self) -> bool:
        """Whether the broker has answered what is to be said."""
        says = "online" if self.online else "offline"
        return says == self._said and self._under_way is not None and self._is_answered(self._under_way)

    def _is_answered(self, message: MQTTMessageInfo) -> bool:
        return message.mid == self._answered or message.is_published()

    def forget(self) -> None:
        """What was under way went with its client."""
        self._under_way = None
