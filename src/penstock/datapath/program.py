"""All packet code of one configuration: its entry points in the typed form, and where each port leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from penstock.datapath import ir
from penstock.datapath.clock import Clock
from penstock.datapath.frontend import Translator
from penstock.datapath.interpreter import Interpreter
from penstock.datapath.memory import Memory
from penstock.datapath.pool import PacketPool
from penstock.datapath.sched import Driver
from penstock.datapath.source import DatapathFunction
from penstock.packet.integers import IntType

__all__ = ["Program", "return_type"]

_BOOL, _U32, _U64 = IntType(1), IntType(32), IntType(64)


class Node(Protocol):
    """What a program needs to know of an element."""

    index: int
    name: str
    noutputs: int
    input_peers: list[list[tuple[int, int]]]
    output_peers: list[list[tuple[int, int]]]
    output_codes: list[str]
    input_codes: list[str]


class Program:
    """Entry points are made when they are first asked for; ``run`` of the driver pulls in all that flows."""

    RUN = "run"
    #: for isolated routers: ``run``, and what must be known before going to sleep
    TURN = "turn"

    def __init__(self, pool: PacketPool, driver: Driver, clock: Clock, elements: list[Any]):
        self.pool, self.driver, self.clock, self.elements = pool, driver, clock, elements
        self.entries: dict[str, ir.Function] = {}
        self._functions: dict[Any, ir.Function] = {}
        self._pinned: list[Any] = []
        self.interpreter: Interpreter | None = None
        self.upcall: Callable[[], None] = lambda: None

    # What the front end asks

    def push_target(self, element: Node, port: int) -> str | None:
        """The entry point behind a push output; None where it is not connected."""
        if not 0 <= port < element.noutputs or not element.output_peers[port]:
            return None
        target, to_port = element.output_peers[port][0]
        return f"e{target}_push{to_port}"

    def pull_target(self, element: Node, port: int) -> str:
        source, from_port = element.input_peers[port][0]
        return f"e{source}_pull{from_port}"

    def function(
        self, owner: Any, function: DatapathFunction[Any, Any], signature: list[Any], fault_owner: Any
    ) -> ir.Function:
        """A function of its own for one receiver, specialised for constants and argument types."""
        key = (id(owner), id(function), _freeze(signature))
        if key not in self._functions:
            self._pinned.append((owner, function, signature))
            name = f"f{len(self._functions)}_{function.name}"
            counter = owner if owner is not None and "faults" in owner.STATE else fault_owner
            worker = Translator(self, name, function, owner, counter)
            returns = return_type(function)
            worker.result.rare = function.rare
            self._functions[key] = worker.result
            worker.translate(function, owner, signature, returns=returns, borrows=True)
        return self._functions[key]

    def keeps_whole(self, function: DatapathFunction[Any, Any]) -> bool:
        """Whether a function that could become part of its caller stays a call: the verifier gives some a meaning of its own."""
        return False

    def meaning(self, function: DatapathFunction[Any, Any]) -> DatapathFunction[Any, Any]:
        """What is executed for a function: itself, or for the verifier its abstraction."""
        return function

    # Entry points

    def entry(self, name: str) -> ir.Function:
        if name not in self.entries:
            self.entries[name] = self._make(name)
        return self.entries[name]

    def _make(self, name: str) -> ir.Function:
        function: Any
        if name in (self.RUN, self.TURN):
            function = getattr(type(self.driver), name)
            worker = Translator(self, name, function, self.driver, self.driver)
            return worker.translate(function, self.driver, [_U64], returns=_U64)
        number, _, what = name[1:].partition("_")
        element = self.elements[int(number)]
        if what.startswith("push") and what[4:].isdigit():
            function = self.meaning(type(element).push)
            worker = Translator(self, name, function, element, element)
            return worker.translate(function, element, [int(what[4:]), ir.PACKET], returns=None)
        if what.startswith("pull") and what[4:].isdigit():
            function = self.meaning(type(element).pull)
            worker = Translator(self, name, function, element, element)
            return worker.translate(function, element, [int(what[4:])], returns=ir.PACKET)
        function = getattr(type(element), what)
        worker = Translator(self, name, function, element, element)
        return worker.translate(function, element, [], returns=_BOOL)

    def release(self) -> ir.Function:
        release: Any = type(self.pool).release
        return self.function(self.pool, release, [_U64], self.pool)

    def build(self, root: str = RUN) -> list[ir.Function]:
        """Every function that the driver can reach; edges that close a cycle are guarded."""
        order: dict[str, ir.Function] = {}
        work = [self.entry(root), self.release()]
        while work:
            function = work.pop()
            if function.name in order:
                continue
            order[function.name] = function
            for reference in _references(function):
                work.append(self.entry(reference) if isinstance(reference, str) else reference)
        _guard_cycles(order)
        return [order[name] for name in sorted(order)]

    # Running it here

    def interpret(self, owner: Any, function: DatapathFunction[Any, Any], args: tuple[Any, ...]) -> Any:
        """Run packet code from Python, in the interpreter, on the installed configuration's memory."""
        signature: list[Any] = []
        values: list[int] = []
        for arg in args:
            if isinstance(arg, int) and not isinstance(arg, bool):
                signature.append(_U64 if arg >> 32 else _U32)
                values.append(arg)
            else:
                signature.append(arg)
        target = self.function(owner, function, signature, owner if "faults" in owner.STATE else self.driver)
        return self.run_interpreted(target, values)

    def run_interpreted(self, target: ir.Function, values: list[int]) -> int | None:
        memory = self.driver._memory
        assert memory is not None
        return self.interpreter_for(memory).run(target, values)

    def interpreter_for(self, memory: Memory) -> Interpreter:
        if self.interpreter is None or self.interpreter.memory is not memory:
            self.interpreter = Interpreter(
                memory, self.entry, self.release, cycles=self.clock.cycles_now, upcall=lambda: self.upcall()
            )
        return self.interpreter


def return_type(function: DatapathFunction[Any, Any]) -> ir.Type | None:
    """What a function of its own gives, by its annotation."""
    annotation = function.function.__annotations__.get("return")
    if isinstance(annotation, str):
        annotation = {"u32": _U32, "u64": _U64, "bool": _BOOL, "None": None, "Packet | None": ir.PACKET}.get(annotation)
    if annotation is bool:
        return _BOOL
    return annotation if isinstance(annotation, (IntType, ir.PacketType)) else None


def _freeze(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(v) for v in value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return (type(value).__name__, value)


def _references(function: ir.Function) -> list[str | ir.Function]:
    """Entry points by name, other functions themselves."""
    found: list[str | ir.Function] = []
    work: list[Any] = list(function.body)
    while work:
        item = work.pop()
        match item:
            case ir.If():
                work += [*item.then, *item.orelse]
            case ir.Loop() | ir.Scope():
                work += item.body
            case ir.PushTo():
                found.append(item.target)
            case ir.Assign() | ir.Evaluate():
                match item.value:
                    case ir.Pull():
                        found.append(item.value.target)
                    case ir.Dispatch():
                        found += item.value.targets
                    case ir.Call():
                        found.append(item.value.function)
    return found


def _guard_cycles(functions: dict[str, ir.Function]) -> None:
    """Mark the pushes that stay within a strongly connected component (Tarjan 1972), without recursion."""
    graph = {name: [r for r in _references(f) if isinstance(r, str)] for name, f in functions.items()}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    component: dict[str, int] = {}
    stack: list[str] = []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            name, children = work[-1]
            for child in children:
                if child not in index:
                    index[child] = low[child] = len(index)
                    stack.append(child)
                    work.append((child, iter(graph[child])))
                    break
                if child not in component:
                    low[name] = min(low[name], index[child])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    while True:
                        member = stack.pop()
                        component[member] = index[name]
                        if member == name:
                            break
    for name, function in functions.items():
        _guard(function.body, lambda target: component.get(target) == component[name])  # noqa: B023


def _guard(body: list[ir.Stmt], closes_cycle: Callable[[str], bool]) -> None:
    for statement in body:
        match statement:
            case ir.If():
                _guard(statement.then, closes_cycle)
                _guard(statement.orelse, closes_cycle)
            case ir.Loop() | ir.Scope():
                _guard(statement.body, closes_cycle)
            case ir.PushTo():
                statement.guarded = closes_cycle(statement.target)
