"""A flat configuration drawn: Graphviz text, or SVG with a layered layout of its own.

Ports are drawn in Click's notation: inputs are triangles, outputs are rectangles; push is black, pull is white, and
a port that is agnostic in its class has a double outline.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from penstock.lang.configuration import Configuration
from penstock.lang.ports import PULL, PortRules, ResolvedPorts, resolve_ports
from penstock.lang.source import Diagnostics

__all__ = ["to_dot", "to_svg"]

_CHAR_WIDTH, _LINE_HEIGHT, _PAD = 7.3, 17, 12
_PORT, _ROW_GAP, _COLUMN_GAP, _MARGIN = 9, 46, 26, 20
_MAX_LABEL = 44
_SWEEPS = 6


def _resolve(configuration: Configuration, rules: Callable[[str], PortRules]) -> ResolvedPorts:
    # Drawn even where something is wrong: that is when a drawing helps.
    return resolve_ports(configuration, rules, Diagnostics())


def _label(name: str, class_name: str, arguments: str) -> list[str]:
    first = class_name if name.startswith(f"{class_name}@") else f"{name} :: {class_name}"
    words = " ".join(arguments.split())
    lines = [first] + ([f"({words})"] if words else [])
    return [line if len(line) <= _MAX_LABEL else line[: _MAX_LABEL - 1] + "…" for line in lines]


def to_dot(configuration: Configuration, rules: Callable[[str], PortRules]) -> str:
    """Graphviz text; pull connections are dashed."""
    ports = _resolve(configuration, rules)
    lines = ["digraph configuration {", "  rankdir=TB; node [shape=box, fontname=Helvetica, fontsize=10];",
             "  edge [fontname=Helvetica, fontsize=8];"]
    for i, e in enumerate(configuration.elements):
        label = "\\n".join(t.replace("\\", "\\\\").replace('"', '\\"') for t in _label(e.name, e.class_name, e.arguments))
        lines.append(f'  n{i} [label="{label}"];')
    for c in configuration.connections:
        style = "dashed" if ports.outputs[c.source][c.from_port : c.from_port + 1] == [PULL] else "solid"
        head, tail = (str(c.to_port) if c.to_port else ""), (str(c.from_port) if c.from_port else "")
        lines.append(f'  n{c.source} -> n{c.target} [style={style}, headlabel="{head}", taillabel="{tail}"];')
    return "\n".join([*lines, "}", ""])


def _ranks(configuration: Configuration) -> list[int]:
    """The longest way from a start to each element, edges that close cycles left out."""
    n = len(configuration.elements)
    following: list[list[int]] = [[] for _ in range(n)]
    for c in configuration.connections:
        following[c.source].append(c.target)
    state = [0] * n
    order: list[int] = []
    back: set[tuple[int, int]] = set()
    for root in range(n):
        if state[root]:
            continue
        stack = [(root, 0)]
        state[root] = 1
        while stack:
            node, at = stack[-1]
            if at < len(following[node]):
                stack[-1] = (node, at + 1)
                child = following[node][at]
                if state[child] == 0:
                    state[child] = 1
                    stack.append((child, 0))
                elif state[child] == 1:
                    back.add((node, child))
            else:
                state[node] = 2
                order.append(node)
                stack.pop()
    ranks = [0] * n
    for node in reversed(order):
        for child in following[node]:
            if (node, child) not in back:
                ranks[child] = max(ranks[child], ranks[node] + 1)
    return ranks


def _rows(configuration: Configuration, ranks: list[int]) -> list[list[int]]:
    """The elements of each rank, ordered so that connected ones stand near each other (barycentres)."""
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for i, rank in enumerate(ranks):
        rows[rank].append(i)
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for c in configuration.connections:
        above.setdefault(c.target, []).append(c.source)
        below.setdefault(c.source, []).append(c.target)
    place = {e: float(k) for row in rows for k, e in enumerate(row)}
    for sweep in range(_SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            row.sort(key=lambda e: sum(place[p] for p in near[e]) / len(near[e]) if near.get(e) else place[e])
            for k, e in enumerate(row):
                place[e] = k - len(row) / 2
    return rows


def to_svg(configuration: Configuration, rules: Callable[[str], PortRules]) -> str:
    """An SVG drawing, from top to bottom."""
    ports = _resolve(configuration, rules)
    rows = _rows(configuration, _ranks(configuration))
    labels = [_label(e.name, e.class_name, e.arguments) for e in configuration.elements]
    widths = [
        max(max(len(t) for t in lines) * _CHAR_WIDTH + 2 * _PAD, (max(len(ports.inputs[i]), len(ports.outputs[i])) + 1) * 2 * _PORT)
        for i, lines in enumerate(labels)
    ]
    # Ports stand above and below the text.
    heights = [len(lines) * _LINE_HEIGHT + _PAD + _PORT * (bool(ports.inputs[i]) + bool(ports.outputs[i]))
               for i, lines in enumerate(labels)]
    row_widths = [sum(widths[e] for e in row) + _COLUMN_GAP * max(len(row) - 1, 0) for row in rows]
    total = max(row_widths, default=0) + 2 * _MARGIN
    corner: dict[int, tuple[float, float]] = {}
    y = float(_MARGIN)
    for row, width in zip(rows, row_widths):
        x = (total - width) / 2
        for e in row:
            corner[e] = (x, y)
            x += widths[e] + _COLUMN_GAP
        y += max((heights[e] for e in row), default=0) + _ROW_GAP
    height = y - _ROW_GAP + _MARGIN if rows else 2 * _MARGIN

    def port_at(e: int, number: int, count: int, *, output: bool) -> tuple[float, float]:
        x, top = corner[e]
        return x + widths[e] * (number + 1) / (count + 1), top + heights[e] if output else top

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{total:.0f}" height="{height:.0f}" '
           f'viewBox="0 0 {total:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12">',
           f'<rect width="{total:.0f}" height="{height:.0f}" fill="white"/>']
    for c in configuration.connections:
        if c.from_port >= len(ports.outputs[c.source]) or c.to_port >= len(ports.inputs[c.target]):
            continue
        x1, y1 = port_at(c.source, c.from_port, len(ports.outputs[c.source]), output=True)
        x2, y2 = port_at(c.target, c.to_port, len(ports.inputs[c.target]), output=False)
        bend = max((y2 - y1) / 2, _ROW_GAP * 0.6)
        dash = ' stroke-dasharray="5 3"' if ports.outputs[c.source][c.from_port] == PULL else ""
        out.append(f'<path d="M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}" '
                   f'fill="none" stroke="#555"{dash}/>')
    for i, use in enumerate(configuration.elements):
        x, top = corner[i]
        title = escape(f"{use.name} :: {use.class_name}({use.arguments})  {use.at}")
        out.append(f'<g><title>{title}</title><rect x="{x:.1f}" y="{top:.1f}" width="{widths[i]:.1f}" height="{heights[i]}" '
                   'rx="3" fill="#f4f6fa" stroke="#223"/>')
        first_line = 18 + (_PORT if ports.inputs[i] else 0)
        for k, line in enumerate(labels[i]):
            style = 'font-weight="bold"' if k == 0 else 'fill="#555" font-size="11"'
            out.append(f'<text x="{x + widths[i] / 2:.1f}" y="{top + first_line + k * _LINE_HEIGHT:.1f}" text-anchor="middle" '
                       f'{style}>{escape(line)}</text>')
        agnostic = rules(use.class_name).processing.partition("/")
        for output, codes in ((False, ports.inputs[i]), (True, ports.outputs[i])):
            declared = (agnostic[2] or agnostic[0]) if output else agnostic[0]
            for k, code in enumerate(codes):
                px, py = port_at(i, k, len(codes), output=output)
                double = (declared or "a")[min(k, len(declared or "a") - 1)] == "a"
                out.append(_port_shape(px, py, output=output, pull=code == PULL, double=double))
        out.append("</g>")
    return "\n".join([*out, "</svg>", ""])


def _port_shape(x: float, y: float, *, output: bool, pull: bool, double: bool) -> str:
    fill = "white" if pull else "black"
    half = _PORT / 2

    def shape(grow: float, color: str) -> str:
        if output:
            return (f'<rect x="{x - half - grow:.1f}" y="{y - _PORT - grow:.1f}" width="{_PORT + 2 * grow:.1f}" '
                    f'height="{_PORT + 2 * grow:.1f}" fill="{color}" stroke="black"/>')
        return (f'<polygon points="{x - half - grow:.1f},{y - grow / 2:.1f} {x + half + grow:.1f},{y - grow / 2:.1f} '
                f'{x:.1f},{y + _PORT + grow:.1f}" fill="{color}" stroke="black"/>')

    return (shape(2.5, "white") if double else "") + shape(0, fill)
