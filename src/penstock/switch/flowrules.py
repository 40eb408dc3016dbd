"""Flows in the words of ovs-ofctl(8): what they match, what they do; parsed and written."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.switch.module import BROADCAST, ModuleError
from penstock.switch.static import ethernet_address, format_ethernet

__all__ = ["FIELDS", "Actions", "FlowRule", "Key", "parse_flow", "parse_match", "write_actions", "write_match"]

#: field -> (word of the key, lowest bit, bits)
FIELDS: dict[str, tuple[int, int, int]] = {
    "in_port": (0, 0, 16), "vlan_tci": (3, 0, 16), "dl_src": (1, 16, 48), "dl_dst": (0, 16, 48), "dl_type": (1, 0, 16),
    "nw_src": (2, 32, 32), "nw_dst": (2, 0, 32), "nw_proto": (3, 48, 8), "nw_tos": (3, 56, 8), "tp_src": (3, 32, 16), "tp_dst": (3, 16, 16),
    "ipv6_src_high": (4, 0, 64), "ipv6_src_low": (5, 0, 64), "ipv6_dst_high": (6, 0, 64), "ipv6_dst_low": (7, 0, 64),
}
#: the tag is there
VLAN_PRESENT = 0x1000
_SHORT = {"ip": {"dl_type": 0x0800}, "ipv6": {"dl_type": 0x86DD}, "arp": {"dl_type": 0x0806},
          "tcp": {"dl_type": 0x0800, "nw_proto": 6}, "udp": {"dl_type": 0x0800, "nw_proto": 17}, "icmp": {"dl_type": 0x0800, "nw_proto": 1},
          "tcp6": {"dl_type": 0x86DD, "nw_proto": 6}, "udp6": {"dl_type": 0x86DD, "nw_proto": 17},
          "icmp6": {"dl_type": 0x86DD, "nw_proto": 58}}
_SAME = {"ip_src": "nw_src", "ip_dst": "nw_dst", "tcp_src": "tp_src", "tcp_dst": "tp_dst", "udp_src": "tp_src", "udp_dst": "tp_dst",
         "eth_src": "dl_src", "eth_dst": "dl_dst", "eth_type": "dl_type", "ip_proto": "nw_proto"}
Key = tuple[int, ...]


@dataclass
class Actions:
    """What happens to a frame; ``output`` None: it is dropped. Fields that are None stay."""

    output: int | None = None
    dl_src: int | None = None
    dl_dst: int | None = None
    nw_src: int | None = None
    nw_dst: int | None = None
    tp_src: int | None = None
    tp_dst: int | None = None
    pop_vlan: bool = False
    #: a VLAN number to tag with
    push_vlan: int | None = None


@dataclass
class FlowRule:
    match: Key
    mask: Key
    actions: Actions = field(default_factory=Actions)
    priority: int = 32768
    cookie: int = 0
    idle_s: int = 0
    hard_s: int = 0


def _number(name: str, text: str, bits: int) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise ModuleError(f"{name}={text}: a number is expected") from None
    if not 0 <= value < 1 << bits:
        raise ModuleError(f"{name}={text}: 0 to {(1 << bits) - 1}")
    return value


def _put(words: list[int], masks: list[int], name: str, value: int, mask: int) -> None:
    word, low, _ = FIELDS[name]
    words[word] |= (value & mask) << low
    masks[word] |= mask << low


def _words_of(text: str) -> list[str]:
    """``a=b,c,d=e`` and the actions apart: commas in actions are theirs."""
    return [w for w in text.replace(" ", ",").split(",") if w]


def parse_match(text: str, port: Callable[[str], int]) -> tuple[Key, Key, dict[str, str]]:
    """The key, its mask, and what else stood there (``priority`` and the like); raises ModuleError."""
    words, masks, others = [0] * 8, [0] * 8, {}
    for part in _words_of(text):
        name, equals, value = part.partition("=")
        if not equals:
            if name not in _SHORT:
                raise ModuleError(f"'{part}' is no field (there are {', '.join([*FIELDS, *_SHORT])})")
            for field_name, number in _SHORT[name].items():
                _put(words, masks, field_name, number, (1 << FIELDS[field_name][2]) - 1)
            continue
        name = _SAME.get(name, name)
        if name in ("priority", "cookie", "idle_timeout", "hard_timeout", "table", "actions"):
            others[name] = value
        elif name == "in_port":
            _put(words, masks, name, port(value), 0xFFFF)
        elif name in ("dl_src", "dl_dst"):
            address, slash, mask = value.partition("/")
            _put(words, masks, name, ethernet_address(address), ethernet_address(mask) if slash else (1 << 48) - 1)
        elif name in ("nw_src", "nw_dst"):
            network = _network(name, value, 4)
            _put(words, masks, name, int(network.network_address), int(network.netmask))
        elif name in ("ipv6_src", "ipv6_dst"):
            network = _network(name, value, 6)
            for half, shift in (("high", 64), ("low", 0)):
                _put(words, masks, f"{name}_{half}", int(network.network_address) >> shift & (1 << 64) - 1,
                     int(network.netmask) >> shift & (1 << 64) - 1)
        elif name == "dl_vlan":
            if value == "0xffff":
                _put(words, masks, "vlan_tci", 0, 0xFFFF)
            else:
                _put(words, masks, "vlan_tci", VLAN_PRESENT | _number(name, value, 12), 0x1FFF)
        elif name in FIELDS:
            text_value, slash, mask = value.partition("/")
            bits = FIELDS[name][2]
            _put(words, masks, name, _number(name, text_value, bits), _number(name, mask, bits) if slash else (1 << bits) - 1)
        else:
            raise ModuleError(f"'{name}' is no field (there are {', '.join([*FIELDS, *_SHORT])})")
    return tuple(words), tuple(masks), others


def _network(name: str, text: str, version: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    try:
        return kind(text, strict=False)
    except ValueError:
        raise ModuleError(f"{name}={text}: an IPv{version} address or prefix is expected") from None


def parse_flow(text: str, port: Callable[[str], int]) -> FlowRule:
    """``priority=100,tcp,nw_dst=10.0.0.0/8,actions=mod_dl_dst:02:…,output:p1``; raises ModuleError."""
    head, found, tail = text.partition("actions=")
    if not found:
        raise ModuleError("a flow needs actions=… (actions=drop: none)")
    match, mask, others = parse_match(head, port)
    rule = FlowRule(match, mask, _actions(tail, port))
    rule.priority = _number("priority", others.get("priority", "32768"), 16)
    rule.cookie = _number("cookie", others.get("cookie", "0"), 64)
    rule.idle_s = _number("idle_timeout", others.get("idle_timeout", "0"), 16)
    rule.hard_s = _number("hard_timeout", others.get("hard_timeout", "0"), 16)
    return rule


def _actions(text: str, port: Callable[[str], int]) -> Actions:
    actions = Actions()
    for part in _words_of(text):
        name, _, value = part.partition(":")
        match name:
            case "drop":
                continue
            case "flood" | "all":
                actions.output = BROADCAST
            case "output":
                actions.output = port(value)
            case "mod_dl_src" | "mod_dl_dst":
                setattr(actions, name[4:], ethernet_address(value))
            case "mod_nw_src" | "mod_nw_dst":
                setattr(actions, name[4:], int(_network(name, value, 4).network_address))
            case "mod_tp_src" | "mod_tp_dst":
                setattr(actions, name[4:], _number(name, value, 16))
            case "strip_vlan" | "pop_vlan":
                actions.pop_vlan = True
            case "mod_vlan_vid" | "push_vlan":
                actions.push_vlan = _number(name, value, 12)
            case _ if part.isdigit():
                actions.output = port(part)
            case _:
                raise ModuleError(f"'{part}' is no action (output:PORT, flood, drop, mod_dl_src, mod_dl_dst, mod_nw_src, mod_nw_dst, "
                                  "mod_tp_src, mod_tp_dst, strip_vlan, push_vlan:VID)")
    if actions.output is None and actions != Actions():
        raise ModuleError(f"actions={text}: nothing leaves without output:PORT")
    return actions


# Back to words

def _get(words: Key, name: str) -> int:
    word, low, bits = FIELDS[name]
    return words[word] >> low & (1 << bits) - 1


def write_match(match: Key, mask: Key) -> str:
    parts = []
    for name in FIELDS:
        value, wild = _get(match, name), _get(mask, name)
        if not wild or name.startswith("ipv6"):
            continue
        full = wild == (1 << FIELDS[name][2]) - 1
        if name in ("dl_src", "dl_dst"):
            parts.append(f"{name}={format_ethernet(value)}" + ("" if full else f"/{format_ethernet(wild)}"))
        elif name in ("nw_src", "nw_dst"):
            parts.append(f"{name}={ipaddress.IPv4Address(value)}" + ("" if full else f"/{wild.bit_count()}"))
        elif name == "vlan_tci" and wild == 0x1FFF:
            parts.append(f"dl_vlan={value & 0xFFF}")
        elif name in ("dl_type", "vlan_tci"):
            parts.append(f"{name}={value:#06x}" + ("" if full else f"/{wild:#06x}"))
        else:
            parts.append(f"{name}={value}" + ("" if full else f"/{wild:#x}"))
    for name in ("ipv6_src", "ipv6_dst"):
        value = _get(match, f"{name}_high") << 64 | _get(match, f"{name}_low")
        wild = _get(mask, f"{name}_high") << 64 | _get(mask, f"{name}_low")
        if wild:
            parts.append(f"{name}={ipaddress.IPv6Address(value)}" + ("" if wild.bit_count() == 128 else f"/{wild.bit_count()}"))
    return ",".join(parts)


def write_actions(actions: Actions) -> str:
    parts = []
    for name in ("dl_src", "dl_dst", "nw_src", "nw_dst", "tp_src", "tp_dst"):
        value = getattr(actions, name)
        if value is not None:
            write = {"dl": format_ethernet, "nw": ipaddress.IPv4Address}.get(name[:2], int)
            parts.append(f"mod_{name}:{write(value)}")
    if actions.pop_vlan:
        parts.append("strip_vlan")
    if actions.push_vlan is not None:
        parts.append(f"push_vlan:{actions.push_vlan}")
    if actions.output is not None:
        parts.append("flood" if actions.output == BROADCAST else f"output:{actions.output}")
    return ",".join(parts) or "drop"
