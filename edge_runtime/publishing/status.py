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

    def send(self, client: Client, *, anew: bool = False) -> None:
        """Say it if it is news, or `anew` to a broker that has heard otherwise; call again once it was answered."""
        says = "online" if self.online else "offline"
        if (anew or says != self._said) and (self._under_way is None or self._under_way.is_published()):
            self._said = says
            self._under_way = client.publish(self._topic, says, qos=1, retain=True)

    def stands(self) -> bool:
        """Whether the broker has answered what is to be said."""
        says = "online" if self.online else "offline"
        return says == self._said and self._under_way is not None and self._under_way.is_published()

    def forget(self) -> None:
        """What was under way went with its client."""
        self._under_way = None
