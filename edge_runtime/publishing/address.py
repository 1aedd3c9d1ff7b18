"""Where the broker is, from the URL the user gave; and the names that may stand in a topic."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from edge_runtime.errors import ConfigError

PORT, TLS_PORT = 1883, 8883


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is; neither its text form nor `name` holds the password."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None = field(repr=False)

    @property
    def name(self) -> str:
        """The address without its secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse_broker(url: str) -> BrokerAddress:
    """The address in `mqtt://[user[:password]@]host[:port]` or `mqtts://...`; a bare `host[:port]` will do.

    Raises:
        ConfigError: another form. The message holds no password.
    """
    shown = url.rpartition("@")[2]
    wrong = ConfigError(f"mqtt.broker {shown}: must look like mqtt://[user:password@]host[:port], embedded or none")
    try:
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        host, port = parts.hostname, parts.port
        # paho resolves the name in its own thread, which a name that is none would end.
        (host or "").encode("idna")
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("mqtt", "mqtts") or not host or port == 0:
        raise wrong
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise wrong
    tls = parts.scheme == "mqtts"
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return BrokerAddress(host, port or (TLS_PORT if tls else PORT), tls, user, password)


def check_topic_names(root: str, node: str) -> None:
    """Refuse what cannot be a level of a topic (MQTT 5, section 4.7).

    Raises:
        ConfigError: empty, with a wildcard or NUL, or a node's name of several levels.
    """
    for setting, name, forbidden in (("mqtt.root", root, "+#\0"), ("node.name", node, "+#\0/")):
        if not name or any(sign in name for sign in forbidden):
            shown = ", ".join(sign for sign in forbidden if sign.isprintable())
            raise ConfigError(f"{setting} {name!r}: part of every topic, must not be empty nor hold {shown}")
