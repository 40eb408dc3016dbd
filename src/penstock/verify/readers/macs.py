"""Tables of Ethernet addresses as a switch: lines of an address and a port, ``bridge fdb show``, ``show mac address-table``."""

from __future__ import annotations

import re

from penstock.verify.readers.errors import TableError
from penstock.verify.readers.routes import interface_name

__all__ = ["parse_macs", "switch_configuration"]

_ADDRESS = re.compile(r"(?:[0-9A-Fa-f]{1,2}[:-]){5}[0-9A-Fa-f]{1,2}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}")
_CISCO = re.compile(rf"\*?\s*(?P<vlan>\d+|All)\s+(?P<address>{_ADDRESS.pattern})\s+(?P<kind>\S+)\s+(?P<rest>.*)")


def parse_macs(text: str) -> dict[str, str]:
    """The port behind which each address is, by the address as twelve digits. Raises TableError with the line.

    Addresses of groups and those of the switch itself are left out. A table of several VLANs is refused: each is a switch of its own.
    """
    found: dict[str, str] = {}
    vlans: dict[str, int] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#")[0].strip()
        if not line or _ADDRESS.search(line) is None:
            # Headings, and lines between them.
            if line and re.match(r"[0-9A-Fa-f]{1,2}[:-]", line):
                raise TableError(f"line {number}: '{line}': no address of six bytes")
            continue
        try:
            entry = _entry(line)
        except IndexError:
            raise TableError(f"line {number}: '{line}': it ends too early") from None
        except TableError as error:
            raise TableError(f"line {number}: '{line}': {error}") from None
        if entry is None:
            continue
        address, port, vlan = entry
        if vlan:
            vlans.setdefault(vlan, number)
        if found.setdefault(address, port) != port and len(vlans) < 2:
            raise TableError(f"line {number}: '{line}': the address is behind {found[address]} too")
    if len(vlans) > 1:
        raise TableError(f"line {max(vlans.values())}: there are several VLANs ({', '.join(sorted(vlans))}): give each a box of its own")
    if not found:
        raise TableError("there are no addresses in it")
    return found


def _entry(line: str) -> tuple[str, str, str] | None:
    """(address, port, VLAN)."""
    cisco = _CISCO.fullmatch(line)
    if cisco is not None:
        port = cisco["rest"].split()[-1] if cisco["rest"].split() else ""
        if cisco["vlan"] == "All" or port in ("CPU", "Drop", ""):
            return None
        address, vlan = cisco["address"], cisco["vlan"]
    else:
        words = line.split()
        address, rest = words[0], words[1:]
        if _ADDRESS.fullmatch(address) is None:
            raise TableError("expected 'ADDRESS PORT'")
        vlan = rest[rest.index("vlan") + 1] if "vlan" in rest else ""
        if rest[0] == "dev":
            if "permanent" in rest or "self" in rest:
                return None
            port = rest[1]
        elif len(rest) == 1:
            port = rest[0]
        else:
            raise TableError("expected 'ADDRESS PORT'")
    digits = "".join(f"{part:0>2}" for part in re.split("[:-]", address)) if "." not in address else address.replace(".", "")
    return None if int(digits[:2], 16) & 1 else (digits.lower(), port, vlan)


def switch_configuration(addresses: dict[str, str], ports: list[str] | None = None) -> str:
    """A switch that has learned these addresses and learns no others: what it does not know goes to all ports but the one it came
    through. ``ports``: those behind which no address is known, besides the others."""
    names = sorted({*addresses.values(), *(ports or [])})
    patterns = ", ".join([*(f"0/{address}" for address in addresses), "-"])
    lines = [f"where :: Classifier({patterns}); flood :: Tee({len(names)});", *(f"to_{i} :: CheckPaint({i});" for i in range(len(names)))]
    lines += [f"where[{i}] -> to_{names.index(port)};" for i, port in enumerate(addresses.values())]
    lines.append(f"where[{len(addresses)}] -> flood;")
    for i, name in enumerate(names):
        quoted = interface_name(name)
        lines.append(f"FromDevice({quoted}) -> Paint({i}) -> where; flood[{i}] -> to_{i} -> Discard; "
                     f"to_{i}[1] -> ToDevice({quoted});")
    return "\n".join(lines)
