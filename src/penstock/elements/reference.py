"""An element's reference page, read off its class: docstring, ``configure`` signature and the three strings."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from penstock.elements.element import Element
from penstock.lang.arguments import Parameter, parameters_of

__all__ = ["Reference", "reference_of"]

_HEADINGS = ("Arguments", "Handlers", "Example")


@dataclass(frozen=True)
class Reference:
    """One page. ``sections`` has the text of Arguments, Handlers and Example, dedented."""

    name: str
    group: str
    summary: str
    description: str
    sections: dict[str, str]
    arguments: list[Parameter]
    #: whether the class documents its arguments itself
    own_arguments: bool
    ports: str
    processing: str
    flow: str
    file: str

    @property
    def example(self) -> str:
        return self.sections.get("Example", "")

    @property
    def argument_words(self) -> set[str]:
        """Keywords that the Arguments section names."""
        return set(re.findall(r"[A-Z][A-Z0-9_]+|\b[A-Z]\b", self.sections.get("Arguments", "")))

    def synopsis(self) -> str:
        """``Name(ARG, [OPTIONAL], [KEYWORD value])`` with argument types."""
        words: list[str] = []
        for p in self.arguments:
            if p.rest:
                words.append(f"{p.keyword}...")
            elif p.positional:
                words.append(p.keyword if p.mandatory else f"[{p.keyword}]")
            else:
                words.append(f"[{p.keyword} {p.kind.name}]")
        return f"{self.name}({', '.join(words)})" if words else self.name

    def markdown(self) -> str:
        lines = [f"# {self.name}", "", self.summary, "", f"`{self.synopsis()}`", ""]
        lines += [f"Group {self.group}; ports `{self.ports}`, processing `{self.processing}`, flow `{self.flow}`.", ""]
        if self.description:
            lines += [self.description, ""]
        for heading in _HEADINGS:
            if heading in self.sections:
                language = "click" if heading == "Example" else "text"
                lines += [f"## {heading}", "", f"```{language}", self.sections[heading], "```", ""]
        return "\n".join(lines)

    def text(self) -> str:
        """The page for a terminal."""
        lines = [self.name, "", f"    {self.summary}", "", f"    {self.synopsis()}", "",
                 f"    group {self.group}, ports {self.ports}, processing {self.processing}, flow {self.flow}", ""]
        if self.description:
            lines += [f"    {line}".rstrip() for line in self.description.split("\n")] + [""]
        for heading in _HEADINGS:
            if heading in self.sections:
                lines += [f"{heading}:", *(f"    {line}".rstrip() for line in self.sections[heading].split("\n")), ""]
        return "\n".join(lines)


def reference_of(cls: type[Element]) -> Reference:
    doc = inspect.cleandoc(cls.__doc__ or "")
    parts = re.split(rf"^({'|'.join(_HEADINGS)}):\n", doc, flags=re.MULTILINE)
    head = parts[0].strip()
    summary, _, description = head.partition("\n\n")
    sections = {name: inspect.cleandoc(f"\n{body}".rstrip()) for name, body in zip(parts[1::2], parts[2::2])}
    own_arguments = "Arguments" in sections
    for base in cls.__mro__[1:]:
        # A relative under another name says in its summary what differs.
        if own_arguments or not issubclass(base, Element) or base is Element:
            break
        inherited = inspect.cleandoc(base.__doc__ or "")
        if found := re.search(r"^Arguments:\n(.*?)(?=^\w+:\n|\Z)", inherited, re.MULTILINE | re.DOTALL):
            sections["Arguments"] = inspect.cleandoc(f"\n{found[1].rstrip()}")
            break
    group = cls.__module__.split(".")[2] if cls.__module__.startswith("penstock.elements.") else "user"
    return Reference(
        cls.__name__, group, " ".join(summary.split()), description, sections, parameters_of(cls.configure), own_arguments,
        cls.ports, cls.processing, cls.flow, inspect.getsourcefile(cls) or "",
    )
