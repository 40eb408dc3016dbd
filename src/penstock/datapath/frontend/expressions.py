"""Translating the expressions of packet code: constants are folded, the rest becomes typed form."""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable
from typing import Any

from penstock.datapath import frames, ir, packet
from penstock.datapath.frontend.builder import describe
from penstock.datapath.frontend.frames import FrameOperations
from penstock.datapath.frontend.values import (
    BOOL,
    U32,
    U64,
    Bits,
    BoundMethod,
    CursorValue,
    Fact,
    HeaderValue,
    MetaValue,
    NextSlot,
    Owned,
    PacketMethod,
    PacketValue,
    PlaceValue,
    Port,
    Runtime,
    WordsValue,
    is_constant,
    widened,
)
from penstock.datapath.memory import Array, PacketSlot, Stateful, Struct
from penstock.datapath.source import BoundDatapath, DatapathFunction, source_line
from penstock.packet.integers import IntType

__all__ = ["Expressions"]

_OPERATORS: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("add", operator.add), ast.Sub: ("sub", operator.sub), ast.Mult: ("mul", operator.mul),
    ast.FloorDiv: ("div", operator.floordiv), ast.Mod: ("mod", operator.mod), ast.BitAnd: ("and", operator.and_),
    ast.BitOr: ("or", operator.or_), ast.BitXor: ("xor", operator.xor), ast.LShift: ("shl", operator.lshift),
    ast.RShift: ("shr", operator.rshift),
}
_COMPARISONS: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("eq", operator.eq), ast.NotEq: ("ne", operator.ne), ast.Lt: ("lt", operator.lt),
    ast.LtE: ("le", operator.le), ast.Gt: ("gt", operator.gt), ast.GtE: ("ge", operator.ge),
}


def _is_named(callee: Any) -> bool:
    """Whether it is one of those that packet code alone has."""
    return any(getattr(module, callee.__name__, None) is callee for module in (packet, frames))


class Expressions(FrameOperations):
    """``expression`` gives the value of a syntax tree node: a constant or one of the front end's values."""

    def expression(self, node: ast.expr) -> Any:
        self.line = source_line(node.lineno, self.frame.function.file)
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise self.error(
                f"packet code has no {type(node).__name__.lower()} expressions",
                "compute it in configure() and keep it in an attribute", node,
            )
        return method(node)

    def loaded(self, value: Any) -> Any:
        """A readable place as the number in it."""
        if isinstance(value, Bits):
            return self.load_bits(value)
        if isinstance(value, MetaValue):
            return Runtime(self.meta(value.packet, value.name))
        if isinstance(value, PlaceValue):
            kind = value.place.kind
            if isinstance(kind, IntType):
                return Runtime(ir.LoadState(widened(kind), value.place))
        return value

    def value(self, node: ast.expr) -> Any:
        return self.loaded(self.expression(node))

    def pair(self, left_node: ast.expr, right_node: ast.expr) -> tuple[Any, Any]:
        """Two operands in order: if the right one has effects, the left one is evaluated before them."""
        left = self.value(left_node)
        mark, block = len(self.block), self.block
        right = self.value(right_node)
        if (
            isinstance(left, Runtime)
            and len(block) != mark
            and not isinstance(left.expr, (ir.Const, ir.Local))
        ):
            kept = self.local(left.expr.type, "left")
            block.insert(mark, ir.Assign(self.line, kept, left.expr))
            left = Runtime(kept)
        return left, right

    # Leaves

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.frame.env:
            return self.frame.env[node.id]
        if node.id in self.frame.variables:
            raise self.error(
                f"'{node.id}' has no value on some path that leads here", "assign it before the branch", node
            )
        free = self.frame.function.free_names
        if node.id in free:
            return free[node.id]
        if hasattr(builtins, node.id):
            return getattr(builtins, node.id)
        raise self.error(f"'{node.id}' is not defined", node=node)

    def _tuple(self, node: ast.Tuple) -> Any:
        values: list[Any] = []
        for element in node.elts:
            value = self.value(element)
            values.append(self.settled(value) if isinstance(value, Runtime) else value)
        return tuple(values)

    _list = _tuple

    # Operators

    def _binop(self, node: ast.BinOp) -> Any:
        left, right = self.pair(node.left, node.right)
        return self.binary(node.op, left, right, node)

    def binary(self, op: ast.operator, left: Any, right: Any, node: ast.AST) -> Any:
        if type(op) not in _OPERATORS:
            hint = "use // for division" if isinstance(op, ast.Div) else ""
            raise self.error(f"packet code has no operator {type(op).__name__.lower()}", hint, node)
        name, compute = _OPERATORS[type(op)]
        if is_constant(left) and is_constant(right):
            try:
                return compute(left, right)
            except (ArithmeticError, TypeError, ValueError) as error:
                raise self.error(str(error), node=node) from None
        if name in ("shl", "shr"):
            a = self.number(left)
            if isinstance(a.type, IntType) and a.type.bits == 1:
                a = self.convert(a, U32)
            assert isinstance(a.type, IntType)
            count = self.convert(self.number(right, a.type), a.type)
            return Runtime(ir.Binary(a.type, name, a, count))
        if (
            name in ("and", "or", "xor")
            and isinstance(left, Runtime) and isinstance(right, Runtime)
            and left.type.bits == right.type.bits == 1
        ):
            return Runtime(ir.Binary(BOOL, name, left.expr, right.expr))
        a, b, kind = self.unify(left, right)
        if name in ("div", "mod") and not (isinstance(b, ir.Const) and b.value):
            b = self.assign(kind, b, "divisor")
            self.check(ir.Compare(BOOL, "ne", b, ir.Const(kind, 0)), "division by zero")
        return Runtime(ir.Binary(kind, name, a, b))

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            operand = self.value(node.operand)
            condition = self.truth(operand)
            if isinstance(condition, bool):
                return not condition
            true, false = (operand.when_true, operand.when_false) if isinstance(operand, Runtime) else ((), ())
            return Runtime(ir.Not(BOOL, condition), false, true)
        value = self.value(node.operand)
        if is_constant(value):
            compute: Any = {ast.USub: operator.neg, ast.Invert: operator.invert, ast.UAdd: operator.pos}[type(node.op)]
            return compute(value)
        expr = self.number(value)
        assert isinstance(expr.type, IntType)
        if expr.type.bits == 1:
            expr = self.convert(expr, U32)
        kind = expr.type
        assert isinstance(kind, IntType)
        if isinstance(node.op, ast.Invert):
            return Runtime(ir.Binary(kind, "xor", expr, ir.Const(kind, kind.mask)))
        if isinstance(node.op, ast.USub):
            return Runtime(ir.Binary(kind, "sub", ir.Const(kind, 0), expr))
        return value

    def _compare(self, node: ast.Compare) -> Any:
        if len(node.ops) > 1:
            parts = [node.left, *node.comparators]
            pieces: list[ast.expr] = [
                ast.copy_location(ast.Compare(parts[i], [op], [parts[i + 1]]), node)
                for i, op in enumerate(node.ops)
            ]
            return self._boolop(ast.copy_location(ast.BoolOp(ast.And(), pieces), node))
        op, right_node = node.ops[0], node.comparators[0]
        if isinstance(op, (ast.Is, ast.IsNot)):
            return self._identity(node.left, op, right_node)
        left, right = self.pair(node.left, right_node)
        if is_constant(left) and is_constant(right) and isinstance(op, (ast.In, ast.NotIn)):
            return (left in right) == isinstance(op, ast.In)
        if isinstance(op, (ast.In, ast.NotIn)):
            return self._membership(left, op, right, node)
        name, compute = _COMPARISONS[type(op)]
        if is_constant(left) and is_constant(right):
            return compute(left, right)
        a, b, _ = self.unify(left, right)
        return Runtime(ir.Compare(BOOL, name, a, b))

    def _membership(self, left: Any, op: ast.cmpop, right: Any, node: ast.AST) -> Any:
        if not isinstance(right, (tuple, list, set, frozenset, range)) or not is_constant(tuple(right)):
            raise self.error("'in' needs a collection that is known when the configuration is installed", node=node)
        result: ir.Expr = ir.Const(BOOL, 0)
        kept = self.settled(left)
        for item in right:
            a, b, _ = self.unify(kept, item)
            result = ir.Binary(BOOL, "or", result, ir.Compare(BOOL, "eq", a, b))
        return Runtime(result if isinstance(op, ast.In) else ir.Not(BOOL, result))

    def _identity(self, left_node: ast.expr, op: ast.cmpop, right_node: ast.expr) -> Any:
        left, right = self.expression(left_node), self.expression(right_node)
        if is_constant(left) and is_constant(right):
            return (left is right) == isinstance(op, ast.Is)
        if right is not None:
            raise self.error("'is' compares with None only")
        test: ir.Expr
        if isinstance(left, PacketValue):
            there = self.presence(left)
            if isinstance(there, bool):
                return there == isinstance(op, ast.IsNot)
            test = ir.Not(BOOL, there)
        elif isinstance(left, NextSlot) or (isinstance(left, PlaceValue) and left.place.kind is PacketSlot):
            slot = self.slot_of(left)
            assert slot is not None
            test = ir.SlotIsNone(BOOL, slot)
        else:
            return isinstance(op, ast.IsNot)
        return Runtime(test if isinstance(op, ast.Is) else ir.Not(BOOL, test))

    def _boolop(self, node: ast.BoolOp) -> Any:
        is_and = isinstance(node.op, ast.And)
        result: ir.Expr | None = None
        last: Any = is_and
        learnt: tuple[Fact, ...] = ()
        for part in node.values:
            with self.nested() as block:
                # This part is looked at only where those before came out this way.
                self.learn(learnt)
                last = self.value(part)
                condition = self.truth(last)
            if isinstance(last, Runtime):
                learnt += last.when_true if is_and else last.when_false
            if isinstance(condition, bool):
                self.block += block
                if condition is not is_and:
                    # Decided here, with Python's value if nothing but constants came before.
                    return last if result is None else Runtime(
                        ir.Binary(BOOL, "and" if is_and else "or", result, ir.Const(BOOL, int(condition)))
                    )
                continue
            if result is None:
                self.block += block
                result = condition
            elif not block:
                result = ir.Binary(BOOL, "and" if is_and else "or", result, condition)
            else:
                # The part can fault or change something: only if the parts before ask for it.
                kept = self.assign(BOOL, result, "test")
                block.append(ir.Assign(self.line, kept, condition))
                self.emit(ir.If(self.line, kept, block if is_and else [], [] if is_and else block))
                result = kept
        if result is None:
            return last
        return Runtime(result, learnt, ()) if is_and else Runtime(result, (), learnt)

    def condition(self, node: ast.expr) -> ir.Expr | bool:
        """A truth value: a Python bool where it is known, else an expression of type boolean."""
        return self.truth(self.value(node))

    def presence(self, value: PacketValue) -> ir.Expr | bool:
        """Whether a packet is there and not None, where that is not known already."""
        local = self.use(value, maybe=True)
        state = self.state[local.number]
        if state in (Owned.YES, Owned.NONE, Owned.BORROWED):
            return state is not Owned.NONE
        return ir.Not(BOOL, ir.IsNone(BOOL, local))

    def truth(self, value: Any) -> ir.Expr | bool:
        if isinstance(value, PacketValue):
            return self.presence(value)
        if isinstance(value, Runtime):
            return self.convert(value.expr, BOOL)
        if is_constant(value):
            return bool(value)
        raise self.error(f"{describe(value)} is neither true nor false")

    def _ifexp(self, node: ast.IfExp) -> Any:
        condition = self.condition(node.test)
        if isinstance(condition, bool):
            return self.value(node.body if condition else node.orelse)
        kept = self.assign(BOOL, condition, "test")
        with self.nested() as then:
            yes = self.value(node.body)
        with self.nested() as orelse:
            no = self.value(node.orelse)
        a, b, kind = self.unify(yes, no)
        if not then and not orelse:
            return Runtime(ir.Select(kind, kept, a, b))
        result = self.local(kind, "choice")
        then.append(ir.Assign(self.line, result, a))
        orelse.append(ir.Assign(self.line, result, b))
        self.emit(ir.If(self.line, kept, then, orelse))
        return Runtime(result)

    # Attributes and indices

    def _attribute(self, node: ast.Attribute) -> Any:
        return self.attribute(self.expression(node.value), node.attr, node)

    def attribute(self, value: Any, name: str, node: ast.AST) -> Any:
        if isinstance(value, PacketValue):
            return self.packet_attribute(value, name)
        if isinstance(value, HeaderValue):
            return self.header_field(value, name)
        if isinstance(value, CursorValue):
            return self.cursor_attribute(value, name)
        if isinstance(value, PlaceValue):
            return self.struct_field(value, name)
        if isinstance(value, Port):
            return PacketMethod(value, name)
        if not is_constant(value):
            raise self.error(f"{describe(value)} has no attribute '{name}'", node=node)
        found = getattr(type(value), name, None)
        if isinstance(found, DatapathFunction):
            return BoundMethod(value, found)
        if isinstance(value, Stateful) and name in value.STATE:
            place = ir.Place(value, name, value._offsets[name], (), value.STATE[name])
            return PlaceValue(place)
        try:
            result = getattr(value, name)
        except AttributeError:
            raise self.error(f"{type(value).__name__} has no attribute '{name}'", node=node) from None
        if isinstance(result, BoundDatapath):
            return BoundMethod(result.owner, result.function)
        return result

    def struct_field(self, value: PlaceValue, name: str) -> PlaceValue:
        kind = value.place.kind
        if not (isinstance(kind, type) and issubclass(kind, Struct)) or name not in kind.FIELDS:
            raise self.error(f"there is no field '{name}' here")
        field_kind, offset = kind.FIELDS[name]
        place = value.place
        return PlaceValue(
            ir.Place(place.owner, f"{place.name}.{name}", place.offset + offset, place.indices, field_kind)
        )

    def _subscript(self, node: ast.Subscript) -> Any:
        value = self.expression(node.value)
        if isinstance(node.slice, ast.Slice):
            parts = [None if p is None else self.value(p) for p in (node.slice.lower, node.slice.upper, node.slice.step)]
            if (not is_constant(value) and not isinstance(value, tuple)) or not is_constant(tuple(parts)):
                raise self.error("slices are for values known when the configuration is installed", node=node)
            return value[slice(*parts)]
        index = self.value(node.slice)
        if isinstance(value, Array):
            return self.array_element(value, index)
        if isinstance(value, WordsValue):
            return self.word(value, index)
        if isinstance(value, (tuple, list)) and is_constant(index):
            return value[index]
        if is_constant(value) and is_constant(index):
            return value[index]
        if is_constant(value) and isinstance(value, (tuple, list, bytes)):
            raise self.error(
                "a constant sequence is indexed by a number that is known only at run time",
                "put it into an Array in configure()", node,
            )
        raise self.error(f"{describe(value)} cannot be indexed", node=node)

    def array_element(self, array: Array[Any], index: Any) -> PlaceValue:
        name = f"array@{array.offset}"
        if isinstance(index, int):
            if not 0 <= index < array.length:
                raise self.error(f"index {index} is outside of an array of {array.length}")
            return PlaceValue(ir.Place(array, name, array.offset + index * array.stride, (), array.kind))
        expr = self._wide(index)
        position = self.assign(U64, expr, "index")
        self.check(ir.Compare(BOOL, "lt", position, ir.Const(U64, array.length)), "index outside of the array")
        return PlaceValue(ir.Place(array, name, array.offset, ((position, array.stride),), array.kind))

    # Calls

    def _call(self, node: ast.Call) -> Any:
        callee = self.expression(node.func)
        args: list[Any] = []
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                args += list(self.value(arg.value))
                continue
            value = self.expression(arg)
            if not isinstance(value, (PlaceValue, NextSlot)) or not self._is_slot(value):
                value = self.loaded(value)
            args.append(self.settled(value, "arg") if isinstance(value, Runtime) else value)
        keywords = {k.arg: self.value(k.value) for k in node.keywords if k.arg is not None}
        self.line = source_line(node.lineno, self.frame.function.file)
        return self.call(callee, args, keywords, node)

    @staticmethod
    def _is_slot(value: Any) -> bool:
        return isinstance(value, NextSlot) or value.place.kind is PacketSlot or not isinstance(value.place.kind, IntType)

    def call(self, callee: Any, args: list[Any], keywords: dict[str, Any], node: ast.AST) -> Any:
        if isinstance(callee, BoundMethod):
            return self.call_datapath(callee.owner, callee.function, args, keywords)
        if isinstance(callee, DatapathFunction):
            return self.call_datapath(None, callee, args, keywords)
        if isinstance(callee, PacketMethod):
            if keywords:
                raise self.error("arguments are given by position here", node=node)
            return self.call_method(callee, args)
        if isinstance(callee, IntType):
            return self.conversion(callee, args[0])
        special = getattr(self, f"_do_{getattr(callee, '__name__', '')}", None)
        if special and (_is_named(callee) or callee in (min, max, len, bool)):
            result: Any = special(*args)
            if result is not NotImplemented:
                return result
        if callee in (zip, enumerate, reversed, tuple, list):
            return [*callee(*args)]
        if callee in (getattr, setattr) and isinstance(args[1], str):
            found = self.attribute(args[0], args[1], node)
            if callee is getattr:
                return self.loaded(found)
            self.store(found, args[2])
            return None
        port = self._port(callee, args)
        if port is not None:
            return port
        if is_constant(tuple(args)) and is_constant(tuple(keywords.values())) and callable(callee):
            try:
                return callee(*args, **keywords)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                raise self.error(f"{type(error).__name__}: {error}", node=node) from None
        if callee is range:
            raise self.error("range() stands only in a for statement", node=node)
        if callee is isinstance:
            return False
        raise self.error(
            f"{getattr(callee, '__name__', 'this')}() is not packet code", "mark it with @datapath", node
        )

    @staticmethod
    def _port(callee: Any, args: list[Any]) -> Port | None:
        """``self.output(i)`` and ``self.input(i)``; the number may be known at run time only."""
        owner = getattr(callee, "__self__", None)
        if isinstance(owner, Stateful) and callee.__name__ in ("output", "input") and len(args) == 1:
            return Port(owner, callee.__name__, args[0])
        return None

    def conversion(self, kind: IntType, value: Any) -> Any:
        if isinstance(value, (bool, int)):
            kept = widened(kind)
            return Runtime(ir.Const(kept, kind(int(value)) & kept.mask))
        return Runtime(self.convert(self.number(value), kind))

    def call_method(self, method: PacketMethod, args: list[Any]) -> Any:
        receiver = method.receiver
        if isinstance(receiver, PacketValue):
            return self.call_packet(receiver, method.name, args)
        if isinstance(receiver, CursorValue):
            return self.call_cursor(receiver, method.name, args)
        assert isinstance(receiver, Port)
        return self.call_port(receiver, method.name, args)

    def call_port(self, port: Port, name: str, args: list[Any]) -> Any:
        raise NotImplementedError

    def store(self, target: Any, value: Any) -> None:
        raise NotImplementedError

    def call_datapath(
        self, owner: Any, function: DatapathFunction[Any, Any], args: list[Any], keywords: dict[str, Any] | None = None
    ) -> Any:
        raise NotImplementedError

    # What packet.py and frames.py name, and a few builtins

    def _do_take(self, slot: Any) -> PacketValue:
        return self.take_slot(slot)

    def _do_adopt(self, offset: Any) -> PacketValue:
        return self.fresh_packet(
            ir.Allocate(ir.PACKET, self.convert(self.number(offset, U64), U64)), "adopted", Owned.MAYBE
        )

    def _do_offset_of(self, packet: PacketValue) -> Runtime:
        local = self.give_away(packet, maybe=True)
        return Runtime(self.assign(U64, ir.SlotOffset(U64, local), "slot"))

    def _do_meta(self, packet: PacketValue, name: str) -> Runtime:
        return Runtime(self.meta(self.use(packet), name))

    def _do_set_meta(self, packet: PacketValue, name: str, value: Any) -> None:
        local = self.use(packet)
        self.forget(local)
        expr = self.meta(local, name)
        assert isinstance(expr.type, IntType)
        self.emit(ir.SetMeta(self.line, local, name, self.convert(self.number(value, expr.type), expr.type)))

    def _do_zero_meta(self, packet: PacketValue) -> None:
        self.forget(self.use(packet))
        address = ir.PacketAddress(self.use(packet), ir.Const(U32, 0))
        self.emit(ir.Fill(self.line, address, ir.Const(U32, 96), ir.Const(U32, 0)))

    def _do_cycles(self) -> Runtime:
        return Runtime(self.assign(U64, ir.Cycles(U64), "cycles"))

    def _do_upcall(self) -> None:
        self.emit(ir.Upcall(self.line))

    def _do_fence(self, full: Any = False) -> None:
        self.emit(ir.Fence(self.line, bool(full)))

    def _do_dispatch(self, index: Any, targets: Any) -> Runtime:
        return Runtime(
            self.assign(BOOL, ir.Dispatch(BOOL, self.convert(self.number(index, U32), U32), list(targets)), "worked")
        )

    def _do_min(self, *args: Any) -> Any:
        return self._extreme("lt", args)

    def _do_max(self, *args: Any) -> Any:
        return self._extreme("gt", args)

    def _extreme(self, op: str, args: tuple[Any, ...]) -> Any:
        if is_constant(args):
            return NotImplemented
        result = args[0]
        for other in args[1:]:
            a, b, kind = self.unify(result, other)
            result = Runtime(ir.Select(kind, ir.Compare(BOOL, op, a, b), a, b))
        return result

    def _do_len(self, value: Any) -> Any:
        return len(value) if isinstance(value, (tuple, list)) else NotImplemented

    def _do_bool(self, value: Any) -> Any:
        test = self.truth(value)
        return test if isinstance(test, bool) else Runtime(test)
