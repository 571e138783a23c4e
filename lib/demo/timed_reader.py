"""Requests that must arrive within a time."""

import io
import time
from socket import socket
from typing import Any


class TimedReader(io.RawIOBase):
    """Read from a connection within a limit on the total time.

    A limit on silence alone never ends a client that sends a byte now and then.

    Args:
        connection: connection to read from; stays open.
    """

    def __init__(self, connection: socket, *, silence: float, whole: float) -> None:
        self._connection = connection
        self._silence = silence
        self._end = time.monotonic() + whole

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive some bytes.

        Raises:
            TimeoutError: none came, or the time is up.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long to arrive")
        self._connection.settimeout(min(self._silence, left))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._silence)  # of the answer
