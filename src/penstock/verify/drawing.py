"""A way through a network as a picture (SVG): hosts and boxes in a row, the elements passed, and what decided."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from penstock.verify.describe import deciding_rule, fact_text, number_text, told
from penstock.verify.network import Way
from penstock.verify.questions import Answer

__all__ = ["draw"]

_LINE, _CHARACTER, _PAD, _GAP, _TITLE = 16, 7.2, 10, 36, 22
_COLOURS = {"delivered": "#2e7d32", "left": "#2e7d32", "dropped": "#c62828", "fault": "#c62828", "loop": "#c62828"}
_STYLE = """text { font: 12px monospace; fill: #222 } .title { font-weight: bold } .small { font-size: 11px; fill: #666 }
.node { fill: #f5f5f5; stroke: #888 } .host { fill: #e3f2fd; stroke: #1565c0 }
.arrow { stroke: #555; fill: none; marker-end: url(#head) }"""


@dataclass
class _Node:
    title: str
    lines: list[tuple[str, bool]]
    css: str = "node"

    @property
    def width(self) -> float:
        longest = max(len(self.title), *(len(text) for text, _ in self.lines), 4) if self.lines else max(len(self.title), 4)
        return longest * _CHARACTER + 2 * _PAD

    @property
    def height(self) -> float:
        return _TITLE + len(self.lines) * _LINE + _PAD


def draw(answers: list[Answer]) -> str:
    """The ways of the answers' examples, one below the other."""
    parts: list[str] = []
    y = width = 0.0
    for answer in answers:
        if answer.witness is None:
            continue
        drawn, w, h = _row(answer, y)
        parts.append(drawn)
        y, width = y + h, max(width, w)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{y:.0f}" viewBox="0 0 {width:.0f} {y:.0f}">'
        f'<style>{_STYLE}</style><defs>'
        f'<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n')


def _row(answer: Answer, top: float) -> tuple[str, float, float]:
    witness = answer.witness
    assert witness is not None
    nodes = [_Node(witness.source, [], "host"), *_boxes(witness.way), _end(witness.way)]
    parts = [_text(_PAD, top + 18, f"{answer.verdict}: {answer.question}", "title"), _text(_PAD, top + 34, answer.text, "small")]
    x, y = float(_PAD), top + 46
    middle = y + _TITLE / 2
    for i, node in enumerate(nodes):
        if i:
            parts.append(f'<path class="arrow" d="M{x:.0f} {middle:.0f}h{_GAP}"/>')
            x += _GAP
        colour = f' style="stroke:{_COLOURS[node.css]};fill:#fff"' if node.css in _COLOURS else ""
        css = "host" if node.css == "host" else "node"
        parts.append(f'<rect class="{css}"{colour} x="{x:.0f}" y="{y:.0f}" width="{node.width:.0f}" height="{node.height:.0f}" rx="6"/>')
        parts.append(_text(x + _PAD, y + 16, node.title, "title"))
        parts += [_text(x + _PAD, y + _TITLE + 12 + k * _LINE, line, "small" if small else "")
                  for k, (line, small) in enumerate(node.lines)]
        x += node.width
    height = 46 + max(n.height for n in nodes) + 2 * _PAD
    title = max(len(answer.question) + 12, len(answer.text)) * _CHARACTER + 2 * _PAD
    return "".join(parts), max(x + _PAD, title), height


def _boxes(way: Way) -> list[_Node]:
    found: list[_Node] = []
    last = ""
    for box, step in way.steps:
        if box != last or not found:
            found.append(_Node(box or "configuration", []))
            last = box
        name = step.element if step.element.partition("@")[0] == step.class_name else f"{step.element} :: {step.class_name}"
        found[-1].lines.append((name, False))
        found[-1].lines += [("  " + fact_text(f).replace("@", f"{box}/"), True) for f in told(step.facts)]
    return found


def _end(way: Way) -> _Node:
    lines = [(way.reason, True)] if way.reason else []
    if way.kind in ("delivered", "left"):
        for name in ("ip.src", "ip.dst"):
            try:
                value = way.packet.field(*name.split("."))
            except LookupError:
                continue
            lines.append((f"{name} = {number_text(name, value) if isinstance(value, int) else value}", True))
        return _Node(way.node if way.kind == "delivered" else f"{way.node}:{way.interface}", lines, way.kind)
    rule = deciding_rule(way.trail.steps) if way.trail else ""
    return _Node(way.kind, [*lines, *([(rule, True)] if rule else [])], way.kind)


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{css}" xml:space="preserve">{escape(text)}</text>'
