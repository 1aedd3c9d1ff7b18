"""Where the page listens, `[HOST:]PORT`, and under which names it may be asked for."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from edge_runtime.errors import ConfigError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on.

    Attributes:
        host: a name or an IP address, IPv6 without brackets.
        port: 0 to 65535; 0 takes a free one.
    """

    host: str
    port: int

    @property
    def beyond_loopback(self) -> bool:
        """Whether other machines can reach it."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() != "localhost"

    @property
    def url(self) -> str:
        """What a browser on this machine asks for."""
        if self._everywhere:
            return _url("::1" if ":" in self.host else "127.0.0.1", self.port)
        return _url(self.host, self.port)

    @property
    def url_beyond(self) -> str | None:
        """What a browser on another machine asks for; None where none may."""
        if not self.beyond_loopback:
            return None
        return _url(own_address() if self._everywhere else self.host, self.port)

    def answers_to(self, host_header: str) -> bool:
        """Whether a request with this `Host` may be answered.

        On loopback only for names of this machine: a page elsewhere could point a name of its own at loopback and
        read ours through its visitor's browser (DNS rebinding). Beyond loopback, the node does not know its names.
        """
        return self.beyond_loopback or _name(host_header).lower() in (*LOOPBACK_NAMES, self.host.lower())

    @property
    def _everywhere(self) -> bool:
        """Whether it is the wildcard address: all of this machine's."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def own_address() -> str:
    """This machine's address in its network, as far as it has one; otherwise its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the kernel picks the address that it would come from
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def parse_listen(text: str) -> Listen:
    """The address of `[HOST:]PORT`, on 127.0.0.1 where no host is given; IPv6 addresses stand in brackets.

    Raises:
        ConfigError: not such a text.
    """
    host, _, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    good = port.isascii() and port.isdecimal() and int(port) <= 65535
    if not good or (not bracketed and any(c in host for c in ":[]/ ")):
        raise ConfigError(f"web.listen = {text}: must look like 8080, 0.0.0.0:8080 or [::1]:8080")
    return Listen(host.strip("[]") or "127.0.0.1", int(port))


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _name(host_header: str) -> str:
    """The host of a `Host` header, without its port and brackets."""
    if host_header.startswith("["):
        return host_header[1:].partition("]")[0]
    return host_header.partition(":")[0]
