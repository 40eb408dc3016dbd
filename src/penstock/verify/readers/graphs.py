"""Which nodes are linked: from a graph of Graphviz (dot), or GraphML as the Internet Topology Zoo has it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from penstock.verify.readers.errors import TableError

__all__ = ["parse_dot", "parse_graph", "parse_graphml"]

#: (node, port or '')
End = tuple[str, str]
_TOKEN = re.compile(r"""\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/|
    (?P<token>"(?:[^"\\]|\\.)*"|->|--|[{}\[\];,=:]|-?[A-Za-z0-9_.\u0080-\uffff]+)""", re.DOTALL | re.VERBOSE)


def parse_graph(text: str) -> list[tuple[End, End]]:
    """The links of either format. An end without a port has ''. Raises TableError."""
    return parse_graphml(text) if text.lstrip().startswith("<") else parse_dot(text)


def parse_dot(text: str) -> list[tuple[End, End]]:
    """``a -- b`` and ``a:eth0 -> b:eth1``, also within subgraphs; attributes are passed over."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            line = text.count("\n", 0, at) + 1
            raise TableError(f"line {line}: '{text[at:at + 20].split(chr(10))[0]}' is not understood")
        if match["token"] is not None:
            tokens.append(match["token"])
        at = match.end()
    if not tokens or tokens[0].lower() not in ("strict", "graph", "digraph") or "{" not in tokens:
        raise TableError("expected 'graph {' or 'digraph {'")
    return _links(tokens[tokens.index("{") + 1:])


def _links(tokens: list[str]) -> list[tuple[End, End]]:
    found: list[tuple[End, End]] = []
    seen: set[frozenset[End]] = set()
    before: End | None = None
    i, depth = 0, 1
    while i < len(tokens):
        token = tokens[i]
        i += 1
        if token == "[":
            while i < len(tokens) and tokens[i] != "]":
                i += 1
            i += 1
        elif token in ("{", "}"):
            depth += 1 if token == "{" else -1
            before = None
        elif token in (";", ","):
            before = None
        elif token == "=":
            i, before = i + 1, None
        elif token in ("--", "->"):
            if before is None or i >= len(tokens) or tokens[i] in ("{", "subgraph"):
                raise TableError("an edge of a whole subgraph is not understood")
            other, i = _end(tokens, i)
            pair = frozenset({before, other})
            # Both directions of a link may stand in a directed graph.
            if pair not in seen:
                seen.add(pair)
                found.append((before, other))
            before = other
        elif token != "subgraph":
            before, i = _end(tokens, i - 1)
    if depth:
        raise TableError("its braces do not match")
    return found


def _end(tokens: list[str], i: int) -> tuple[End, int]:
    name, i = _name(tokens[i]), i + 1
    port = ""
    while tokens[i:i + 1] == [":"] and i + 1 < len(tokens):
        # Behind the port there may be the side at which it is drawn.
        port, i = port or _name(tokens[i + 1]), i + 2
    return (name, port), i


def _name(text: str) -> str:
    inner = re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
    if not re.search(r"\w", inner):
        raise TableError(f"'{text}' is no name")
    return re.sub(r"[\s:]+", "_", inner.strip())


def parse_graphml(text: str) -> list[tuple[End, End]]:
    """Nodes have the names that their key ``label`` gives, else their identities; ends have the ports that edges name."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise TableError("a document type is not read")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise TableError(str(error)) from None
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    if root.tag != f"{space}graphml":
        raise TableError(f"expected <graphml>, not <{root.tag.removeprefix(space)}>")
    keys = [key for key in root.iter(f"{space}key") if key.get("for") == "node" and key.get("attr.name") == "label"]
    label = keys[0].get("id") if keys else None
    names: dict[str, str] = {}
    for node in root.iter(f"{space}node"):
        given = next((data.text for data in node.iter(f"{space}data") if data.get("key") == label and data.text), None)
        names[node.get("id", "")] = _name(str(given or node.get("id", "")))
    doubled = {name for name in names.values() if list(names.values()).count(name) > 1}
    found: list[tuple[End, End]] = []
    for edge in root.iter(f"{space}edge"):
        ends: list[End] = []
        for side in ("source", "target"):
            identity = edge.get(side, "")
            if identity not in names:
                raise TableError(f"an edge leads to '{identity}', and there is no such node")
            # Where a name is there twice, the identity tells which.
            name = names[identity] if names[identity] not in doubled else f"{names[identity]}.{identity}"
            ends.append((name, edge.get(f"{side}port", "")))
        found.append((ends[0], ends[1]))
    return found
