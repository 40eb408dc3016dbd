"""Cisco IOS extended and standard access lists as a Click configuration."""

from __future__ import annotations

import re

from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_ip, unparse_ip
from penstock.verify.readers.errors import TableError
from penstock.verify.readers.rules import port_range

__all__ = ["access_list_configuration", "parse_access_list"]

_CONTEXT = ArgumentContext({}, {})
_PORTS = {
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "www": 80,
    "pop3": 110, "ntp": 123, "snmp": 161, "bgp": 179, "syslog": 514,
}
_IGNORED = ("log", "log-input")


def parse_access_list(text: str) -> list[tuple[bool, str]]:
    """(whether it permits, what matches in IPFilter's language) of each entry, in order. Raises TableError with the line.

    Read are ``access-list NUMBER …``, and entries under ``ip access-list extended|standard NAME``, with or without sequence
    numbers. What is not understood is refused: an entry that is left out would make the answer wrong.
    """
    found: list[tuple[bool, str]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        words = raw.split("!")[0].split()
        if words[:2] == ["ip", "access-list"] or not words or words[0] == "remark":
            continue
        if words[0] == "access-list" and len(words) > 1:
            words = words[2:]
        elif re.fullmatch(r"\d+", words[0]):
            words = words[1:]
        if words[:1] == ["remark"]:
            continue
        try:
            found.append(_entry(words))
        except IndexError:
            raise TableError(f"line {number}: '{raw.strip()}': it ends too early") from None
        except (TableError, ArgumentError) as error:
            raise TableError(f"line {number}: '{raw.strip()}': {error}") from None
    if not found:
        raise TableError("there are no entries in it")
    return found


def access_list_configuration(entries: list[tuple[bool, str]], *, inside: str = "inside", outside: str = "outside") -> str:
    """A box that lets through from ``inside`` to ``outside`` what the list permits, and everything the other way."""
    expression = ", ".join([*(f"{'allow' if permits else 'deny'} {what}" for permits, what in entries), "deny all"])
    return (f"FromDevice({inside}) -> Strip(14) -> CheckIPHeader -> list :: IPFilter({expression}) -> Unstrip(14) -> ToDevice({outside});\n"
            f"FromDevice({outside}) -> ToDevice({inside});")


def _entry(words: list[str]) -> tuple[bool, str]:
    rest = list(words)
    action = rest.pop(0)
    if action not in ("permit", "deny"):
        raise TableError(f"'{action}' is not understood (permit, deny)")
    parts: list[str] = []
    if rest[0] in ("any", "host") or re.match(r"\d+\.", rest[0]):
        # A standard list: the source alone.
        parts += _address(rest, "src")
    else:
        protocol = rest.pop(0)
        if protocol not in ("ip", "tcp", "udp", "icmp", "esp", "gre", "ospf") and not protocol.isdigit():
            raise TableError(f"protocol {protocol} is not understood")
        if protocol != "ip":
            parts.append(protocol if protocol in ("tcp", "udp", "icmp") else f"ip proto {protocol}")
        for side in ("src", "dst"):
            parts += _address(rest, side)
            if protocol in ("tcp", "udp"):
                parts += _ports(rest, side)
    while rest:
        word = rest.pop(0)
        if word == "established" and "tcp" in parts:
            parts.append("(tcp opt ack || tcp opt rst)")
        elif word not in _IGNORED:
            raise TableError(f"'{word}' is not understood")
    return action == "permit", " && ".join(parts) or "all"


def _address(rest: list[str], side: str) -> list[str]:
    word = rest.pop(0)
    if word == "any":
        return []
    if word == "host":
        return [f"{side} host {unparse_ip(parse_ip(rest.pop(0), _CONTEXT))}"]
    address = parse_ip(word, _CONTEXT)
    if not rest or not re.match(r"\d+\.", rest[0]):
        return [f"{side} host {unparse_ip(address)}"]
    mask = parse_ip(rest.pop(0), _CONTEXT) ^ 0xFFFF_FFFF
    if mask != (0xFFFF_FFFF << (32 - mask.bit_count())) & 0xFFFF_FFFF:
        raise TableError("a wildcard that is no prefix")
    return [f"{side} net {unparse_ip(address & mask)}/{mask.bit_count()}"] if mask else []


def _ports(rest: list[str], side: str) -> list[str]:
    if not rest or rest[0] not in ("eq", "neq", "lt", "gt", "range"):
        return []
    word, first = rest.pop(0), _port(rest.pop(0))
    if word == "range":
        return [port_range(side, first, _port(rest.pop(0)))]
    return [{"eq": f"{side} port {first}", "neq": f"not {side} port {first}", "lt": f"{side} port < {first}",
             "gt": f"{side} port > {first}"}[word]]


def _port(word: str) -> int:
    if word in _PORTS:
        return _PORTS[word]
    if not word.isdigit() or int(word) > 0xFFFF:
        raise TableError(f"port {word} is not understood")
    return int(word)
