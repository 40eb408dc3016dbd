"""A flat configuration: elements and connections, as the elaborator leaves them."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.lang.source import Landmark

__all__ = ["Configuration", "Connection", "ElementUse"]


@dataclass(slots=True)
class ElementUse:
    """One element of a flat configuration. ``arguments`` is its configuration string, variables expanded."""

    name: str
    class_name: str
    arguments: str
    at: Landmark
    index: int = 0

    def __str__(self) -> str:
        return f"{self.name} :: {self.class_name}"


@dataclass(frozen=True, slots=True, order=True)
class Connection:
    """From output ``from_port`` of element number ``source`` to input ``to_port`` of ``target``."""

    source: int
    from_port: int
    target: int
    to_port: int
    at: Landmark = field(default=Landmark(), compare=False)


@dataclass(slots=True)
class Configuration:
    """A configuration without compound elements.

    ``compounds`` keeps the names and classes of the compound elements that were expanded, since handlers
    such as ``a/b.count`` and Script's relative names still speak of them.
    """

    elements: list[ElementUse] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    compounds: dict[str, str] = field(default_factory=dict)

    def by_name(self, name: str) -> ElementUse | None:
        return next((e for e in self.elements if e.name == name), None)

    def ports(self, element: int) -> tuple[int, int]:
        """How many inputs and outputs of an element the connections use."""
        inputs = max((c.to_port + 1 for c in self.connections if c.target == element), default=0)
        outputs = max((c.from_port + 1 for c in self.connections if c.source == element), default=0)
        return inputs, outputs

    def text(self) -> str:
        """The configuration in Click's ``-o`` layout: requirements, declarations, then chains."""
        lines = [f"require({r});\n" for r in self.requirements]
        if lines:
            lines.append("\n")
        for e in self.elements:
            arguments = f"({e.arguments})" if e.arguments else ""
            lines.append(f"{e.name} :: {e.class_name}{arguments};\n")
        if self.elements:
            lines.append("\n")
        lines += self._chains()
        return "".join(lines)

    def _chains(self) -> list[str]:
        """Chains that start where nothing precedes, then what is left of the cycles."""
        remaining = sorted(self.connections)
        following: dict[int, list[Connection]] = {}
        for c in remaining:
            following.setdefault(c.source, []).append(c)
        preceded = {c.target for c in remaining}
        used: set[Connection] = set()
        lines: list[str] = []
        starts = [c for c in remaining if c.source not in preceded] + remaining
        for start in starts:
            if start in used:
                continue
            chain = self.elements[start.source].name
            current: Connection | None = start
            while current is not None:
                used.add(current)
                left = f" [{current.from_port}]" if current.from_port else ""
                right = f"[{current.to_port}] " if current.to_port else ""
                chain += f"{left} -> {right}{self.elements[current.target].name}"
                rest = [c for c in following.get(current.target, []) if c not in used]
                current = rest[0] if rest else None
                if current is not None:
                    chain += "\n   "
            lines.append(chain + ";\n")
        return lines
