"""A configuration printed back from its syntax tree, in one style, with its comments."""

from __future__ import annotations

from penstock.lang.parser import parse
from penstock.lang.source import Diagnostics
from penstock.lang.syntax import (
    Chain,
    ClassDefinition,
    Compound,
    Define,
    ElementNode,
    Group,
    PortList,
    Require,
    Statement,
)
from penstock.lang.text import split_arguments

__all__ = ["format_configuration", "format_statements"]

_INDENT = "    "
_WIDTH = 100


def _ports(ports: PortList | None) -> str:
    if ports is None:
        return ""
    if ports.expandable:
        return f"[{ports.ports[0]}-]" if ports.ports and ports.ports[0] else "[]"
    return f"[{', '.join(map(str, ports.ports))}]"


def _arguments(text: str | None) -> str:
    """Arguments as they were written; those without line breaks or comments get one blank after each comma."""
    if text is None:
        return ""
    if "\n" in text or "/*" in text or "//" in text:
        return f"({text})"
    return f"({', '.join(split_arguments(text))})"


class _Printer:
    def __init__(self) -> None:
        self.depth = 0

    @property
    def indent(self) -> str:
        return _INDENT * self.depth

    def statements(self, body: list[Statement]) -> list[str]:
        lines: list[str] = []
        previous: Statement | None = None
        for statement in body:
            new = self.statement(statement)
            if previous is not None and new and (
                isinstance(statement, ClassDefinition) or isinstance(previous, ClassDefinition) or statement.comments
            ):
                lines.append("")
            lines += new
            previous = statement
        return lines

    def statement(self, s: Statement) -> list[str]:
        lines = [f"{self.indent}{comment}" for comment in s.comments]
        text = ""
        if isinstance(s, Chain):
            text = self.chain(s) if s.lists or s.lead else ""
        elif isinstance(s, ClassDefinition):
            definition = f" {s.definition}" if isinstance(s.definition, str) else f" {self.compound(s.definition)}"
            text = f"elementclass {s.name}{definition}"
        elif isinstance(s, Define):
            text = f"define{_arguments(s.arguments)}"
        elif isinstance(s, Require):
            text = f"require{_arguments(s.arguments)}"
        if text:
            end = "" if isinstance(s, ClassDefinition) and text.endswith("}") else ";"
            lines.append(f"{self.indent}{text}{end}" + (f"  {s.trailing_comment}" if s.trailing_comment else ""))
        elif s.trailing_comment:
            lines.append(f"{self.indent}{s.trailing_comment}")
        return lines

    def chain(self, c: Chain) -> str:
        parts = [", ".join(self.element(e) for e in group) for group in c.lists]
        pieces: list[str] = []
        if c.lead:
            pieces.append(c.lead)
        for i, part in enumerate(parts):
            pieces.append(part)
            if i < len(c.arrows):
                pieces.append(c.arrows[i])
        if c.trail:
            pieces.append(c.trail)
        line = " ".join(pieces)
        if len(self.indent) + len(line) <= _WIDTH and "\n" not in line:
            return line
        # One step a line.
        out = ""
        for piece in pieces:
            if piece in ("->", "=>"):
                out += f"\n{self.indent}{_INDENT}{piece} " if out else f"{piece} "
            else:
                out += piece
        return out.rstrip()

    def element(self, e: ElementNode) -> str:
        text = f"{_ports(e.inputs)} " if e.inputs is not None else ""
        if isinstance(e.body, Compound):
            text += self.compound(e.body)
        elif isinstance(e.body, Group):
            text += self.group(e.body)
        else:
            text += e.name
        text += _arguments(e.configuration)
        if e.declared is not None:
            text += " :: " + (e.declared if isinstance(e.declared, str) else self.compound(e.declared))
            text += _arguments(e.declared_configuration)
        return text + (f" {_ports(e.outputs)}" if e.outputs is not None else "")

    def group(self, g: Group) -> str:
        self.depth += 1
        inner = self.statements(g.body)
        self.depth -= 1
        if len(inner) == 1:
            return f"({inner[0].strip().rstrip(';')})"
        return "(\n" + "\n".join(inner) + f"\n{self.indent})"

    def compound(self, c: Compound) -> str:
        self.depth += 1
        parts: list[str] = []
        for overload in c.overloads:
            head = ", ".join(f"{word} {name}".strip() for word, name in overload.formals)
            head = f" {head} |" if overload.formals else " |" if overload.has_bar else ""
            body = "\n".join(self.statements(overload.body))
            parts.append(f"{head}\n{body}" if body else head)
        self.depth -= 1
        text = f"\n{self.indent}||".join(parts)
        if c.extends:
            text += f"\n{self.indent}|| ..." if parts else " ..."
        return "{" + text + (f"\n{self.indent}" if "\n" in text else " ") + "}"


def format_statements(statements: list[Statement]) -> str:
    lines = _Printer().statements(statements)
    return "\n".join(lines) + "\n" if lines else ""


def format_configuration(text: str, *, file: str = "config", diagnostics: Diagnostics | None = None) -> str:
    """``text`` in the standard style. A syntax error raises ConfigurationError, or goes to ``diagnostics``."""
    sink = diagnostics if diagnostics is not None else Diagnostics()
    statements = parse(text, file, sink)
    if diagnostics is None:
        sink.raise_if_errors()
    return format_statements(statements)
