"""Networks as files: boxes with a configuration or another system's table each, hosts, and links (TOML or JSON)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.verify.network import Network, NetworkError
from penstock.verify.readers.errors import TableError

__all__ = ["load_network", "schema"]

#: keys of a box that name a file, see :func:`_converted`
_READERS = ("click", "routes", "iptables", "nftables", "access_list", "macs")
_WITH_INTERFACES = ("iptables", "nftables", "macs")
_KEYS: Mapping[str, frozenset[str]] = {
    "box": frozenset({*_READERS, "text", "unknown", "interfaces"}), "host": frozenset({"address", "addresses"}),
}


def load_network(path: Path | str, *, opaque: bool = False) -> Network:
    """A network from a TOML (or JSON) file: ``[box.NAME]`` with ``click`` or another system's table (a file beside it) or ``text``,
    ``[host.NAME]`` with ``address`` or ``addresses``, ``links = ["host box:interface", "a:1 b:0 mtu 1400", …]``, and ``graph``: a file of
    links.
    ``opaque``: elements of classes that are not known may do anything, and are no errors. Raises NetworkError, ConfigurationError."""
    import tomllib

    path = Path(path)
    try:
        content = json.loads(_read(path)) if path.suffix == ".json" else tomllib.loads(_read(path))
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise NetworkError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise NetworkError(f"{path}: expected an object with box, host and links")
    try:
        return _network(content, path.parent, opaque=opaque)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


def schema() -> dict[str, Any]:
    """What a network's file may hold, as a JSON schema (TOML and JSON have the same content)."""
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    lists = ("addresses", "interfaces", "unknown")
    tables = {
        kind: {"type": "object", "additionalProperties": {
            "type": "object", "additionalProperties": False, "properties": {key: texts if key in lists else text for key in sorted(keys)},
            **({"oneOf": [{"required": [key]} for key in (*_READERS, "text")]} if kind == "box" else {}),
        }} for kind, keys in _KEYS.items()
    }
    links = {"type": "array", "items": {"type": "string", "pattern": r"^\S+\s+\S+(\s+mtu\s+\d+)?$"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A network for penstock verify", "type": "object",
        "additionalProperties": False, "properties": {**tables, "links": links, "graph": text},
    }


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NetworkError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _network(content: dict[str, Any], folder: Path, *, opaque: bool) -> Network:
    network = Network(opaque=opaque)
    for key in content:
        if key not in ("box", "host", "links", "graph"):
            raise NetworkError(f"'{key}' is not understood (there are box, host, links and graph)")
    for kind, known in _KEYS.items():
        for name, values in _table(content, kind).items():
            if not isinstance(values, dict) or set(values) - known:
                raise NetworkError(f"[{kind}.{name}]: expected {' or '.join(sorted(known))}")
            if kind == "box":
                text, file = _configuration(name, values, folder)
                network.add_box(name, text, file=file, unknown=_texts(values.get("unknown", []), f"[box.{name}]: unknown"))
            else:
                addresses = values.get("addresses", [values["address"]] if "address" in values else [])
                network.add_host(name, _texts(addresses, f"[host.{name}]: addresses"))
    links = content.get("links", [])
    if not isinstance(links, list):
        raise NetworkError("links are a list of texts such as \"client fw:0\"")
    for link in links:
        _link(network, link)
    if "graph" in content:
        _graph(network, content["graph"], folder)
    return network


def _link(network: Network, link: object) -> None:
    words = link.split() if isinstance(link, str) else []
    mtu = words[3] if len(words) == 4 and words[2] == "mtu" else ""
    if len(words) != 2 and not (mtu.isdigit() and 68 <= int(mtu) <= 0xFFFF):
        raise NetworkError(f"link {link!r}: expected two ends, such as \"client fw:0\", or \"client fw:0 mtu 1400\" (68 to 65535)")
    network.link(words[0], words[1], mtu=int(mtu) if mtu else None)


def _graph(network: Network, file: object, folder: Path) -> None:
    """Links of a graph. An end without a port is the interface that has the other node's name."""
    if not isinstance(file, str):
        raise NetworkError("graph: the name of a file is expected")
    from penstock.verify.readers.graphs import parse_graph

    try:
        edges = parse_graph(_read(folder / file))
    except TableError as error:
        raise NetworkError(f"graph: {folder / file}: {error}") from None
    for ends in edges:
        texts = [node if node in network.hosts else f"{node}:{port or other}" for (node, port), (other, _) in (ends, ends[::-1])]
        network.link(*texts)


def _converted(kind: str, text: str, interfaces: list[str]) -> str:
    """A configuration of what a file has; the readers are loaded where they are needed. Raises TableError."""
    match kind:
        case "routes":
            from penstock.verify.readers.routes import parse_routes, router_configuration

            return router_configuration(parse_routes(text))
        case "iptables":
            from penstock.verify.readers.iptables import parse_iptables
            from penstock.verify.readers.rules import filter_configuration

            return filter_configuration(*parse_iptables(text), interfaces=interfaces)
        case "nftables":
            from penstock.verify.readers.nftables import parse_nftables
            from penstock.verify.readers.rules import filter_configuration

            return filter_configuration(*parse_nftables(text), interfaces=interfaces)
        case "access_list":
            from penstock.verify.readers.accesslist import access_list_configuration, parse_access_list

            return access_list_configuration(parse_access_list(text))
        case "macs":
            from penstock.verify.readers.macs import parse_macs, switch_configuration

            return switch_configuration(parse_macs(text), interfaces)
    return text


def _texts(values: Any, what: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise NetworkError(f"{what}: a list of texts is expected")
    return values


def _table(content: dict[str, Any], kind: str) -> dict[str, Any]:
    found = content.get(kind, {})
    if not isinstance(found, dict):
        raise NetworkError(f"'{kind}' is not a table; write [{kind}.NAME]")
    return found


def _configuration(name: str, values: dict[str, Any], folder: Path) -> tuple[str, str]:
    """(text, file) of a box."""
    given = [key for key in (*_READERS, "text") if key in values]
    if len(given) != 1 or not isinstance(values[given[0]], str):
        raise NetworkError(f"[box.{name}]: give one of {', '.join(_READERS)} (files) and text (a configuration)")
    interfaces = _texts(values.get("interfaces", []), f"[box.{name}]: interfaces")
    if interfaces and given[0] not in _WITH_INTERFACES:
        raise NetworkError(f"[box.{name}]: interfaces are given with {', '.join(_WITH_INTERFACES)}; others name their own")
    if given == ["text"]:
        return values["text"], name
    file = folder / values[given[0]]
    try:
        return _converted(given[0], _read(file), interfaces), str(file)
    except NetworkError as error:
        raise NetworkError(f"[box.{name}]: {error}") from None
    except TableError as error:
        raise NetworkError(f"[box.{name}]: {file}: {error}") from None
