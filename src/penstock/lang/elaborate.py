"""From the syntax tree to a flat configuration: scopes, compound elements, port lists, tunnels."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.lang.configuration import Configuration, Connection, ElementUse
from penstock.lang.parser import MAX_DEPTH, parse
from penstock.lang.source import Diagnostics, Landmark
from penstock.lang.syntax import (
    Chain,
    ClassDefinition,
    Compound,
    Define,
    ElementNode,
    Group,
    Overload,
    PortList,
    Require,
    Statement,
)
from penstock.lang.text import expand_variables, split_arguments, split_words

__all__ = ["elaborate", "split_keyword"]

MAX_ELEMENTS = 1_000_000


@dataclass
class _Class:
    """What a class name means in a scope: a primitive (``compound`` None) or a compound and its scope."""

    name: str
    compound: Compound | None = None
    scope: _Scope | None = None
    earlier: _Class | None = None


@dataclass
class _Scope:
    """The names visible in one body. ``prefix`` is what element names get in the flat configuration."""

    parent: _Scope | None
    prefix: str = ""
    depth: int = 0
    classes: dict[str, _Class] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def find_class(self, name: str) -> _Class | None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.classes:
                return scope.classes[name]
            scope = scope.parent
        return None

    def variable(self, name: str) -> str | None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.variables:
                return scope.variables[name]
            scope = scope.parent
        return None


@dataclass
class _Instance:
    """An element of one body before compound elements are expanded."""

    name: str
    cls: _Class
    arguments: str
    at: Landmark
    group: Group | None = None
    scope: _Scope | None = None


@dataclass
class _Body:
    scope: _Scope
    instances: list[_Instance] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)
    connections: list[Connection] = field(default_factory=list)
    anonymous_offset: int = 0


@dataclass(frozen=True)
class _Port:
    """A port in the flat graph: of element ``name``, which may be a tunnel."""

    name: str
    port: int


def split_keyword(argument: str) -> tuple[str, str] | None:
    """``KEY value`` as (KEY, value); None where the argument does not start with a keyword (Click's rule)."""
    if not (argument[:1].isalpha() or argument[:1] == "_"):
        return None
    head, _, rest = argument.partition(" ")
    for i, char in enumerate(argument):
        if char.isspace():
            head, rest = argument[:i], argument[i:]
            break
    rest = rest.strip()
    if not rest:
        return None
    if not all(c.isalnum() or c in "_:.?!" for c in head):
        return None
    return head, rest


class _Elaborator:
    def __init__(
        self,
        diagnostics: Diagnostics,
        known_classes: Callable[[str], bool],
        class_names: Callable[[], Collection[str]],
        globals_: Mapping[str, str],
        library_path: Collection[Path],
    ):
        self.diagnostics = diagnostics
        self.known = known_classes
        self.class_names = class_names
        self.overrides = dict(globals_)
        self.library_path = list(library_path)
        self.loaded: set[Path] = set()
        self.result = Configuration()
        self.tunnel_connections: list[tuple[_Port, _Port, Landmark]] = []
        self.tunnels: set[str] = set()
        self.element_index: dict[str, int] = {}

    # One body

    def body(self, statements: list[Statement], scope: _Scope, *, compound: bool) -> _Body:
        body = _Body(scope)
        if compound:
            body.anonymous_offset = 2
            for name in ("input", "output"):
                self._declare(body, name, _Class("<tunnel>"), "", Landmark())
        self._statements(statements, body)
        return body

    def _statements(self, statements: list[Statement], body: _Body) -> None:
        for statement in statements:
            match statement:
                case ClassDefinition():
                    self._define_class(statement, body.scope)
                case Define():
                    self._define_variables(statement, body.scope)
                case Require():
                    self._require(statement, body)
                case Chain():
                    self._chain(statement, body)

    def _define_class(self, statement: ClassDefinition, scope: _Scope) -> None:
        if isinstance(statement.definition, str):
            target = self._class(statement.definition, scope, statement.at)
            scope.classes[statement.name] = target
            return
        earlier = scope.find_class(statement.name)
        if earlier is None and self.known(statement.name):
            earlier = _Class(statement.name)
        scope.classes[statement.name] = _Class(
            statement.name, statement.definition, scope, earlier if statement.definition.extends else None
        )

    def _define_variables(self, statement: Define, scope: _Scope) -> None:
        for argument in split_arguments(statement.arguments):
            name, _, value = argument.partition(" ")
            if not name.startswith("$") or not name[1:].replace("_", "a").isalnum():
                self.diagnostics.error("bad argument to 'define': expected formal", statement.at, code="E010")
                continue
            if name[1:] in scope.variables and name[1:] not in self.overrides:
                self.diagnostics.error(f"parameter '{name}' multiply defined", statement.at, code="E011")
                continue
            if scope.parent is None and name[1:] in self.overrides:
                continue
            scope.variables[name[1:]] = self._expand(value.strip(), scope)

    def _require(self, statement: Require, body: _Body) -> None:
        for argument in split_arguments(statement.arguments):
            words = split_words(argument)
            if not words:
                continue
            if words[0] == "library" and len(words) == 2:
                self._library(words[1], statement, body)
            elif words[0] in ("package", "library") and len(words) != 2:
                self.diagnostics.error(f"bad requirement '{argument}'", statement.at, code="E012")
            else:
                name = words[-1]
                self.result.requirements.append(f"package {name}" if words[0] == "package" else name)

    def _library(self, name: str, statement: Require, body: _Body) -> None:
        here = Path(statement.at.file).parent
        for folder in [here, *self.library_path]:
            path = (folder / name.strip("\"'")).resolve()
            if path in self.loaded:
                return
            try:
                text = path.read_text("utf-8", "surrogateescape")
            except (OSError, ValueError):
                continue
            self.loaded.add(path)
            self._statements(parse(text, str(folder / name), self.diagnostics), body)
            return
        self.diagnostics.error(
            f"{name}: library not found", statement.at, code="E013",
            suggestion="looked beside this file and in CLICKPATH/conf",
        )

    # Elements

    def _expand(self, text: str, scope: _Scope) -> str:
        return expand_variables(text, scope.variable)

    def _class(self, name: str, scope: _Scope, at: Landmark, *, quiet: bool = False) -> _Class:
        name = self._expand(name, scope)
        found = scope.find_class(name)
        if found is not None:
            return found
        if not self.known(name) and not quiet:
            self._unknown(f"unknown element class '{name}'", name, scope, at)
        return _Class(name)

    def _unknown(self, message: str, name: str, scope: _Scope, at: Landmark) -> None:
        candidates = set(self.class_names())
        walk: _Scope | None = scope
        while walk is not None:
            candidates |= set(walk.classes)
            walk = walk.parent
        lowered = {c.lower(): c for c in sorted(candidates)}
        close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.7)
        suggestion = f"did you mean '{lowered[close[0]]}'?" if close else ""
        self.diagnostics.error(message, at, code="E020", suggestion=suggestion)

    def _declare(
        self, body: _Body, name: str, cls: _Class, arguments: str, at: Landmark, group: Group | None = None
    ) -> int:
        index = len(body.instances)
        body.instances.append(_Instance(name, cls, arguments, at, group, body.scope))
        body.by_name[name] = index
        return index

    def _anonymous_name(self, class_name: str, body: _Body) -> str:
        n = len(body.instances) - body.anonymous_offset + 1
        while f"{class_name}@{n}" in body.by_name:
            n += 1
        return f"{class_name}@{n}"

    def _element(self, node: ElementNode, body: _Body) -> int:
        scope = body.scope
        if isinstance(node.body, Group):
            return self._declare(body, self._anonymous_name("", body), _Class("<group>"), "", node.at, node.body)
        if isinstance(node.body, Compound):
            name = self._anonymous_name("", body)
            cls = _Class(f"<anonymous{len(body.instances)}>", node.body, scope)
            return self._declare(body, name, cls, self._expand(node.configuration or "", scope), node.at)
        name = self._expand(node.name, scope)
        if node.declared is not None:
            return self._declaration(name, node, body)
        if name in body.by_name:
            if node.configuration is not None:
                self.diagnostics.error(f"configuration string ignored on element '{name}'", node.at, code="E021")
            return body.by_name[name]
        if scope.find_class(name) is None and not self.known(name):
            self._unknown(f"undeclared element '{name}'", name, scope, node.at)
        cls = self._class(name, scope, node.at, quiet=True)
        arguments = self._expand(node.configuration or "", scope)
        return self._declare(body, self._anonymous_name(name, body), cls, arguments, node.at)

    def _declaration(self, name: str, node: ElementNode, body: _Body) -> int:
        assert node.declared is not None
        if name in body.by_name:
            earlier = body.instances[body.by_name[name]]
            self.diagnostics.error(f"redeclaration of element '{name}'", node.at, code="E022")
            self.diagnostics.error(f"element '{name}' previously declared here", earlier.at, code="E022")
            return body.by_name[name]
        if body.scope.find_class(name) is not None or self.known(name):
            self.diagnostics.error(f"class '{name}' used as element name", node.at, code="E023")
        if isinstance(node.declared, Compound):
            cls = _Class(f"<anonymous{len(body.instances)}>", node.declared, body.scope)
        else:
            cls = self._class(node.declared, body.scope, node.at)
        arguments = self._expand(node.declared_configuration or "", body.scope)
        return self._declare(body, name, cls, arguments, node.at)

    # Connections

    def _chain(self, chain: Chain, body: _Body) -> None:
        lists: list[list[tuple[int, ElementNode]]] = [
            [(self._element(node, body), node) for node in nodes] for nodes in chain.lists
        ]
        arrows = list(chain.arrows)
        for arrow, name in ((chain.lead, "input"), (chain.trail, "output")):
            if not arrow:
                continue
            if name not in body.by_name:
                self.diagnostics.error(f"syntax error near '{arrow}'", chain.at, code="E001")
                return
            bare = [(body.by_name[name], ElementNode(chain.at, name=name))]
            place = 0 if name == "input" else len(lists)
            lists.insert(place, bare)
            arrows.insert(place, arrow)
        if len(lists) == 1:
            for _, node in lists[0]:
                for ports in (node.inputs, node.outputs):
                    if ports is not None and node.declared is None:
                        self.diagnostics.error("stranded port brackets", ports.at, code="E003")
            return
        for i, arrow in enumerate(arrows):
            self._connect(lists[i], lists[i + 1], arrow, body, chain.at)

    def _connect(
        self,
        left: list[tuple[int, ElementNode]],
        right: list[tuple[int, ElementNode]],
        arrow: str,
        body: _Body,
        at: Landmark,
    ) -> None:
        where = right[0][1].at
        outs = [self._ports(node.outputs, arrow) for _, node in left]
        ins = [self._ports(node.inputs, arrow) for _, node in right]
        n_out, n_in = sum(len(p.ports) for p in outs), sum(len(p.ports) for p in ins)
        expandable = [p for p in outs + ins if p.expandable]
        if len(expandable) > 1 and not (arrow == "=>" and all(
            p is None for p in [n.outputs for _, n in left] + [n.inputs for _, n in right]
        ) and len(left) == len(right)):
            explicit = [p for p in expandable if p.at.line]
            if len(explicit) > 1:
                self.diagnostics.error("at most one expandable port allowed per connection", where, code="E031")
                return
            # A bare element gives way to ports that somebody wrote down.
            for p in expandable:
                if explicit and p is not explicit[0]:
                    p.expandable = False
            expandable = explicit or expandable[:1]
        if len(expandable) == 1:
            grow = expandable[0]
            missing = (n_in - n_out) if any(grow is p for p in outs) else (n_out - n_in)
            if missing > 0:
                last = grow.ports[-1]
                grow.ports += range(last + 1, last + 1 + missing)
                n_out, n_in = sum(len(p.ports) for p in outs), sum(len(p.ports) for p in ins)
        sources = [(e, p) for (e, _), ports in zip(left, outs) for p in ports.ports]
        targets = [(e, p) for (e, _), ports in zip(right, ins) for p in ports.ports]
        if len(sources) != len(targets):
            if len(sources) != 1 and len(targets) != 1:
                if arrow == "->":
                    self.diagnostics.error("syntax error: many-to-many connections require '=>'", where, code="E032")
                else:
                    self.diagnostics.error(
                        f"connection mismatch: {len(sources)} outputs connected to {len(targets)} inputs",
                        where, code="E033",
                    )
                return
            if len(sources) == 1:
                sources *= len(targets)
            else:
                targets *= len(sources)
        elif len(sources) > 1 and arrow == "->":
            self.diagnostics.error("syntax error: many-to-many connections require '=>'", where, code="E032")
            return
        for (e1, p1), (e2, p2) in zip(sources, targets):
            body.connections.append(Connection(e1, p1, e2, p2, where))

    @staticmethod
    def _ports(ports: PortList | None, arrow: str) -> PortList:
        if ports is None:
            return PortList([0], expandable=arrow == "=>")
        return PortList(list(ports.ports), ports.expandable, ports.at)

    # Expansion

    def expand(self, body: _Body, *, top: bool = False) -> None:
        """Put a body's elements and connections into the flat result; compounds become tunnels."""
        prefix = body.scope.prefix
        for number, instance in enumerate(body.instances):
            full = prefix + instance.name
            if instance.cls.name == "<tunnel>":
                self.tunnels.add(full)
            elif instance.group is not None:
                self._expand_group(instance, full, body)
            elif instance.cls.compound is not None:
                self._expand_compound(instance, number, full, body)
            else:
                self._primitive(instance, full)
        compound_names = {
            i for i, e in enumerate(body.instances) if e.cls.compound is not None or e.group is not None
        }
        for c in body.connections:
            source, target = prefix + body.instances[c.source].name, prefix + body.instances[c.target].name
            if c.source in compound_names:
                source += "/output"
            if c.target in compound_names:
                target += "/input"
            self.tunnel_connections.append((_Port(source, c.from_port), _Port(target, c.to_port), c.at))

    def _primitive(self, instance: _Instance, full: str) -> None:
        if len(self.result.elements) >= MAX_ELEMENTS:
            return
        self.element_index[full] = len(self.result.elements)
        self.result.elements.append(
            ElementUse(full, instance.cls.name, instance.arguments, instance.at, len(self.result.elements))
        )

    def _too_deep(self, scope: _Scope, at: Landmark) -> bool:
        if scope.depth >= MAX_DEPTH or len(self.result.elements) >= MAX_ELEMENTS:
            self.diagnostics.error("maximum compound element nesting depth exceeded", at, code="E004")
            return True
        return False

    def _expand_group(self, instance: _Instance, full: str, body: _Body) -> None:
        assert instance.group is not None
        self.tunnels |= {full + "/input", full + "/output"}
        if self._too_deep(body.scope, instance.at):
            return
        inner = _Scope(body.scope, full + "/", body.scope.depth + 1)
        self.expand(self.body(instance.group.body, inner, compound=True))

    def _expand_compound(self, instance: _Instance, number: int, full: str, body: _Body) -> None:
        inputs = max((c.to_port + 1 for c in body.connections if c.target == number), default=0)
        outputs = max((c.from_port + 1 for c in body.connections if c.source == number), default=0)
        self.tunnels |= {full + "/input", full + "/output"}
        if self._too_deep(body.scope, instance.at):
            return
        arguments = split_arguments(instance.arguments)
        chosen = self._overload(instance, arguments, inputs, outputs)
        if chosen is None:
            return
        cls, overload, bound = chosen
        if overload is None:
            # The class extended here is a primitive: it stands for itself.
            self.tunnels -= {full + "/input", full + "/output"}
            instance.cls = cls
            self._primitive(instance, full)
            return
        self.result.compounds[full] = cls.name
        assert cls.scope is not None
        inner = _Scope(cls.scope, full + "/", body.scope.depth + 1, variables=bound)
        inner_body = self.body(overload.body, inner, compound=True)
        self._check_ports(instance, inner_body, inputs, outputs)
        self.expand(inner_body)

    def _check_ports(self, instance: _Instance, body: _Body, inputs: int, outputs: int) -> None:
        have_in, have_out = self._compound_ports(body)
        for kind, used, have in (("input", inputs, have_in), ("output", outputs, have_out)):
            for port in range(have, used):
                self.diagnostics.error(f"'{instance.name}' has no {kind} {port}", instance.at, code="E034")
            for port in range(used, have):
                self.diagnostics.error(
                    f"'{instance.name} :: {instance.cls.name}' {kind} {port} unused", instance.at, code="E035"
                )

    @staticmethod
    def _compound_ports(body: _Body) -> tuple[int, int]:
        inputs = max((c.from_port + 1 for c in body.connections if c.source == 0), default=0)
        outputs = max((c.to_port + 1 for c in body.connections if c.target == 1), default=0)
        return inputs, outputs

    def _overload(
        self, instance: _Instance, arguments: list[str], inputs: int, outputs: int
    ) -> tuple[_Class, Overload | None, dict[str, str]] | None:
        """Click's choice: the first overload whose arguments and ports fit; else the best for messages."""
        fitting: list[tuple[_Class, Overload | None, dict[str, str]]] = []
        problems: list[str] = []
        cls: _Class | None = instance.cls
        while cls is not None:
            if cls.compound is None:
                fitting.append((cls, None, {}))
                break
            for overload in cls.compound.overloads:
                bound = self._bind(overload, arguments)
                if isinstance(bound, str):
                    problems.append(bound)
                    continue
                fitting.append((cls, overload, bound))
            cls = cls.earlier
        if not fitting:
            name = instance.cls.name
            for problem in dict.fromkeys(problems[:1] if len(problems) == 1 else ["arguments fit no overload"]):
                with self.diagnostics.within(f"While configuring '{instance.name} :: {name}':", instance.at):
                    self.diagnostics.error(problem, code="E036")
            return None
        if len(fitting) > 1:
            for candidate in fitting:
                if candidate[1] is None or self._port_uses(candidate[1]) == (inputs, outputs):
                    return candidate
        return fitting[0]

    @staticmethod
    def _port_uses(overload: Overload) -> tuple[int, int]:
        """The inputs and outputs a body uses, read off its statements without elaborating them."""
        inputs = outputs = 0
        for statement in overload.body:
            if not isinstance(statement, Chain):
                continue
            if statement.lead:
                inputs = max(inputs, 1)
            if statement.trail:
                outputs = max(outputs, 1)
            for place, nodes in enumerate(statement.lists):
                for node in nodes:
                    if node.name == "input" and place < len(statement.lists) - bool(not statement.trail):
                        inputs = max([inputs, *(p + 1 for p in (node.outputs.ports if node.outputs else [0]))])
                    elif node.name == "output" and (place > 0 or statement.lead):
                        outputs = max([outputs, *(p + 1 for p in (node.inputs.ports if node.inputs else [0]))])
        return inputs, outputs

    @staticmethod
    def _bind(overload: Overload, arguments: list[str]) -> dict[str, str] | str:
        positional = [v for k, v in overload.formals if not k]
        keywords = {k: v for k, v in overload.formals if k and k != "__REST__"}
        rest = next((v for k, v in overload.formals if k == "__REST__"), None)
        bound: dict[str, str] = {}
        left_over: list[str] = []
        values: list[str] = []
        for argument in arguments:
            keyword = split_keyword(argument)
            if keyword and keyword[0] in keywords:
                bound[keywords[keyword[0]]] = keyword[1]
            else:
                values.append(argument)
        for name in positional:
            if not values:
                return f"too few arguments; expected {len(positional)}"
            bound[name] = values.pop(0)
        left_over = values
        for keyword_name, name in keywords.items():
            if name not in bound:
                return f"{keyword_name}: required argument missing"
        if rest is not None:
            bound[rest] = ", ".join(left_over)
        elif left_over:
            return "too many arguments"
        return bound

    # Tunnels

    def finish(self) -> Configuration:
        """Replace chains of tunnel ports by direct connections."""
        forward: dict[_Port, list[tuple[_Port, Landmark]]] = {}
        for source, target, at in self.tunnel_connections:
            forward.setdefault(source, []).append((target, at))
        for source, _, at in self.tunnel_connections:
            if source.name in self.tunnels or source.name not in self.element_index:
                continue
            for end, landmark in self._ends(source, forward):
                if end.name in self.element_index:
                    self.result.connections.append(
                        Connection(
                            self.element_index[source.name], source.port,
                            self.element_index[end.name], end.port, landmark or at,
                        )
                    )
        self.result.connections = sorted(dict.fromkeys(self.result.connections))
        self.result.requirements = list(dict.fromkeys(self.result.requirements))
        return self.result

    def _ends(
        self, source: _Port, forward: dict[_Port, list[tuple[_Port, Landmark]]]
    ) -> list[tuple[_Port, Landmark]]:
        ends: list[tuple[_Port, Landmark]] = []
        seen: set[_Port] = set()
        work = list(forward.get(source, []))
        while work:
            port, at = work.pop(0)
            if port.name not in self.tunnels:
                ends.append((port, at))
            elif port not in seen:
                seen.add(port)
                work += forward.get(port, [])
        return ends


def elaborate(
    statements: list[Statement],
    diagnostics: Diagnostics,
    *,
    known_classes: Callable[[str], bool],
    class_names: Callable[[], Collection[str]] = tuple,
    variables: Mapping[str, str] | None = None,
    library_path: Collection[Path] = (),
) -> Configuration:
    """Flatten a parsed configuration. ``variables`` are the NAME=VALUE definitions of the command line."""
    worker = _Elaborator(diagnostics, known_classes, class_names, variables or {}, library_path)
    scope = _Scope(None, variables=dict(variables or {}))
    worker.expand(worker.body(statements, scope, compound=False), top=True)
    return worker.finish()
