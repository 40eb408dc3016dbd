"""Whether QUIC passes: an Initial of a version that nobody speaks, which a server answers with those that it does (RFC 9000)."""

from __future__ import annotations

from typing import Literal

from penstock.tracebox.detections.verdict import Subject, Verdict, reach

__all__ = ["run"]

_PORT, _INITIAL_BYTES = 443, 1200


def run(subject: Subject) -> Verdict:
    # Long header, a version of the pattern that forces negotiation (section 15), two connection identifiers.
    head = bytes((0xC0,)) + bytes.fromhex("1a2a3a4a") + b"\x08penstock" + b"\x08tracebox"
    escaped = "".join(f"\\x{b:02x}" for b in head.ljust(_INITIAL_BYTES, b"\0"))
    path = subject.trace(f"IP / udp{{dst={_PORT}}} / raw('{escaped}')")
    plain = subject.trace("IP / TCP", port=_PORT)
    reply = path.answer.packet.payload if path.answer is not None and path.answer.kind == "answer" else b""
    if len(reply) >= 7 and reply[0] & 0x80 and reply[1:5] == b"\0\0\0\0":
        at = 5
        for _ in range(2):
            at += 1 + (reply[at] if at < len(reply) else 0)
        versions = [reply[i : i + 4].hex() for i in range(at, len(reply) - 3, 4)]
        return Verdict("clean", f"the destination speaks QUIC: versions {', '.join(versions[:8])}", path=path)
    if reach(path) < reach(plain):
        return Verdict("blocked", f"TCP gets to hop {reach(plain)}, QUIC is heard of up to hop {reach(path)}", path=path)
    said = path.answer.text if path.answer is not None and path.answer.text else "no answer"
    state: Literal["clean", "unknown"] = "clean" if path.is_reached else "unknown"
    return Verdict(state, f"QUIC gets as far as TCP (hop {reach(path)}); the destination says: {said}", path=path)
