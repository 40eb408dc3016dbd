"""Opening a port of a switch that another process keeps: frames go through shared memory, not through that process's socket."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

from penstock.datapath.ports import MAX_RINGS
from penstock.ring import OpenPort, PortMemory
from penstock.toolstack.client import Client
from penstock.toolstack.errors import DomainError

__all__ = ["RemotePort"]

#: how long the other side may take to let go of a port
_CLOSE_S = 2.0


class RemotePort(OpenPort):
    """``vale0:p1``, made now and gone with this object or this process. A toolstack is started where none runs.

    ``tap_of`` is a port of the same switch: all that it sends and is sent comes here too. With several pairs of ``rings`` this is the
    first, and ``further`` are the others: each can be used by a thread of its own. At a trusting switch this program forwards itself.
    """

    def __init__(self, name: str, *, slots: int = 256, rings: int = 1, patient: bool = False, tap_of: str = "", path: Path | None = None):
        arguments = {"name": name, "slots": slots, "rings": rings, "patient": patient, "tap_of": tap_of}
        request = json.dumps({"verb": "switch_open", "arguments": arguments}).encode() + b"\n"
        with Client(path) as client:
            # As long as this connection is there, and was heard, the toolstack does not end.
            client.status()
            line, descriptors = self._ask(client.path, request)
        answer = json.loads(line or b'{"error": "the toolstack has gone"}')
        if "error" in answer or not descriptors:
            self._connection.close()
            raise DomainError(answer.get("error", "the toolstack gave no port"))
        self.number = int(answer["result"]["number"])
        if given := answer["result"].get("joining"):
            from penstock.switch.joined import Joining

            super().__init__(Joining.from_json(given).memory(descriptors[0]), name)
        else:
            super().__init__(PortMemory(descriptor=descriptors[0]), name)
        self.further = [OpenPort(PortMemory(descriptor=d), name) for d in descriptors[1:]]

    def _ask(self, path: Path, request: bytes) -> tuple[bytes, list[int]]:
        """The answer, and the descriptors of the port's memory; the connection stays, and with it the port."""
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            self._connection.connect(str(path))
            self._connection.sendall(request)
            line, descriptors, _, _ = socket.recv_fds(self._connection, 1 << 16, MAX_RINGS)
        except OSError as error:
            self._connection.close()
            raise DomainError(f"{path}: {error.strerror}") from None
        return line, descriptors

    def close(self) -> None:
        """Give the port back; when this returns it is gone, and its name is free."""
        super().close()
        for port in self.further:
            port.close()
        with self._connection as connection, contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(_CLOSE_S)
            while connection.recv(4096):
                pass

    @property
    def is_there(self) -> bool:
        """Whether the switch still has the port."""
        try:
            return self._connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
