"""Which frames of an interface reach a packet socket (filters in tcpdump's language), and keeping frames from the kernel's own stack."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import itertools
import os
import select
import socket
import subprocess

from penstock.elements.element import ConfigureError
from penstock.elements.packetsocket import missing_interface

__all__ = ["KernelKeptOut", "attach_filter"]

_ATTACH_FILTER = 26
_ETHERNET = 1
_ANSWER_S = 5.0
#: two elements may keep the same interface's frames
_numbers = itertools.count()


class _Program(ctypes.Structure):
    """libpcap's ``struct bpf_program``, which is Linux's ``struct sock_fprog`` but for the first field's size."""

    _fields_ = [("count", ctypes.c_uint), ("instructions", ctypes.c_void_p)]


class _SocketProgram(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def attach_filter(to: socket.socket, text: str, snap_bytes: int) -> None:
    """Let only Ethernet frames through that a filter in tcpdump's language (pcap-filter(7)) takes; libpcap compiles it.

    Raises ConfigureError where the text is no filter, or libpcap is not there.
    """
    name = ctypes.util.find_library("pcap")
    if name is None:
        raise ConfigureError("BPF_FILTER: libpcap compiles filters, and is not there (Debian: libpcap0.8)")
    library = ctypes.CDLL(name)
    library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_geterr.restype = ctypes.c_char_p
    for function in (library.pcap_geterr, library.pcap_close):
        function.argtypes = [ctypes.c_void_p]
    library.pcap_compile.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Program), ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
    handle = library.pcap_open_dead(_ETHERNET, snap_bytes)
    program = _Program()
    try:
        if library.pcap_compile(handle, ctypes.byref(program), text.encode(), 1, 0xFFFFFFFF) != 0:
            raise ConfigureError(f"BPF_FILTER: {library.pcap_geterr(handle).decode(errors='replace')}")
        try:
            to.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, bytes(_SocketProgram(program.count, program.instructions)))
        finally:
            library.pcap_freecode(ctypes.byref(program))
    except OSError as error:
        raise ConfigureError(f"BPF_FILTER: {error.strerror}") from None
    finally:
        library.pcap_close(handle)


class KernelKeptOut:
    """While it is there, the kernel's own stack gets no frame that comes in by an interface; packet sockets do.

    A table of nftables drops them, which belongs to a process of ours (``flags owner``): it goes when that process goes, and that one
    goes when this one does, however it ends.
    """

    def __init__(self, device: str):
        try:
            index = socket.if_nametoindex(device)
        except OSError:
            raise missing_interface(device) from None
        table = f"penstock_{os.getpid()}_{next(_numbers)}_{index}"
        try:
            self._nft = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except FileNotFoundError:
            raise ConfigureError("SNIFFER: false needs nftables, and there is no nft (Debian: nftables)") from None
        assert self._nft.stdin is not None
        self._nft.stdin.write((f"add table netdev {table} {{ flags owner; }}\n"
                               f"add chain netdev {table} kept {{ type filter hook ingress device {device} priority -500; policy drop; }}\n"
                               f"list chain netdev {table} kept\n").encode())
        self._nft.stdin.flush()
        answer = self._answer()
        if "policy drop" not in answer:
            self.close()
            reason = next((line for line in answer.splitlines() if "rror" in line), "nft does not answer")
            raise ConfigureError(f"SNIFFER: false is not possible on {device}: {reason.removeprefix('Error: ')}")

    def _answer(self) -> str:
        """What nft says to the listing."""
        assert self._nft.stdout is not None
        text = b""
        while b"policy drop" not in text and b"rror" not in text:
            if not select.select([self._nft.stdout], [], [], _ANSWER_S)[0]:
                break
            more = os.read(self._nft.stdout.fileno(), 4096)
            if not more:
                break
            text += more
        return text.decode(errors="replace")

    def close(self) -> None:
        assert self._nft.stdin is not None and self._nft.stdout is not None
        with contextlib.suppress(OSError):
            self._nft.stdin.close()
        self._nft.wait()
        self._nft.stdout.close()
