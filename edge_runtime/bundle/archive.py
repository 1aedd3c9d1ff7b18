"""The ZIP file around a bundle's members: written in one canonical form, and read only in that form.

Any unzip opens it. We read by rebuilding every header from the few facts in the central directory and comparing:
what differs by a byte is refused. So nothing can hide between, before or behind the members, no two tools can see
different contents, and none of ZIP's variants (zip64, encryption, several disks, comments, extra fields) exists here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from edge_runtime.bundle.format import MANIFEST, MAX_FILE_BYTES, MEMBERS
from edge_runtime.errors import FormatError, IntegrityError

_STORED, _DEFLATED = 0, 8
_NEEDS_VERSION, _MIDNIGHT, _FIRST_OF_1980 = 20, 0, 0x0021
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
START = _LOCAL_MARK
"""What every bundle begins with."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One member as it lies in the file.

    Attributes:
        name: one of MEMBERS.
        payload: its bytes in the file; raw deflate for manifest.json, else its very content.
        size: once inflated.
        crc: CRC-32 once inflated.
    """

    name: str
    payload: bytes | memoryview
    size: int
    crc: int

    @property
    def _facts(self) -> tuple[int, ...]:
        method = _DEFLATED if self.name == MANIFEST else _STORED
        return (
            _NEEDS_VERSION, 0, method, _MIDNIGHT, _FIRST_OF_1980, self.crc, len(self.payload), self.size,
            len(self.name), 0,
        )  # fmt: skip

    @property
    def local_header(self) -> bytes:
        """What stands before its payload."""
        return _LOCAL.pack(_LOCAL_MARK, *self._facts) + self.name.encode()

    def central_header(self, offset: int) -> bytes:
        """Its entry in the directory at the end of the file."""
        entry = _CENTRAL.pack(_CENTRAL_MARK, _NEEDS_VERSION, *self._facts, 0, 0, 0, 0, offset)
        return entry + self.name.encode()


def stored(name: str, content: bytes) -> Member:
    """A member that lies in the file as it is."""
    return Member(name, content, len(content), zlib.crc32(content))


def join(members: Iterable[Member]) -> bytes:
    """The whole file."""
    body, directory, count = bytearray(), bytearray(), 0
    for member in members:
        directory += member.central_header(len(body))
        body += member.local_header + member.payload
        count += 1
    end = _END.pack(_END_MARK, 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + end)


def file_bytes(members: Iterable[Member]) -> int:
    """The length of what `join` gives."""
    headers = _LOCAL.size + _CENTRAL.size
    return _END.size + sum(headers + 2 * len(member.name) + len(member.payload) for member in members)


def split(content: bytes, origin: str) -> dict[str, Member]:
    """The members of a bundle, by name; payloads are views of `content`.

    Args:
        content: the file.
        origin: its path, for messages.

    Raises:
        FormatError: not a ZIP file, torn, or not in the form `join` gives.
        IntegrityError: a stored member's CRC-32 does not hold.
    """

    def refuse(problem: str) -> FormatError:
        return FormatError(f"{origin}: {problem}; copy the file again, or use it as edge-build wrote it")

    if len(content) > MAX_FILE_BYTES:
        raise refuse("is larger than any bundle")
    if len(content) < _END.size or content[:4] != START:
        raise refuse("is not a bundle")
    mark, *disks, size, start, comment = _END.unpack_from(content, len(content) - _END.size)
    if mark != _END_MARK or comment:
        raise refuse("is torn, or has something behind its end")
    count = disks[2]
    if disks != [0, 0, count, count] or not len(MEMBERS) - 1 <= count <= len(MEMBERS):
        raise refuse(f"must be one file of {len(MEMBERS) - 1} or {len(MEMBERS)} members")
    if start + size + _END.size != len(content):
        raise refuse("has a directory that does not end where the file ends")
    members: dict[str, Member] = {}
    view, entry, offset = memoryview(content), start, 0
    for expected in MEMBERS[:count]:
        if entry + _CENTRAL.size > len(content):
            raise refuse("has a directory that goes beyond its end")
        fields = _CENTRAL.unpack_from(content, entry)
        crc, packed, unpacked, name_length = fields[7:11]
        name = bytes(content[entry + _CENTRAL.size : entry + _CENTRAL.size + name_length])
        if name != expected.encode():
            raise refuse(f"has the member {name[:60]!r} where {expected} must be")
        payload_at = offset + _LOCAL.size + len(name)
        member = Member(expected, view[payload_at : payload_at + packed], unpacked, crc)
        central = member.central_header(offset)
        if payload_at + packed > start or content[entry : entry + len(central)] != central:
            raise refuse(f"describes {expected} in a form that bundles do not have")
        if content[offset:payload_at] != member.local_header:
            raise refuse(f"says one thing of {expected} before it and another in its directory")
        if expected != MANIFEST and (packed != unpacked or zlib.crc32(member.payload) != crc):
            raise IntegrityError(f"{origin}: {expected} does not match its checksum; copy the file again")
        members[expected] = member
        entry, offset = entry + len(central), payload_at + packed
    if offset != start or entry != start + size:
        raise refuse("has bytes that belong to no member")
    return members
