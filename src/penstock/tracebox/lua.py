"""Scripts of the original tracebox, in an embedded Lua 5.2 (lupa): its constructors, methods and global functions.

A script is trusted as any program of the user's is; packets that it looks at are not.
"""

from __future__ import annotations

import ipaddress
import random
import shlex
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from penstock.tracebox.api import open_network, resolve, trace
from penstock.tracebox.classic import hop_line, title_line
from penstock.tracebox.constructors import CONSTANTS, CONSTRUCTORS, READY
from penstock.tracebox.diff import Comparison
from penstock.tracebox.exchange import finished, send_and_receive, wait_for
from penstock.tracebox.firewall import DropRule
from penstock.tracebox.layers import ICMP, IP, SCTP, TCP, UDP, Extension, ICMPv6, IPv6, Layer, Raw, TCPOption
from penstock.tracebox.names import add_names
from penstock.tracebox.network import source_address
from penstock.tracebox.packet import Packet, dissect
from penstock.tracebox.replies import Reply
from penstock.tracebox.settings import NetworkError, Settings

__all__ = ["ScriptError", "Scripts"]

_PRELUDE = """
local join, invoke, text = ...
local meta = {}
function wrap(object) return setmetatable({py = object}, meta) end
local function joined(a, b)
  if type(a) == "string" or type(b) == "string" then
    local left, right = tostring(a), tostring(b)
    return left .. right
  end
  return join(a, b)
end
meta.__div, meta.__add, meta.__concat = joined, joined, joined
meta.__tostring = function(a) return text(a.py) end
meta.__index = function(a, name)
  return function(self, ...) return invoke(self, name, ...) end
end
meta.__eq = function(a, b) return rawequal(a.py, b.py) end
function arity(f) return debug.getinfo(f, "u").nparams end
"""


class ScriptError(RuntimeError):
    """The script failed; the message says where."""


class Scripts:
    """A Lua state with tracebox's names. ``destination`` is that of packets which name none."""

    def __init__(self, *, settings: Settings, destination: str | None = None, arguments: tuple[str, ...] = (), numeric: bool = True,
                 values: bool = False, output: Callable[[str], None] = print):
        try:
            from lupa import lua52
        except ImportError:
            raise NetworkError("scripts need the Lua of the package 'lupa': pip install 'penstock[lua]'") from None
        self._module = lua52
        self._lua: Any = lua52.LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
        self._settings, self._numeric, self._values, self._output = settings, numeric, values, output
        self.destination = destination
        self._open: list[DropRule] = []
        self._lua.eval("function(text, ...) return assert(load(text, 'prelude'))(...) end")(_PRELUDE, self._join, self._invoke, self._text)
        self._wrap = self._lua.globals().wrap
        self._arity = self._lua.globals().arity
        self._name_everything(arguments)

    # names

    def _name_everything(self, arguments: tuple[str, ...]) -> None:
        g = self._lua.globals()
        tables: dict[str, Any] = {}
        for name, ready in READY.items():
            g[name] = tables[name] = self._to_lua(ready())
        for name in ("DNS", "DNSQuery", "IPOption", "TCPOption", "TCPEDO", "PacketModifications", "TbxSniffer", "Packet"):
            g[name] = tables[name] = self._lua.table()
        for full, function in CONSTRUCTORS.items():
            self._place(g, tables, full, self._function(function))
        for full, number in CONSTANTS.items():
            self._place(g, tables, full, number)
        rawset = self._lua.eval("rawset")
        rawset(tables["PacketModifications"], "new", self._function(
            lambda original, received: self._compared(original, received)))
        rawset(tables["TbxSniffer"], "new", self._function(lambda key: _Sniffer(self, str(key))))
        rawset(tables["Packet"], "new", self._function(lambda: Packet()))
        functions: dict[str, Callable[..., Any]] = {
            "tracebox": self._tracebox, "filter": self._filter, "set_ttl_range": self._set_ttl_range,
            "sleep": lambda ms: time.sleep(max(float(ms), 0) / 1000), "dn4": lambda name: _address(name, wide=False),
            "dn6": lambda name: _address(name, wide=True), "gethostname": _host_name,
            "random": lambda most=0xFFFFFFFF: random.randint(0, int(most)), "snif": self._snif,
            "dnsquery": lambda name: _address(name, wide=False), "__dump_c_stack": lambda: None,
        }
        for name, function in functions.items():
            g[name] = self._function(function)
        g["print"] = lambda *values: self._output("\t".join(self._shown(v) for v in values))
        g["argv"] = self._lua.table(*arguments)

    def _place(self, g: Any, tables: dict[str, Any], full: str, value: Any) -> None:
        *owners, last = full.split(".")
        where: Any = g
        rawset, rawget = self._lua.eval("rawset"), self._lua.eval("rawget")
        for i, owner in enumerate(owners):
            path = ".".join(owners[: i + 1])
            if path not in tables:
                tables[path] = self._lua.table()
                rawset(where, owner, tables[path])
            where = tables[path]
        if rawget(where, last) is None:
            rawset(where, last, value)

    def _shown(self, value: Any) -> str:
        return str(self._lua.eval("tostring")(value))

    # values

    def _from_lua(self, value: Any) -> Any:
        if self._module.lua_type(value) != "table":
            return int(value) if isinstance(value, float) and value.is_integer() else value
        inner = self._lua.eval("rawget")(value, "py")
        if inner is not None:
            return inner
        items = [self._from_lua(v) for k, v in sorted(((k, v) for k, v in value.items() if isinstance(k, int)), key=lambda pair: pair[0])]
        named = {str(k): self._from_lua(v) for k, v in value.items() if isinstance(k, str)}
        return named if named or not items else items

    def _to_lua(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)) or self._module.lua_type(value):
            return value
        if isinstance(value, bytes):
            return self._lua.table(*value)
        if isinstance(value, (list, tuple)):
            return self._lua.table(*map(self._to_lua, value))
        return self._wrap(value)

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            plain = [self._from_lua(a) for a in arguments]
            named = plain.pop() if len(plain) == 1 and isinstance(plain[-1], dict) else {}
            return self._to_lua(function(*plain, **named))

        return call

    def _join(self, left: Any, right: Any) -> Any:
        one, two = self._from_lua(left), self._from_lua(right)
        if isinstance(one, (bytes, list)):
            one = Raw(bytes(one))
        if isinstance(two, (bytes, list)):
            two = Raw(bytes(two))
        if not isinstance(one, (Layer, Packet)) or not isinstance(two, (Layer, Packet)):
            raise ValueError("'/' joins layers")
        # As in the original: a packet grows in place, layers make a new packet.
        result: Packet = (Packet([one]) if isinstance(one, Layer) and not isinstance(one, Packet) else one) / two
        return left if result is one else self._to_lua(result)

    def _text(self, value: Any) -> str:
        if isinstance(value, Comparison):
            return " ".join(str(c) if self._values or c.kind != "changed" else c.name for c in value.changes) + " "
        if isinstance(value, Packet):
            return "\n".join(map(repr, value.layers))
        return repr(value)

    def _invoke(self, wrapped: Any, name: str, *arguments: Any) -> Any:
        value = self._from_lua(wrapped)
        plain = [self._from_lua(a) for a in arguments]
        if isinstance(value, Packet):
            result = self._packet_method(value, name, plain)
        elif isinstance(value, Comparison):
            result = self._comparison_method(value, name)
        elif isinstance(value, Layer):
            result = _layer_method(value, name, plain)
        else:
            method = getattr(value, name, None)
            if method is None or name.startswith("_"):
                raise AttributeError(f"'{name}' is no method of this")
            result = method(*arguments)
        return self._to_lua(result)

    # packets

    def _addressed(self, packet: Packet) -> Packet:
        """A copy with the destination that the packet or the command line names."""
        network = packet.find(IP) or packet.find(IPv6)
        destination = self.destination
        if network is not None and "dst" in network.given:
            destination = packet.destination
        if destination is None:
            raise ValueError("the packet names no destination, and neither does the command line")
        return finished(packet, source_address(destination, self._settings.interface), destination)

    def _packet_method(self, packet: Packet, name: str, arguments: list[Any]) -> Any:
        kinds: dict[str, tuple[type[Layer], ...]] = {
            "ip": (IP,), "ipv6": (IPv6,), "tcp": (TCP,), "udp": (UDP,), "icmp": (ICMP, ICMPv6), "iplayer": (IP, IPv6), "srh": (Extension,),
            "sctp": (SCTP,),
        }
        if name in kinds:
            return next((layer for layer in packet.layers if isinstance(layer, kinds[name])), None)
        if name in ("source", "destination"):
            return getattr(packet, name)
        if name == "payload":
            return packet.find(Raw)
        if name == "bytes":
            return packet.build()
        if name == "size":
            return len(packet.build())
        if name in ("get", "getall"):
            wanted = arguments[0]
            found = [layer for layer in packet.layers if isinstance(wanted, Layer) and layer.identity == wanted.identity]
            return found if name == "getall" else (found[0] if found else None)
        if name == "print":
            return self._output(self._text(packet))
        if name == "hexdump":
            data = packet.build()
            return self._output("\n".join(f"{i:04x}  {data[i : i + 16].hex(' ')}" for i in range(0, len(data), 16)))
        if name == "send":
            ready = self._addressed(packet)
            with open_network(self._settings) as network:
                network.send(ready.build(), ready.destination)
            return None
        if name == "sendrecv":
            options = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
            ready = self._addressed(packet)
            with open_network(self._settings) as network:
                reply = send_and_receive(network, ready, timeout_s=float(options.get("timeout", 1)), tries=int(options.get("retry", 3)))
            return reply.packet if reply is not None else None
        raise AttributeError(f"a packet has no method '{name}'")

    def _compared(self, original: Packet, received: Packet) -> Comparison:
        from penstock.tracebox.diff import compare

        return compare(original.build(), received.build())

    def _comparison_method(self, comparison: Comparison, name: str) -> Any:
        if name == "original":
            return comparison.sent
        if name == "received":
            return comparison.received
        if name == "partial":
            return comparison.is_partial
        if name == "print":
            return self._output(self._text(comparison))
        raise AttributeError(f"PacketModifications has no method '{name}'")

    # global functions

    def _set_ttl_range(self, min_ttl: Any = 1, max_ttl: int = 64) -> None:
        if isinstance(min_ttl, list):
            min_ttl, max_ttl = [*min_ttl, 64][:2] if min_ttl else (1, 64)
        self._settings = replace(self._settings, hops_min=int(min_ttl), hops_max=int(max_ttl))

    def _filter(self, packet: Packet) -> DropRule:
        rule = DropRule(packet)
        self._open.append(rule)
        return rule

    def _snif(self, key: Any, callback: Any) -> None:
        sniffer = _Sniffer(self, str(key))
        sniffer.start(callback)

    def _tracebox(self, packet: Packet, options: Any = None, callback: Any = None) -> Any:
        named = options if isinstance(options, dict) else {}
        callback = named.get("callback", callback)
        function = self._lua.globals()[callback] if isinstance(callback, str) else callback
        if isinstance(callback, str) and function is None:
            raise ValueError(f"there is no function '{callback}'")
        is_recorded = (self._settings.interface or "").startswith("pcap:")
        if is_recorded:
            network = packet.find(IP) or packet.find(IPv6)
            destination = packet.destination if network is not None and "dst" in network.given else self.destination
            if destination is None:
                raise ValueError("the packet names no destination, and neither does the command line")
            ready = packet
        else:
            ready = self._addressed(packet)
            destination = ready.destination
            # What the script has set in the packet, and what was chosen for it once, stays for all TTLs and all calls.
            original, chosen = packet.transport, ready.transport
            for name in ("src", "sequence") if isinstance(chosen, TCP) else ("src",):
                if original is not None and chosen is not None and name in chosen.FIELDS:
                    original.put(name, chosen[name])
                    original.given.add(name)
            template = packet.copy()
            ready = template
        path = trace(destination, probe=ready, settings=self._settings)
        if not self._numeric:
            add_names([path])
        if function is None:
            self._output(title_line(path))
        for hop in path.hops:
            if function is None:
                self._output(hop_line(hop, values=self._values))
                continue
            comparison = hop.comparison
            mods = self._to_lua(comparison) if comparison is not None else None
            if self._arity(function) >= 4:
                sent = self._to_lua(dissect(hop.sent)) if hop.sent else None
                reply = self._to_lua(hop.reply.packet) if hop.reply is not None else None
                answer = function(hop.ttl, hop.address, sent, reply, mods)
            else:
                answer = function(hop.ttl, hop.address, mods)
            if answer == 1:
                break
        return path.answer.packet if path.answer is not None else None

    # running

    def run(self, text: str, name: str) -> None:
        """Run a script. Raises :class:`ScriptError`, :class:`NetworkError`."""
        try:
            load = self._lua.eval("function(text, name) local f, e = load(text, '=' .. name); if not f then error(e, 0) end; return f end")
            load(text, name)()
        except NetworkError:
            raise
        except self._module.LuaError as error:
            raise ScriptError(str(error).split("\nstack traceback")[0]) from None
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            raise ScriptError(f"{name}: {error}") from None
        finally:
            for rule in self._open:
                rule.close()
            self._open.clear()


class _Sniffer:
    """``TbxSniffer``: packets that a key in iptables' words names, kept from the host's stack and given to the script."""

    def __init__(self, scripts: Scripts, key: str):
        self._scripts = scripts
        self._protocol, self._ports = "", {"src": 0, "dst": 0}
        words = shlex.split(key)
        for i, word in enumerate(words[:-1]):
            if word in ("-p", "--protocol"):
                self._protocol = words[i + 1].lower()
            elif word in ("--sport", "--source-port"):
                self._ports["src"] = int(words[i + 1])
            elif word in ("--dport", "--destination-port"):
                self._ports["dst"] = int(words[i + 1])
        if self._protocol not in ("tcp", "udp"):
            raise ValueError(f"sniffing takes '-p tcp' or '-p udp', with --sport and --dport, not '{key}'")
        self._rule: DropRule | None = None
        self._network: Any = None

    def _matches(self, reply: Reply) -> bool:
        transport = reply.packet.transport
        return reply.kind == "answer" and transport is not None and transport.LABEL.lower() == self._protocol and all(
            not port or transport.get(name) == port for name, port in self._ports.items())

    def start(self, callback: Any = None) -> None:
        """Begin; with a callback, give it each packet until it returns something true."""
        ports = " ".join(f"{self._protocol} {n[0]}port {p}" for n, p in self._ports.items() if p)
        self._rule = DropRule.of((ports or f"meta l4proto {self._protocol}") + " drop")
        self._network = open_network(self._scripts._settings)
        if callback is None:
            return
        try:
            while True:
                reply = wait_for(self._network, 3600, self._matches)
                if reply is not None and callback(self._scripts._to_lua(reply.packet)):
                    break
        finally:
            self.stop()

    def recv(self, timeout: float = 1.0) -> Any:
        if self._network is None:
            raise ValueError("the sniffer has not been started")
        reply = wait_for(self._network, float(timeout), self._matches)
        return self._scripts._to_lua(reply.packet) if reply is not None else None

    def stop(self) -> None:
        if self._rule is not None:
            self._rule.close()
        if self._network is not None:
            self._network.close()
        self._rule = self._network = None


def _address(name: str, *, wide: bool) -> str | None:
    try:
        return resolve(str(name), wide=wide)
    except NetworkError:
        return None


def _host_name(address: str) -> str:
    try:
        return socket.gethostbyaddr(str(address))[0]
    except OSError:
        return str(address)


#: methods of layers: name -> field; called without a value they read, with one they set
_ACCESS: dict[str, dict[str, str]] = {
    "IP": {"source": "src", "dest": "dst", "flags": "flags", "fragoffset": "fragment_offset", "ttl": "ttl", "id": "identification",
           "dscp": "dscp", "ecn": "ecn"},
    "IPv6": {"source": "src", "dest": "dst", "tc": "traffic_class", "flowlabel": "flow_label", "hoplimit": "hop_limit"},
    "TCP": {"source": "src", "dest": "dst", "dst": "dst", "seq": "sequence", "ack": "acknowledgement", "win": "window", "flags": "flags",
            "offset": "offset"},
    "UDP": {"source": "src", "dest": "dst"},
    "ICMP": {"type": "type", "code": "code", "id": "identifier", "seqno": "sequence", "ptr": "pointer", "gw": "gateway", "len": "length",
             "mtu": "mtu"},
}
_ACCESS["ICMPv6"] = _ACCESS["ICMP"]
_ACCESS["SCTP"] = {"source": "src", "dest": "dst"}


def _layer_method(layer: Layer, name: str, arguments: list[Any]) -> Any:
    names = _ACCESS.get(layer.LABEL, {})
    plain = name.removeprefix("get").removeprefix("set") if name[:3] in ("get", "set") else name
    if plain in names:
        field = names[plain]
        if arguments and arguments[0] is not None:
            value = arguments[0]
            layer[field] = int(ipaddress.ip_address(value)) if isinstance(value, str) else int(value)
            return None
        got = layer.get(field)
        return layer.show(field, got) if got is not None and field in layer.ADDRESSES and layer.LABEL in ("IP", "IPv6") else got
    if name == "hasflags" and isinstance(layer, TCP):
        return (layer.get("flags") or 0) & int(arguments[0]) == int(arguments[0])
    if name == "payloadlen" and isinstance(layer, (IP, IPv6)):
        length = layer.get("length") or 0
        return length - (layer.get("header_length") or 0) * 4 if isinstance(layer, IP) else length
    if isinstance(layer, TCPOption):
        values = layer.values()
        wanted = {"val": "value", "ecr": "echo"}.get(name)
        if wanted is not None:
            return values.get(wanted)
        if name in ("cookie", "data"):
            return bytes(layer.data[2:])
        if name == "kind":
            return layer.kind
        if name in ("length", "headerlength", "segmentlength"):
            place = {"length": slice(1, 2), "headerlength": slice(2, 4), "segmentlength": slice(4, 6)}[name]
            return int.from_bytes(layer.data[place])
    if name in ("data", "bytes"):
        return bytes(layer.data).decode("latin-1") if name == "data" else bytes(layer.data)
    if name == "print":
        return print(repr(layer), file=sys.stdout)
    raise AttributeError(f"{layer.label} has no method '{name}'")
