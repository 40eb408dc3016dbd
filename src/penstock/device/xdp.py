"""AF_XDP sockets (address family XDP of Linux): frames go between an interface's driver and memory of ours, past the host's stack.

Written from the kernel's Documentation/networking/af_xdp.rst and the layouts in linux/if_xdp.h and linux/bpf.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import socket
import struct

from penstock.device.pumped import Pumped
from penstock.device.xdppump import CHUNK_BYTES, FRAMES, RING_FRAMES, XdpContext, xdp_pumps
from penstock.ring import PortMemory, SharedPort
from penstock.runtime.image import LoadedImage
from penstock.runtime.once import once

__all__ = ["MAX_MTU_BYTES", "Redirection", "XdpPort", "receive_queues"]

#: a frame has a chunk less what the kernel keeps before it, and an Ethernet header with two VLAN tags
MAX_MTU_BYTES = CHUNK_BYTES - 256 - 22

_AF_XDP, _SOL_XDP = 44, 283
_MMAP_OFFSETS, _RX_RING, _TX_RING, _UMEM_REG, _FILL_RING, _COMPLETION_RING, _STATISTICS = 1, 2, 3, 4, 5, 6, 7
#: where in the socket each ring is mapped from (XDP_PGOFF_RX_RING, …)
_PLACES = {_RX_RING: 0, _TX_RING: 0x8000_0000, _FILL_RING: 0x1_0000_0000, _COMPLETION_RING: 0x1_8000_0000}
_ENTRY_BYTES = {_RX_RING: 16, _TX_RING: 16, _FILL_RING: 8, _COMPLETION_RING: 8}
_BPF = 321
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _LINK_CREATE = 0, 2, 5, 28
_XSKMAP, _PROG_TYPE_XDP, _BPF_XDP = 17, 6, 37
_DRIVER_MODE, _XDP_PASS = 4, 2
_REDIRECT_MAP = 51
_SOL_PACKET, _ADD_MEMBERSHIP, _MR_PROMISC = 263, 1, 1
_SIOCETHTOOL, _GET_CHANNELS = 0x8946, 0x3C


def _bpf(command: int, attributes: bytes) -> int:
    """The system call; the descriptor that it gives, which does not outlive this program's images."""
    libc = ctypes.CDLL(None, use_errno=True)
    block = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    answer = int(libc.syscall(_BPF, command, block, 128))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def receive_queues(name: str) -> int:
    """How many queues the interface receives with (ethtool -l): each takes a socket of its own."""
    channels = ctypes.create_string_buffer(struct.pack("9I", _GET_CHANNELS, *[0] * 8), 36)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(channels)))
        except OSError:
            return 1
    _, _, _, _, _, receive, _, _, combined = struct.unpack("9I", channels.raw)
    return max(int(receive + combined), 1)


class Redirection:
    """The program at an interface that gives each frame to the socket of its queue. It goes when this is closed, or the process ends.

    Raises OSError: EOPNOTSUPP where the driver takes no such programs, EBUSY where another one is there.
    """

    def __init__(self, name: str, queues: int):
        self.name, self.index = name, socket.if_nametoindex(name)
        self._descriptors: list[int] = []
        self._users = 0
        try:
            self._map = self._keep(_bpf(_MAP_CREATE, struct.pack("IIII", _XSKMAP, 4, 4, queues)))
        except BaseException:
            self.close()
            raise

    def _keep(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    def add(self, queue: int, descriptor: int) -> None:
        """Frames of that queue are for that socket; the last one to ``leave`` closes this."""
        self._users += 1
        key, value = ctypes.c_uint32(queue), ctypes.c_uint32(descriptor)
        _bpf(_MAP_UPDATE, struct.pack("I4xQQQ", self._map, ctypes.addressof(key), ctypes.addressof(value), 0))

    def attach(self) -> None:
        """From here on frames go to the sockets, in the driver itself; those of queues without one to the host's stack."""
        # r2 = context->rx_queue_index; r1 = the map; r3 = XDP_PASS; return bpf_redirect_map(r1, r2, r3)
        steps = [(0x61, 0x12, 16, 0), (0x18, 0x11, 0, self._map), (0, 0, 0, 0), (0xB7, 0x03, 0, _XDP_PASS), (0x85, 0, 0, _REDIRECT_MAP),
                 (0x95, 0, 0, 0)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("BBhi", *step) for step in steps))
        license_text = ctypes.create_string_buffer(b"Dual MIT/GPL")
        load = struct.pack("IIQQIIQII16sII", _PROG_TYPE_XDP, len(steps), ctypes.addressof(code), ctypes.addressof(license_text),
                           0, 0, 0, 0, 0, b"penstock", 0, _BPF_XDP)
        program = self._keep(_bpf(_PROG_LOAD, load))
        self._keep(_bpf(_LINK_CREATE, struct.pack("IIII", program, self.index, _BPF_XDP, _DRIVER_MODE)))
        promiscuous = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._keep(promiscuous.detach())
        with socket.socket(fileno=os.dup(self._descriptors[-1])) as made:
            made.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8s", self.index, _MR_PROMISC, 0, b""))

    def leave(self) -> None:
        self._users -= 1
        if not self._users:
            self.close()

    def close(self) -> None:
        for descriptor in reversed(self._descriptors):
            os.close(descriptor)
        self._descriptors.clear()


@once
def _loaded() -> LoadedImage:
    return LoadedImage(xdp_pumps())


class _Ring:
    """One of the four rings of a socket, mapped: addresses of its words and entries."""

    def __init__(self, made: socket.socket, kind: int, offsets: tuple[int, ...]):
        producer, consumer, entries, _ = offsets
        size = entries + RING_FRAMES * _ENTRY_BYTES[kind]
        self.block = mmap.mmap(made.fileno(), size, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=_PLACES[kind])
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.block))
        self.producer, self.consumer, self.entries = start + producer, start + consumer, start + entries


class XdpPort(Pumped):
    """One queue of an interface at a port. The host's own stack does not see what comes in."""

    def __init__(self, port: SharedPort | PortMemory, redirection: Redirection, queue: int = 0, *, is_owner: bool = True,
                 is_partial: bool = False):
        self.name, self._redirection = redirection.name, redirection
        self._lost_before = 0
        self._socket = made = socket.socket(_AF_XDP, socket.SOCK_RAW, 0)
        with contextlib.ExitStack() as undo:
            undo.callback(made.close)
            self._frames = mmap.mmap(-1, FRAMES * CHUNK_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            start = ctypes.addressof(ctypes.c_char.from_buffer(self._frames))
            _lift_memory_limit()
            made.setsockopt(_SOL_XDP, _UMEM_REG, struct.pack("QQIIII", start, FRAMES * CHUNK_BYTES, CHUNK_BYTES, 0, 0, 0))
            for kind in _ENTRY_BYTES:
                made.setsockopt(_SOL_XDP, kind, RING_FRAMES)
            offsets = struct.unpack("16Q", made.getsockopt(_SOL_XDP, _MMAP_OFFSETS, 128))
            places = {_RX_RING: offsets[:4], _TX_RING: offsets[4:8], _FILL_RING: offsets[8:12], _COMPLETION_RING: offsets[12:]}
            self._rings = {kind: _Ring(made, kind, place) for kind, place in places.items()}
            _bind(made, redirection.index, queue)
            redirection.add(queue, made.fileno())
            undo.pop_all()
        super().__init__(port, os.dup(made.fileno()), is_owner=is_owner, is_partial=is_partial, image=_loaded(), words=self._words(start))

    def _words(self, frames: int) -> dict[int, int]:
        """What the loops find; the first half of the memory is given to the kernel to receive into, the second is free to send from."""
        fill = self._rings[_FILL_RING]
        for i in range(RING_FRAMES):
            ctypes.c_uint64.from_address(fill.entries + 8 * i).value = i * CHUNK_BYTES
        ctypes.c_uint32.from_address(fill.producer).value = RING_FRAMES
        words: dict[int, int] = {XdpContext.FRAMES: frames, XdpContext.N_FREE: RING_FRAMES}
        for kind, at in ((_RX_RING, XdpContext.RX), (_FILL_RING, XdpContext.FILL), (_TX_RING, XdpContext.TX),
                         (_COMPLETION_RING, XdpContext.COMPLETION)):
            ring = self._rings[kind]
            words |= {at: ring.producer, at + 8: ring.consumer, at + 16: ring.entries}
        for i in range(RING_FRAMES):
            words[XdpContext.FREE + 8 * i] = (RING_FRAMES + i) * CHUNK_BYTES
        return words

    def close(self) -> None:
        """The socket goes with its last mapping; then frames are the host's again."""
        if self.is_open:
            self._lost_before = self._lost
            super().close()
            self._socket.close()
            for ring in self._rings.values():
                ring.block.close()
            self._redirection.leave()

    @property
    def drops(self) -> tuple[int, int]:
        """What the port's ring, or the socket, had no room for."""
        inward, outward = super().drops
        return inward + self._lost, outward

    @property
    def _lost(self) -> int:
        if not self.is_open:
            return self._lost_before
        dropped, _, _, full, _, _ = struct.unpack("6Q", self._socket.getsockopt(_SOL_XDP, _STATISTICS, 48))
        return int(dropped + full)


def _lift_memory_limit() -> None:
    """The memory is pinned, which counts against RLIMIT_MEMLOCK for those without CAP_IPC_LOCK."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))


def _bind(made: socket.socket, index: int, queue: int) -> None:
    """Python's socket module knows no address of this family."""
    libc = ctypes.CDLL(None, use_errno=True)
    address = ctypes.create_string_buffer(struct.pack("HHIII", _AF_XDP, 0, index, queue, 0), 16)
    if libc.bind(made.fileno(), address, 16):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
