"""The syntax tree of a Click configuration: what was written, where, with its comments."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.lang.source import Landmark

__all__ = [
    "Chain",
    "ClassDefinition",
    "Compound",
    "Define",
    "ElementNode",
    "Group",
    "Overload",
    "PortList",
    "Require",
    "Statement",
]


@dataclass(slots=True)
class PortList:
    """``[0, 2-4]``; ``expandable`` for ``[]`` and ``[n-]``, where ``ports`` holds the first one."""

    ports: list[int]
    expandable: bool = False
    at: Landmark = field(default_factory=Landmark)


@dataclass(slots=True)
class Overload:
    """One ``formals | body`` of a compound element. A formal is (keyword or '', variable name)."""

    formals: list[tuple[str, str]]
    body: list[Statement]
    at: Landmark
    has_bar: bool = False


@dataclass(slots=True)
class Compound:
    """``{ a || b || ... }``; ``extends`` for the final ``...``."""

    overloads: list[Overload]
    extends: bool
    at: Landmark


@dataclass(slots=True)
class Group:
    """``( -> X -> )``: a part of the graph used as though it were one element."""

    body: list[Statement]
    at: Landmark


@dataclass(slots=True)
class ElementNode:
    """One element in a statement: a use, a declaration or an anonymous element.

    ``name`` is what stood first; ``declared`` is what stood after ``::`` (shared by ``a, b :: C``).
    ``configuration`` is None where no parentheses were written.
    """

    at: Landmark
    name: str = ""
    body: Compound | Group | None = None
    configuration: str | None = None
    declared: str | Compound | None = None
    declared_configuration: str | None = None
    inputs: PortList | None = None
    outputs: PortList | None = None


@dataclass(slots=True)
class Statement:
    at: Landmark
    comments: list[str] = field(default_factory=list, kw_only=True)
    trailing_comment: str = field(default="", kw_only=True)


@dataclass(slots=True)
class Chain(Statement):
    """``a, b -> c => d``: lists of elements with arrows between; ``lead``/``trail`` are bare arrows."""

    lists: list[list[ElementNode]]
    arrows: list[str]
    lead: str = ""
    trail: str = ""


@dataclass(slots=True)
class ClassDefinition(Statement):
    """``elementclass Name Synonym`` or ``elementclass Name { ... }``."""

    name: str
    definition: str | Compound


@dataclass(slots=True)
class Define(Statement):
    arguments: str


@dataclass(slots=True)
class Require(Statement):
    arguments: str
