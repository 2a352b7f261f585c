# SPDX-License-Identifier: Apache-2.0
"""The messages between test and server: a JSON head and raw bytes, over a stream socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from struct import Struct
from typing import Any, NamedTuple

_LENGTHS = Struct("=Qq")
_NO_BLOB = -1


class Message(NamedTuple):
    """A command or its answer. File contents follow the JSON as raw bytes."""

    head: dict[str, Any]
    blob: bytes | None = None


def pack(message: Message) -> bytes:
    """The bytes to send."""
    head = json.dumps(message.head).encode()
    if message.blob is None:
        return _LENGTHS.pack(len(head), _NO_BLOB) + head
    return _LENGTHS.pack(len(head), len(message.blob)) + head + message.blob


class Unpacker:
    """Puts messages together from the pieces that the socket returns.

    So the server never waits for the rest of a message. The sender may be waiting for a lock that
    another thread holds during a system call, and that call ends only when the server answers.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take more bytes, give the messages that they complete."""
        self._buffer += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        if len(self._buffer) < _LENGTHS.size:
            return None
        head_length, blob_length = _LENGTHS.unpack_from(self._buffer)
        head_end = _LENGTHS.size + head_length
        end = head_end + max(blob_length, 0)
        if len(self._buffer) < end:
            return None
        head = json.loads(self._buffer[_LENGTHS.size : head_end])
        blob = None if blob_length == _NO_BLOB else bytes(memoryview(self._buffer)[head_end:end])
        del self._buffer[:end]
        return Message(head, blob)
