"""Moving single flows from one domain to another while both run: entries of a Table, with those that belong to them.

So a NAT or a firewall is scaled out and back without breaking connections: the new instance takes over some flows, and whoever
spreads packets over the instances sends these there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from penstock.datapath.containers import Table, tables_in
from penstock.datapath.memory import StructView
from penstock.isolation.machine import Instance
from penstock.toolstack.errors import DomainError

__all__ = ["Match", "by_source", "move_flows", "tables_of"]

#: given an entry's key and value, whether it is to move
Match = Callable[[tuple[int, ...], StructView], bool]
#: flows moved while the domains stand still once
_BATCH = 32


def by_source(prefix: str) -> Match:
    """Flows whose first key field, the source address of packets, lies in an IPv4 prefix."""
    try:
        network = ipaddress.IPv4Network(prefix, strict=False)
    except ValueError:
        raise DomainError(f"'{prefix}' is no IPv4 prefix") from None
    mask, base = int(network.netmask), int(network.network_address)
    return lambda key, value: bool(getattr(value, "forward", 1)) and key[0] & mask == base


def move_flows(source: Instance, target: Instance, element: str, match: Match, *, table: str = "table") -> int:
    """Move the entries of an element's table that match; gives how many moved.

    Both domains stand still for a few dozen flows at a time. A flow that the target knows already, or has no room for,
    stays where it is.
    """
    here, there = _table(source, element, table), _table(target, element, table)
    if here.value_kind is not there.value_kind or here.key_kinds != there.key_kinds:
        raise DomainError(f"{element}.{table} is another kind of table in the other domain")
    wanted = [i for i in here.indices() if (entry := here.look(i)) is not None and match(*entry)]
    moved = 0
    for start in range(0, len(wanted), _BATCH):
        with source.machine.held(), target.machine.held():
            moved += sum(_move(here, there, i, match) for i in wanted[start : start + _BATCH])
    return moved


def tables_of(instance: Instance) -> dict[str, list[tuple[int, tuple[int, ...], dict[str, int]]]]:
    """What is in the tables of a configuration at one moment: (index, key, value) of every entry, by ``element.table``."""
    found: dict[str, list[tuple[int, tuple[int, ...], dict[str, int]]]] = {}
    with instance.machine.held():
        for element in instance.router.elements:
            for path, table in tables_in(element):
                entries = [(i, entry) for i in table.indices() if (entry := table.look(i)) is not None]
                if entries:
                    found[f"{element.name}.{path}"] = [(i, key, _values(value, table.value_kind)) for i, (key, value) in entries]
    return found


def _table(instance: Instance, element: str, name: str) -> Table:
    found = instance.router.by_name.get(element)
    table = getattr(found, name, None)
    if not isinstance(table, Table):
        known = sorted(e.name for e in instance.router.elements if any(isinstance(v, Table) for v in vars(e).values()))
        raise DomainError(f"'{element}' has no table '{name}' (elements with tables: {', '.join(known) or 'none'})")
    return table


def _move(here: Table, there: Table, index: int, match: Match) -> bool:
    first = here.look(index)
    if first is None or not match(*first):
        return False
    links: tuple[str, ...] = here.value_kind.LINKS
    entries: dict[int, tuple[tuple[int, ...], dict[str, int]]] = {}
    waiting = [index]
    while waiting:
        i = waiting.pop()
        entry = here.look(i) if i not in entries and i < here.capacity else None
        if entry is not None:
            values = _values(entry[1], here.value_kind)
            entries[i] = (entry[0], values)
            waiting += [values[name] for name in links]
    if any(there.index_of(key) is not None for key, _ in entries.values()) or there.entries + len(entries) > there.capacity:
        return False
    moved = {i: there.put(key, values) for i, (key, values) in entries.items()}
    for i, new in moved.items():
        assert new is not None
        value = there.slots[new].value
        for name in links:
            setattr(value, name, moved.get(entries[i][1][name], new))
    for i in entries:
        here.drop(i)
    return True


def _values(view: StructView, kind: Any) -> dict[str, int]:
    fields: Iterable[str] = kind.FIELDS
    return {name: int(getattr(view, name)) for name in fields}
