"""flow-table: flows with priorities and wildcards, as Open vSwitch's datapath has them (Pfaff et al., NSDI 2015, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from penstock.datapath.checksum import checksum_adjust, checksum_adjust32
from penstock.datapath.containers import NONE, Table
from penstock.datapath.frames import Frame, frame
from penstock.datapath.memory import Array, Struct
from penstock.datapath.ports import BUFFER_BYTES
from penstock.datapath.source import datapath
from penstock.packet.headers import IP, IP6
from penstock.packet.integers import u8, u32, u64
from penstock.switch.flowrules import Actions, FlowRule, Key, parse_flow, parse_match, write_actions, write_match
from penstock.switch.module import DROP, MAX_PORTS, Module, ModuleError

__all__ = ["FlowTable"]

_FLOWS, _MASKS = 65536, 256
_CACHE = 8192
_WORDS = 8
#: what is changed in a frame, bit by bit
_DL_SRC, _DL_DST, _NW_SRC, _NW_DST, _TP_SRC, _TP_DST, _POP, _PUSH = (1 << n for n in range(8))
_SET = {"dl_src": _DL_SRC, "dl_dst": _DL_DST, "nw_src": _NW_SRC, "nw_dst": _NW_DST, "tp_src": _TP_SRC, "tp_dst": _TP_DST}
#: frames to and from the controller: an Ethernet header of this type (IEEE 802, local experiments) and a port, then the frame
_CONTROL_TYPE, _CONTROL_BYTES = 0x88B5, 16
_VLAN_TYPE = 0x8100


class _Flow(Struct):
    packets: u64
    bytes: u64
    cookie: u64
    dl_src: u64
    dl_dst: u64
    used_s: u32
    made_s: u32
    idle_s: u32
    hard_s: u32
    output: u32
    nw_src: u32
    nw_dst: u32
    tp_src: u32
    tp_dst: u32
    vlan: u32
    changes: u8


class FlowTable(Module):
    """An exact-match cache over flows with wildcards and priorities; what no flow matches goes to the controller's port, or is dropped.

    Commands, in the words of ovs-ofctl: ``add-flow FLOW``, ``del-flows [MATCH]``, ``dump-flows [MATCH]``, ``controller PORT``.
    A frame for the controller has 16 bytes before it: 12 of zeros, the type 0x88b5, and the port it came from; so has one from
    the controller, with the port it is to leave by (4096: all).
    """

    name = "flow-table"
    resizes = True

    #: MAX_PORTS + 1: there is none
    controller: u32
    n_masks: u32
    #: changes with every change of the flows: what was cached before is not looked at
    generation: u32
    hits: u64
    misses: u64

    def __init__(self) -> None:
        self.controller = DROP
        self.generation = 1
        # A flow's key begins with the number of its mask. Flows of one mask and one priority are a tuple space (Srinivasan et
        # al., SIGCOMM 1999): at most one of them matches.
        self.flows = Table((u32, u64, u64, u64, u64, u64, u64, u64, u64), _Flow, _FLOWS)
        # The spaces in the order of priority, the highest first: the number of each, and the words of its mask.
        self.mask_numbers = Array(u32, _MASKS)
        self.masks = Array(u64, _MASKS * _WORDS)
        self.cached_keys = Array(u64, _CACHE * _WORDS, alignment=64)
        self.cached_flow = Array(u32, _CACHE)
        self.cached_generation = Array(u32, _CACHE)
        self.spaces: dict[tuple[int, Key], int] = {}
        self.ports: dict[str, int] = {}
        self.first: list[str] = []

    def configure(self, arguments: Sequence[str]) -> None:
        """Flows that are there from the start."""
        for argument in arguments:
            parse_flow(argument, lambda name: 0)
            self.first.append(argument)

    # Packet code

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        if not frame.data.has(0, 14):
            return u32(DROP)
        if source == self.controller:
            return self.from_controller(self.at, u32(frame.length), source)
        key = self.key_of(frame, source)
        place = self.place(key)
        hit = self.cached_generation[place] == self.generation
        for i in range(_WORDS):
            hit = hit and self.cached_keys[place * _WORDS + i] == key[i]
        found: u32 = NONE
        if hit:
            found = self.cached_flow[place]
            self.hits += 1
            if self.is_old(found):
                self.expire(found)
                found = NONE
        if found == NONE:
            found = self.search(key)
            if found == NONE:
                self.misses += 1
                return self.to_controller(self.at, u32(frame.length), source)
            for i in range(_WORDS):
                self.cached_keys[place * _WORDS + i] = key[i]
            self.cached_flow[place] = found
            self.cached_generation[place] = self.generation
        flow = self.flows.slots[found].value
        flow.packets += 1
        flow.bytes += frame.length
        flow.used_s = self.fabric.now_s
        if flow.changes != 0:
            if not self.change(self.at, u32(frame.length), source, found):
                return u32(DROP)
        return u32(flow.output)

    @datapath
    def key_of(self, frame: Frame, source: u32) -> tuple[u64, u64, u64, u64, u64, u64, u64, u64]:
        kind: u32 = frame.ether.type
        at: u32 = 14
        vlan: u64 = 0
        if kind == _VLAN_TYPE and frame.data.has(14, 4):
            vlan = u64(frame.data.u16[14] & 0xFFF) | 0x1000 | (u64(frame.data.u16[14] & 0xE000))
            kind = frame.data.u16[16]
            at = 18
        addresses: u64 = 0
        rest: u64 = vlan
        a: u64 = 0
        b: u64 = 0
        c: u64 = 0
        d: u64 = 0
        protocol: u32 = 0
        ports_at: u32 = 0
        if kind == 0x0800 and frame.data.has(at, 20):
            ip = frame.data.header(IP, at)
            addresses = u64(ip.src) << 32 | ip.dst
            protocol = ip.protocol
            rest = rest | u64(ip.tos) << 56
            if ip.fragment & 0x1FFF == 0:
                ports_at = at + u32(ip.header_length) * 4
        elif kind == 0x86DD and frame.data.has(at, 40):
            ip6 = frame.data.header(IP6, at)
            a, b = u64(ip6.src >> 64), u64(ip6.src)
            c, d = u64(ip6.dst >> 64), u64(ip6.dst)
            protocol = ip6.next_header
            rest = rest | u64(ip6.traffic_class) << 56
            ports_at = at + 40
        elif kind == 0x0806 and frame.data.has(at, 28):
            addresses = u64(frame.data.u32[at + 14]) << 32 | frame.data.u32[at + 24]
            protocol = frame.data.u16[at + 6] & 0xFF
        rest = rest | u64(protocol) << 48
        if ports_at != 0 and (protocol == 6 or protocol == 17 or protocol == 132):
            if frame.data.has(ports_at, 4):
                rest = rest | u64(frame.data.u16[ports_at]) << 32 | u64(frame.data.u16[ports_at + 2]) << 16
        return (u64(frame.ether.dst) << 16 | source, u64(frame.ether.src) << 16 | kind, addresses, rest, a, b, c, d)

    @datapath
    def place(self, key: tuple[u64, u64, u64, u64, u64, u64, u64, u64]) -> u32:
        mixed = (key[0] ^ (key[1] << 7 | key[1] >> 57)) * 0x9E3779B97F4A7C15 ^ (key[2] ^ key[4] ^ (key[6] << 5)) * 0xC2B2AE3D27D4EB4F \
            ^ (key[3] ^ key[5] ^ (key[7] << 9)) * 0x165667B19E3779F9
        return u32((mixed * self.flows.seed) >> 32) % _CACHE

    @datapath
    def is_old(self, i: u32) -> bool:
        flow = self.flows.slots[i].value
        now = self.fabric.now_s
        idle = flow.idle_s != 0 and now - flow.used_s > flow.idle_s
        return bool(idle or (flow.hard_s != 0 and now - flow.made_s > flow.hard_s))

    @datapath(rare=True)
    def expire(self, i: u32) -> None:
        self.flows.remove(i)
        self.generation += 1

    @datapath(rare=True)
    def search(self, key: tuple[u64, u64, u64, u64, u64, u64, u64, u64]) -> u32:
        """The flow of the highest priority that matches."""
        for m in range(self.n_masks):
            w = m * _WORDS
            i = self.flows.find((
                u32(self.mask_numbers[m]), key[0] & self.masks[w], key[1] & self.masks[w + 1], key[2] & self.masks[w + 2],
                key[3] & self.masks[w + 3], key[4] & self.masks[w + 4], key[5] & self.masks[w + 5], key[6] & self.masks[w + 6],
                key[7] & self.masks[w + 7]))
            if i != NONE:
                if not self.is_old(i):
                    return i
                self.expire(i)
        return u32(NONE)

    @datapath(rare=True)
    def change(self, at: u64, length: u32, source: u32, found: u32) -> bool:
        """Rewrite a frame as its flow says; false where that cannot be: then it is dropped."""
        f = frame(self.fabric.memory, at, length)
        flow = self.flows.slots[found].value
        changes = flow.changes
        if changes & _DL_SRC != 0:
            f.ether.src = flow.dl_src
        if changes & _DL_DST != 0:
            f.ether.dst = flow.dl_dst
        tagged = f.ether.type == _VLAN_TYPE and f.data.has(14, 4)
        if changes & (_NW_SRC | _NW_DST | _TP_SRC | _TP_DST) != 0:
            ip_at: u32 = 18 if tagged else 14
            kind: u32 = f.data.u16[16] if tagged else f.data.u16[12]
            if kind == 0x0800 and f.data.has(ip_at, 20):
                self.change_ip(f, ip_at, found)
        size: u32 = length
        if changes & _POP != 0 and tagged:
            f.data.copy(12, f.data, 16, length - 16)
            size = length - 4
        if changes & _PUSH != 0:
            if size + 4 > BUFFER_BYTES:
                return False
            g = frame(self.fabric.memory, at, size + 4)
            g.data.copy(16, g.data, 12, size - 12)
            g.data.u16[12] = _VLAN_TYPE
            g.data.u16[14] = flow.vlan
            size = size + 4
        return bool(size == length or self.fabric.resize(source, at, size))

    @datapath
    def change_ip(self, f: Frame, at: u32, found: u32) -> None:
        flow = self.flows.slots[found].value
        ip = f.data.header(IP, at)
        protocol: u32 = ip.protocol
        ports_at = at + u32(ip.header_length) * 4
        # Where TCP's and UDP's checksums are; a UDP checksum of 0 is none (RFC 768).
        sum_at: u32 = 0
        whole = ip.fragment & 0x1FFF == 0
        if protocol == 6 and whole and f.data.has(ports_at, 18):
            sum_at = ports_at + 16
        elif protocol == 17 and whole and f.data.has(ports_at, 8):
            if f.data.u16[ports_at + 6] != 0:
                sum_at = ports_at + 6
        for bit, name in ((_NW_SRC, "src"), (_NW_DST, "dst")):
            if flow.changes & bit != 0:
                old = u32(getattr(ip, name))
                new: u32 = flow.nw_src if name == "src" else flow.nw_dst
                setattr(ip, name, new)
                ip.checksum = checksum_adjust32(u32(ip.checksum), old, new)
                if sum_at != 0:
                    f.data.u16[sum_at] = checksum_adjust32(u32(f.data.u16[sum_at]), old, new)
        if (protocol == 6 or protocol == 17) and whole and f.data.has(ports_at, 4):
            for bit, offset in ((_TP_SRC, 0), (_TP_DST, 2)):
                if flow.changes & bit != 0:
                    before = u32(f.data.u16[ports_at + offset])
                    after: u32 = flow.tp_src if offset == 0 else flow.tp_dst
                    f.data.u16[ports_at + offset] = after
                    if sum_at != 0:
                        f.data.u16[sum_at] = checksum_adjust(u32(f.data.u16[sum_at]), before, after)

    @datapath(rare=True)
    def to_controller(self, at: u64, length: u32, source: u32) -> u32:
        if self.controller >= MAX_PORTS or length + _CONTROL_BYTES > BUFFER_BYTES:
            return u32(DROP)
        g = frame(self.fabric.memory, at, length + _CONTROL_BYTES)
        g.data.copy(_CONTROL_BYTES, g.data, 0, length)
        g.data.u64[0] = 0
        g.data.u32[8] = 0
        g.data.u16[12] = _CONTROL_TYPE
        g.data.u16[14] = source
        return u32(self.controller) if self.fabric.resize(source, at, length + _CONTROL_BYTES) else u32(DROP)

    @datapath(rare=True)
    def from_controller(self, at: u64, length: u32, source: u32) -> u32:
        f = frame(self.fabric.memory, at, length)
        if not f.data.has(0, _CONTROL_BYTES + 14) or f.data.u16[12] != _CONTROL_TYPE:
            return u32(DROP)
        to = u32(f.data.u16[14])
        f.data.copy(0, f.data, _CONTROL_BYTES, length - _CONTROL_BYTES)
        return to if self.fabric.resize(source, at, length - _CONTROL_BYTES) else u32(DROP)

    # Orders

    def port_attached(self, number: int, name: str) -> None:
        self.ports[name] = number
        for flow in self.first:
            self._add(parse_flow(flow, self._port))
        self.first.clear()

    def port_detached(self, number: int) -> None:
        """Flows stay, as Open vSwitch's do: what they send to a port that is gone is lost, and counted there."""
        self.ports = {name: n for name, n in self.ports.items() if n != number}
        if self.controller == number:
            self.controller = DROP

    def _port(self, text: str) -> int:
        if text in self.ports:
            return self.ports[text]
        if text.isdigit() and int(text) < MAX_PORTS:
            return int(text)
        raise ModuleError(f"'{text}' is no port (there are {', '.join(self.ports) or 'none'}; or a number)")

    def command(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        rest = ",".join(words[1:])
        match list(words[:1]):
            case ["add-flow"] if rest:
                self._add(parse_flow(rest, self._port))
                return []
            case ["del-flows"]:
                return [(f"{self._delete(*parse_match(rest, self._port)[:2])} flows deleted",)]
            case ["dump-flows"]:
                return self._dump(*parse_match(rest, self._port)[:2])
            case ["controller"] if len(words) == 2:
                self.controller = self._port(words[1])
                return []
        raise ModuleError("flow-table knows 'add-flow FLOW', 'del-flows [MATCH]', 'dump-flows [MATCH]' and 'controller PORT'")

    def _add(self, rule: FlowRule) -> None:
        number = self._space(rule.priority, rule.mask)
        key = (number, *rule.match)
        at = self.flows.index_of(key)
        if at is None:
            at = self.flows.put(key, {"packets": 0, "bytes": 0})
        if at is None:
            raise ModuleError(f"the table is full ({_FLOWS} flows)")
        flow: Any = self.flows.slots[at].value
        now = int(self.fabric.now_s)
        actions = rule.actions
        flow.cookie, flow.made_s, flow.used_s, flow.idle_s, flow.hard_s = rule.cookie, now, now, rule.idle_s, rule.hard_s
        flow.output = DROP if actions.output is None else actions.output
        flow.vlan = actions.push_vlan or 0
        changes = (_POP if actions.pop_vlan else 0) | (_PUSH if actions.push_vlan is not None else 0)
        for name, bit in _SET.items():
            value = getattr(actions, name)
            setattr(flow, name, value or 0)
            changes |= bit if value is not None else 0
        flow.changes = changes
        self.generation = (int(self.generation) + 1) & 0xFFFFFFFF

    def _space(self, priority: int, mask: Key) -> int:
        """The number of the tuple space; a new one takes its place in the order of priority."""
        if (priority, mask) not in self.spaces:
            self._sweep()
            taken = set(self.spaces.values())
            if len(taken) >= _MASKS:
                raise ModuleError(f"flows of more than {_MASKS} pairs of mask and priority")
            self.spaces[priority, mask] = next(n for n in range(_MASKS) if n not in taken)
            self._order()
        return self.spaces[priority, mask]

    def _sweep(self) -> None:
        """Forget spaces without flows: they may have gone one by one as they grew old."""
        used = {key[0] for key, _ in self.flows.items()}
        self.spaces = {space: n for space, n in self.spaces.items() if n in used}

    def _order(self) -> None:
        ordered = sorted(self.spaces.items(), key=lambda item: -item[0][0])
        for m, ((_, mask), number) in enumerate(ordered):
            self.mask_numbers[m] = cast(Any, number)
            for i, word in enumerate(mask):
                self.masks[m * _WORDS + i] = cast(Any, word)
        self.n_masks = len(ordered)

    def _chosen(self, match: Key, mask: Key) -> list[tuple[int, int, Key, Key]]:
        """(index, priority, match, mask) of the flows that lie within a match."""
        by_number = {n: space for space, n in self.spaces.items()}
        found = []
        for i in self.flows.indices():
            entry = self.flows.look(i)
            if entry is not None and not self._is_old(entry[1]):
                words, (priority, own) = entry[0][1:], by_number[entry[0][0]]
                if all(m & o == m and (w ^ v) & m == 0 for m, o, w, v in zip(mask, own, words, match)):
                    found.append((i, priority, words, own))
        return found

    def _is_old(self, flow: Any) -> bool:
        now = int(self.fabric.now_s)
        return bool((flow.idle_s and now - flow.used_s > flow.idle_s) or (flow.hard_s and now - flow.made_s > flow.hard_s))

    def _delete(self, match: Key, mask: Key) -> int:
        chosen = self._chosen(match, mask)
        for i, *_ in chosen:
            self.flows.drop(i)
        self._sweep()
        self._order()
        self.generation = (int(self.generation) + 1) & 0xFFFFFFFF
        return len(chosen)

    def _dump(self, match: Key, mask: Key) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        now = int(self.fabric.now_s)
        for i, priority, words, own in sorted(self._chosen(match, mask), key=lambda c: (-c[1], c[0])):
            flow: Any = self.flows.slots[i].value
            times = "".join(f"{name}={value}, " for name, value in (("idle_timeout", flow.idle_s), ("hard_timeout", flow.hard_s)) if value)
            matched = write_match(words, own)
            seen = f"duration={now - flow.made_s}s, n_packets={flow.packets}, n_bytes={flow.bytes}"
            rule = f"priority={priority}{',' if matched else ''}{matched} actions={write_actions(self._actions(flow))}"
            rows.append((f"cookie={int(flow.cookie):#x}, {seen}, {times}{rule}",))
        return rows

    def _actions(self, flow: Any) -> Actions:
        actions = Actions(None if flow.output == DROP else int(flow.output), pop_vlan=bool(flow.changes & _POP),
                          push_vlan=int(flow.vlan) if flow.changes & _PUSH else None)
        for name, bit in _SET.items():
            if flow.changes & bit:
                setattr(actions, name, int(getattr(flow, name)))
        return actions

    def report(self) -> list[tuple[str, ...]]:
        none = (0,) * _WORDS
        return [("flow",), *self._dump(none, none)]
