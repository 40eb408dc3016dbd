"""Packets for tests: well-formed ones, damaged ones, and noise, from a seed."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

__all__ = ["Sent", "checksum", "ether", "ipv4", "mixture", "tcp", "udp"]


@dataclass(frozen=True)
class Sent:
    """A packet to feed, and where its headers are."""

    data: bytes
    mac: int | None = None
    network: int | None = None
    transport: int | None = None
    timestamp_ns: int = 0
    annotations: bytes = b""


def checksum(data: bytes) -> int:
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(protocol: int, payload: bytes, src: str = "10.0.0.1", dst: str = "10.0.0.2", *, ttl: int = 64, ident: int = 1,
         fragment: int = 0, options: bytes = b"", tos: int = 0) -> bytes:
    addresses = bytes(map(int, src.split("."))) + bytes(map(int, dst.split(".")))
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, tos, words * 4 + len(payload), ident, fragment, ttl, protocol, 0) + addresses + options
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def _pseudo(src: str, dst: str, protocol: int, length: int) -> bytes:
    addresses = bytes(map(int, src.split("."))) + bytes(map(int, dst.split(".")))
    return addresses + struct.pack(">BBH", 0, protocol, length)


def udp(sport: int, dport: int, payload: bytes = b"x" * 20, src: str = "10.0.0.1", dst: str = "10.0.0.2", **ip: object) -> bytes:
    head = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
    value = checksum(_pseudo(src, dst, 17, 8 + len(payload)) + head + payload) or 0xFFFF
    return ipv4(17, head[:6] + value.to_bytes(2, "big") + payload, src, dst, **ip)  # type: ignore[arg-type]


def tcp(sport: int, dport: int, payload: bytes = b"", flags: int = 16, src: str = "10.0.0.1", dst: str = "10.0.0.2",
        sequence: int = 1000, acknowledgement: int = 0, **ip: object) -> bytes:
    head = struct.pack(">HHIIBBHHH", sport, dport, sequence, acknowledgement, 0x50, flags, 8192, 0, 0)
    value = checksum(_pseudo(src, dst, 6, 20 + len(payload)) + head + payload)
    return ipv4(6, head[:16] + value.to_bytes(2, "big") + head[18:] + payload, src, dst, **ip)  # type: ignore[arg-type]


def icmp(kind: int, code: int = 0, rest: bytes = b"\0\1\0\1", payload: bytes = b"ping", src: str = "10.0.0.1",
         dst: str = "10.0.0.2") -> bytes:
    body = bytes([kind, code, 0, 0]) + rest + payload
    return ipv4(1, body[:2] + checksum(body).to_bytes(2, "big") + body[4:], src, dst)


def ether(payload: bytes, kind: int = 0x0800, src: str = "020000000001", dst: str = "020000000002") -> bytes:
    return bytes.fromhex(dst) + bytes.fromhex(src) + kind.to_bytes(2, "big") + payload


def arp(operation: int, sender_ip: str, target_ip: str, sender: str = "020000000001", target: str = "000000000000") -> bytes:
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + bytes.fromhex(sender) + bytes(map(int, sender_ip.split(".")))
    return ether(body + bytes.fromhex(target) + bytes(map(int, target_ip.split("."))), 0x0806, sender, "ffffffffffff")


def _good(r: random.Random) -> bytes:
    """An IPv4 packet."""
    src = r.choice(["10.0.0.1", "1.0.0.1", "192.168.1.7", "0.0.0.0", "255.255.255.255", "224.0.0.5"])
    dst = r.choice(["10.0.0.2", "2.0.0.2", "1.0.0.1", "1.0.0.2", "255.255.255.255", "239.1.2.3", "3.0.0.9"])
    size = r.choice([0, 1, 7, 8, 20, 64, 300, 1400])
    payload = r.randbytes(size)
    options = r.choice([b"", b"", b"", bytes([7, 7, 4, 0, 0, 0, 0, 0]), bytes([68, 12, 5, 1]) + bytes(8), bytes([1, 1, 131, 3])])
    ports = r.choice([(1024, 53), (5000, 80), (22, 22), (0, 65535)])
    what = r.randrange(6)
    if what == 0:
        return udp(*ports, payload, src, dst, options=options, ttl=r.choice([0, 1, 2, 64]))
    if what == 1:
        return tcp(*ports, payload, r.choice([2, 16, 17, 4, 24, 18]), src, dst, options=options)
    if what == 2:
        return icmp(r.choice([0, 3, 5, 8, 11, 13]), 0, r.randbytes(4), payload, src, dst)
    if what == 3:
        return ipv4(17, payload, src, dst, fragment=r.choice([0x2000, 0x0010, 0x2003, 0x4000]), ident=r.randrange(3))
    if what == 4:
        return ipv4(r.choice([2, 47, 89]), payload, src, dst, options=options)
    return udp(*ports, payload, src, dst, tos=r.randrange(256))


def _damaged(data: bytes, r: random.Random) -> bytes:
    content = bytearray(data)
    for _ in range(r.randrange(1, 4)):
        if content:
            content[r.randrange(len(content))] = r.randrange(256)
    if r.random() < 0.5:
        content = content[: r.randrange(len(content) + 1)]
    return bytes(content)


def mixture(count: int, seed: int, shape: str) -> list[Sent]:
    """``shape``: "ether" (frames), "ip" (packets from the IP header on, positions set) or "raw" (no positions)."""
    r = random.Random(seed)
    out: list[Sent] = []
    for i in range(count):
        data = _good(r)
        if r.random() < 0.3:
            data = _damaged(data, r)
        if r.random() < 0.08:
            data = r.randbytes(r.randrange(0, 100))
        stamp = 1_000_000_000_000_000_000 + i * 1_000_003
        annotations = bytearray(48)
        if len(data) >= 20:
            annotations[0:4] = data[16:20]
        annotations[16] = r.randrange(4)
        annotations[19] = r.randrange(2)
        annotations[20:24] = r.randrange(5).to_bytes(4, "little")
        if shape == "ether":
            kind = r.choice([0x0800] * 8 + [0x86DD, 0x1234])
            frame = ether(data, kind, dst=r.choice(["020000000002", "ffffffffffff", "01005e000001", "010101010101"]))
            if r.random() < 0.15:
                frame = arp(r.choice([1, 2, 3]), "1.0.0.2", r.choice(["1.0.0.1", "2.0.0.9", "9.9.9.9"]))
            if r.random() < 0.1:
                frame = frame[:12] + b"\x81\x00" + r.choice([b"\x00\x05", b"\xe0\x07"]) + frame[12:]
            if r.random() < 0.1:
                frame = frame[: r.randrange(20)]
            out.append(Sent(frame, 0, None, None, stamp, bytes(annotations)))
        elif shape == "ip" and len(data) > 1:
            at = min((data[0] & 15) * 4, len(data))
            out.append(Sent(data, None, 0, at, stamp, bytes(annotations)))
        else:
            out.append(Sent(data, None, None, None, stamp, bytes(annotations)))
    return out
