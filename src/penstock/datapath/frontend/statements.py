"""Translating the statements of packet code, inlining methods, and building whole functions."""

from __future__ import annotations

import ast
from typing import Any

from penstock.datapath import ir
from penstock.datapath.frontend.builder import MAX_INLINE_DEPTH, Frame, State, _Loop, describe, join
from penstock.datapath.frontend.expressions import Expressions
from penstock.datapath.frontend.values import (
    BOOL,
    I32,
    U32,
    Bits,
    MetaValue,
    NextSlot,
    Owned,
    PacketValue,
    PlaceValue,
    Port,
    Runtime,
    is_constant,
)
from penstock.datapath.memory import Array, PacketSlot
from penstock.datapath.source import DatapathError, DatapathFunction, source_line
from penstock.packet.integers import IntType

__all__ = ["Translator"]

MAX_UNROLL = 4096
_SIMPLE = (bool, int)


class Translator(Expressions):
    """Translates one entry point (or one function that is not inlined) into the typed form.

    ``program`` gives it the pool, the graph (where a port leads) and other functions to call.
    """

    def __init__(self, program: Any, name: str, function: DatapathFunction[Any, Any], owner: Any, fault_owner: Any):
        super().__init__(name, function, owner, fault_owner)
        self.program = program
        self.pool = program.pool

    # Whole functions

    def translate(
        self, function: DatapathFunction[Any, Any], owner: Any, args: list[Any], *, returns: ir.Type | None,
        borrows: bool = False,
    ) -> ir.Function:
        """``args`` are constants, or types for parameters that are known only at run time.

        Packets are given to the function, or with ``borrows`` stay the caller's.
        """
        self.given = Owned.BORROWED if borrows else Owned.YES
        values: list[Any] = []
        self.frames.append(Frame(function, owner, {}, 0))
        for i, arg in enumerate(args):
            values.append(self._parameter(function.tree.args.args[i + (owner is not None)].arg, arg))
        self.frames.pop()
        result = self.inline(function, owner, values, {}, outermost=True)
        if not self.terminated:
            self.frames.append(Frame(function, owner, {}, 0))
            self._finish(result, returns)
        self.result.returns = returns
        return self.result

    def _parameter(self, name: str, arg: Any) -> Any:
        if isinstance(arg, tuple):
            return tuple(self._parameter(name, a) for a in arg)
        if isinstance(arg, ir.PacketType):
            local = self.local(arg, name)
            self.state[local.number] = self.given
            self.result.parameters.append(local)
            return PacketValue(local)
        if isinstance(arg, IntType):
            local = self.local(arg, name)
            self.result.parameters.append(local)
            return Runtime(local)
        return arg

    def _finish(self, result: Any, returns: ir.Type | None) -> None:
        self.result.returns = returns
        if isinstance(returns, ir.PacketType):
            if result is None:
                self.check_all_consumed("here")
                self.emit(ir.Return(self.line, None))
            elif isinstance(result, PacketValue):
                local = result.local
                self.state[local.number] = Owned.NO
                self.check_all_consumed("here")
                self.emit(ir.Return(self.line, local))
            else:
                raise self.error("a packet or None must be returned here")
            return
        self.check_all_consumed("here")
        if returns is None:
            self.emit(ir.Return(self.line, None))
        elif isinstance(result, (Runtime, bool, int)):
            assert isinstance(returns, IntType)
            self.emit(ir.Return(self.line, self.convert(self.number(result, returns), returns)))
        elif result is None and returns == BOOL:
            self.emit(ir.Return(self.line, ir.Const(BOOL, 0)))
        else:
            raise self.error("a number must be returned here")

    # Calls of other packet code

    def call_datapath(
        self, owner: Any, function: DatapathFunction[Any, Any], args: list[Any], keywords: dict[str, Any] | None = None
    ) -> Any:
        function = self.program.meaning(function)
        if function.inline and not self.program.keeps_whole(function):
            return self.inline(function, owner, args, keywords or {})
        if keywords:
            raise self.error("arguments of functions that are not inlined are given by position")
        runtime: list[ir.Expr] = []

        def signature(value: Any) -> Any:
            if isinstance(value, Runtime):
                runtime.append(value.expr)
                return value.type
            if isinstance(value, tuple):
                return tuple(signature(v) for v in value)
            if isinstance(value, PacketValue):
                runtime.append(self.use(value))
                self.forget(value.local)
                return ir.PACKET
            if isinstance(value, int) and not isinstance(value, bool):
                expr = self.number(value, U32)
                runtime.append(expr)
                return expr.type
            return value

        target = self.program.function(owner, function, [signature(a) for a in args], self.fault_owner)
        call = ir.Call(target.returns or BOOL, target, runtime)
        if target.returns is None:
            self.emit(ir.Evaluate(self.line, call))
            return None
        if isinstance(target.returns, ir.PacketType):
            return self.fresh_packet(call, function.name, Owned.MAYBE)
        return Runtime(self.assign(target.returns, call, function.name))

    def inline(
        self, function: DatapathFunction[Any, Any], owner: Any, args: list[Any], keywords: dict[str, Any],
        *, outermost: bool = False,
    ) -> Any:
        if len(self.frames) > MAX_INLINE_DEPTH:
            raise self.error(f"{function.name}() calls itself without end", "recursion needs constants that shrink")
        caller_line = self.line
        env = self._bind(function, owner, args, keywords)
        self.scopes += 1
        frame = Frame(function, owner, env, self.scopes)
        before = set(self.state)
        outer_loops, self.loops = self.loops, []
        self.frames.append(frame)
        with self.nested() as body:
            frame.top_block = body
            self.suite(function.tree.body)
            if not self.terminated:
                self.line = source_line(function.tree.body[-1].end_lineno or self.line, function.file)
                if not (frame.returned == [] and frame.result is None):
                    self._return_value(None)
                frame.exits.append(dict(self.state))
        self.frames.pop()
        self.loops = outer_loops
        used_scope = any(isinstance(s, (ir.Leave,)) and s.number == frame.scope for s in _walk(body))
        if used_scope:
            self.block.append(ir.Scope(caller_line, frame.scope, body, function.name))
        else:
            self.block += body
        if not frame.exits:
            # Every path ended in a fault or in an outer exit.
            self.terminated = True
            return None
        self.terminated = False
        self.state = join(frame.exits)
        for packet in _packets(tuple(args)):
            if self.state.get(packet.local.number) is Owned.CONFLICT and packet.local.number in before:
                self.frames.append(frame)
                self.line = source_line(function.tree.lineno, function.file)
                problem = self.error(
                    f"'{packet.local.name}' is neither passed on, stored nor killed on some path through {function.name}()",
                    f"call {packet.local.name}.kill(), push it to an output, or return it, on every path",
                )
                self.frames.pop()
                raise problem
        result = frame.result
        kept = {v.local.number for v in _packets(result)}
        for number, state in list(self.state.items()):
            if number not in before and number not in kept and not outermost:
                if state not in (Owned.NO, Owned.NONE):
                    name = self.packet_names[number]
                    self.frames.append(frame)
                    problem = self.error(
                        f"'{name}' is neither passed on, stored nor killed on some path through {function.name}()",
                        f"call {name}.kill(), push it to an output, or return it",
                    )
                    self.frames.pop()
                    raise problem
        self.line = caller_line
        return result

    def _bind(
        self, function: DatapathFunction[Any, Any], owner: Any, args: list[Any], keywords: dict[str, Any]
    ) -> dict[str, Any]:
        parameters = [a.arg for a in function.tree.args.args]
        values = ([owner] if owner is not None else []) + list(args)
        if len(values) > len(parameters):
            raise self.error(f"{function.name}() takes {len(parameters)} arguments")
        env = dict(zip(parameters, values))
        env.update(keywords)
        defaults = function.function.__defaults__ or ()
        for name, default in zip(parameters[len(parameters) - len(defaults) :], defaults):
            env.setdefault(name, default)
        missing = [p for p in parameters if p not in env]
        if missing:
            raise self.error(f"{function.name}() needs argument {missing[0]}")
        return env

    # Statements

    def suite(self, body: list[ast.stmt]) -> None:
        for node in body:
            if self.terminated:
                return
            self.line = source_line(node.lineno, self.frame.function.file)
            method = getattr(self, f"_do{type(node).__name__}", None)
            if method is None:
                raise self.error(
                    f"packet code has no {type(node).__name__.lower()} statement",
                    "the datapath subset has assignments, if, for over range() or constants, and return"
                    if not isinstance(node, ast.While)
                    else "write a bounded loop: for _ in range(limit): if not ...: break",
                    node,
                )
            method(node)

    def _doPass(self, node: ast.Pass) -> None:
        pass

    def _doAssert(self, node: ast.Assert) -> None:
        condition = self.condition(node.test)
        if isinstance(condition, bool):
            condition = ir.Const(BOOL, int(condition))
        self.check(condition, "assertion")

    def _doExpr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return
        value = self.expression(node.value)
        if isinstance(value, PacketValue) and self.state.get(value.local.number) in (Owned.YES, Owned.MAYBE) \
                and not isinstance(node.value, ast.Name):
            raise self.error("the packet that this returns is lost", "give it a name and pass it on")

    def _doReturn(self, node: ast.Return) -> None:
        value = None
        if node.value is not None:
            value = self.value(node.value)
        if self.terminated:
            return
        for packet in _packets(value):
            self.use(packet, maybe=True)
        frame = self.frame
        if not frame.returned and self.block is frame.top_block and not self.loops:
            if isinstance(value, Runtime):
                value = self.settled(value, "result")
            frame.result = value
            frame.result_is_raw = True
            frame.returned.append(value)
        else:
            self._return_value(value)
            self.emit(ir.Leave(self.line, frame.scope))
        frame.exits.append(dict(self.state))
        self.terminated = True

    def _return_value(self, value: Any) -> None:
        """Store the value of one of several returns where they all store theirs."""
        frame = self.frame
        if not frame.returned:
            frame.result = self._result_shape(value)
        frame.returned.append(value)
        frame.result = self._store_result(frame.result, value)

    def _result_shape(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._result_shape(v) for v in value)
        if isinstance(value, (Runtime, *_SIMPLE)):
            expr = self.number(value)
            return Runtime(self.local(expr.type, "result"))
        if isinstance(value, PacketValue):
            return PacketValue(self.local(ir.PACKET, "result"))
        if value is None:
            return None
        raise self.error(f"several returns cannot give {describe(value)}", "return numbers, packets or tuples of them")

    def _store_result(self, target: Any, value: Any) -> Any:
        if isinstance(target, tuple):
            if not isinstance(value, tuple) or len(value) != len(target):
                raise self.error("every return must give the same number of values")
            return tuple(self._store_result(t, v) for t, v in zip(target, value))
        if isinstance(target, Runtime):
            assert isinstance(target.expr, ir.Local)
            if value is None:
                raise self.error("some paths return a value and this one does not")
            self.emit(ir.Assign(self.line, target.expr, self.fit(self.number(value, target.type), target.type, "the result")))
            return target
        if isinstance(target, PacketValue):
            if value is None:
                self.emit(ir.Assign(self.line, target.local, ir.Const(ir.PACKET, 0)))
                self.state[target.local.number] = Owned.NONE
            else:
                self._transfer(target.local, value)
            return target
        if isinstance(value, PacketValue):
            # The first return gave None, before there was a local to put it into.
            made = PacketValue(self.local(ir.PACKET, "result"))
            assert self.frame.top_block is not None
            self.frame.top_block.insert(0, ir.Assign(self.line, made.local, ir.Const(ir.PACKET, 0)))
            self._transfer(made.local, value)
            return made
        if value is not None:
            raise self.error("some paths return a value, but an earlier one does not")
        return None

    def _transfer(self, target: ir.Local, value: Any) -> None:
        if not isinstance(value, PacketValue):
            raise self.error("a packet or None is needed here")
        state = self.state[self.use(value, maybe=True).number]
        self.emit(ir.Assign(self.line, target, value.local))
        self.state[value.local.number] = Owned.NO
        self.state[target.number] = state

    # Assignment

    def _doAssign(self, node: ast.Assign) -> None:
        if len(node.targets) != 1:
            raise self.error("one target at a time", node=node)
        value = self.expression(node.value)
        self.assign_to(node.targets[0], value)

    def _doAnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is None or not isinstance(node.target, ast.Name):
            raise self.error("a declaration needs a name and a value", node=node)
        kind = self.expression(node.annotation) if not isinstance(node.annotation, ast.BinOp) else None
        value = self.value(node.value)
        if isinstance(kind, IntType):
            self._variable(node.target.id, kind, value)
        else:
            self.assign_to(node.target, value)

    def _doAugAssign(self, node: ast.AugAssign) -> None:
        target = self.expression(node.target)
        right = self.value(node.value)
        current = self.loaded(target)
        result = self.binary(node.op, current, right, node)
        if isinstance(node.target, ast.Name):
            self.assign_to(node.target, result)
        else:
            self.store(target, result)

    def assign_to(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._assign_name(target.id, value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            value = self.loaded(value)
            if not isinstance(value, (tuple, list)) or len(value) != len(target.elts):
                raise self.error(f"{len(target.elts)} values are needed here", node=target)
            for item, part in zip(target.elts, value):
                self.assign_to(item, part)
        else:
            self.store(self.expression(target), value)

    def _assign_name(self, name: str, value: Any) -> None:
        frame = self.frame
        if isinstance(value, (Bits, MetaValue)) or (
            isinstance(value, PlaceValue) and isinstance(value.place.kind, IntType)
        ):
            value = self.loaded(value)
        if isinstance(value, PacketValue) and self.is_frame(value):
            frame.env[name] = value
            return
        if isinstance(value, PacketValue):
            local = self.local(ir.PACKET, name)
            self._transfer(local, value)
            frame.env[name] = PacketValue(local)
            return
        if name in frame.function.assigned_often and isinstance(value, (Runtime, *_SIMPLE)):
            expr = self.number(value)
            assert isinstance(expr.type, IntType)
            self._variable(name, expr.type, value)
            return
        if isinstance(value, Runtime):
            value = Runtime(self.assign(value.expr.type, value.expr, name))
        frame.env[name] = value

    def _variable(self, name: str, kind: IntType, value: Any) -> None:
        frame = self.frame
        if name not in frame.variables:
            wide = kind if kind.bits in (1, 32, 64, 128) else (I32 if kind.signed else U32)
            frame.variables[name] = self.local(wide, name)
        variable = frame.variables[name]
        assert isinstance(variable.type, IntType)
        expr = self.number(value, variable.type)
        self.emit(ir.Assign(self.line, variable, self.fit(expr, variable.type, f"'{name}'")))
        frame.env[name] = Runtime(variable)

    def store(self, target: Any, value: Any) -> None:
        slot = self.slot_of(target) if self._holds_packet(target) else None
        if slot is not None:
            if value is None:
                raise self.error("a slot is emptied with take()")
            if not isinstance(value, PacketValue):
                raise self.error("a slot holds a packet")
            local = self.give_away(value, maybe=True)
            self.emit(ir.PutSlot(self.line, slot, local))
            return
        value = self.loaded(value)
        if isinstance(target, Bits):
            self.store_bits(target, value)
        elif isinstance(target, MetaValue):
            self._do_set_meta(PacketValue(target.packet), target.name, value)
        elif isinstance(target, PlaceValue) and isinstance(target.place.kind, IntType):
            kind = target.place.kind
            self.emit(ir.StoreState(self.line, target.place, self.convert(self.number(value, kind), kind)))
        else:
            raise self.error(
                "this cannot be assigned when packets flow",
                "declare it as state in the class body, as in 'count: u64'",
            )

    @staticmethod
    def _holds_packet(target: Any) -> bool:
        return isinstance(target, NextSlot) or (isinstance(target, PlaceValue) and target.place.kind is PacketSlot)

    # Control flow

    def _narrowing(self, test: ast.expr) -> tuple[PacketValue, bool] | None:
        """For ``p is None``, ``not p`` and the like: the packet, and whether 'true' means it is there."""
        positive = True
        while isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            positive, test = not positive, test.operand
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], (ast.Is, ast.IsNot)):
            if not (isinstance(test.comparators[0], ast.Constant) and test.comparators[0].value is None):
                return None
            positive = positive == isinstance(test.ops[0], ast.IsNot)
            test = test.left
        if isinstance(test, ast.Name):
            value = self.frame.env.get(test.id)
            if isinstance(value, PacketValue):
                return value, positive
        return None

    def _doIf(self, node: ast.If) -> None:
        narrowing = self._narrowing(node.test)
        value = self.value(node.test)
        condition = self.truth(value)
        if isinstance(condition, bool):
            self.suite(node.body if condition else node.orelse)
            return
        learnt = (value.when_true, value.when_false) if isinstance(value, Runtime) else ((), ())
        if not isinstance(condition, (ir.Local, ir.Const)):
            condition = self.assign(BOOL, condition, "test")
        line = source_line(node.lineno, self.frame.function.file)
        before_state, before_env = dict(self.state), dict(self.frame.env)
        outcomes: list[tuple[State, dict[str, Any]]] = []
        blocks: list[list[ir.Stmt]] = []
        for taken, body in ((True, node.body), (False, node.orelse)):
            self.state, self.frame.env = dict(before_state), dict(before_env)
            if narrowing is not None:
                packet, positive = narrowing
                if self.state.get(packet.local.number) is Owned.MAYBE:
                    self.state[packet.local.number] = Owned.YES if taken == positive else Owned.NONE
            with self.nested() as block:
                self.learn(learnt[0 if taken else 1])
                self.suite(body)
            blocks.append(block)
            if not self.terminated:
                outcomes.append((self.state, self.frame.env))
                only_way = learnt[0 if taken else 1]
            self.terminated = False
        self.emit(ir.If(line, condition, blocks[0], blocks[1]))
        if not outcomes:
            self.state, self.frame.env = before_state, before_env
            self.terminated = True
            return
        if len(outcomes) == 1:
            # The other way ended: what the test says holds from here on.
            self.learn(only_way)
        self.state = join([s for s, _ in outcomes])
        self.frame.env = self._join_env([e for _, e in outcomes])

    @staticmethod
    def _join_env(envs: list[dict[str, Any]]) -> dict[str, Any]:
        first = dict(envs[0])
        for other in envs[1:]:
            for name in list(first):
                if name not in other or (first[name] is not other[name] and not _same(first[name], other[name])):
                    del first[name]
        return first

    def _doFor(self, node: ast.For) -> None:
        if node.orelse:
            raise self.error("packet code has no for ... else", node=node)
        if isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name) and node.iter.func.id == "range":
            bounds = [self.value(a) for a in node.iter.args]
            if not (is_constant(tuple(bounds)) and self._wants_unrolling(node, bounds)):
                self._counted_loop(node, bounds)
                return
            items: Any = range(*bounds)
        else:
            items = self.expression(node.iter)
            if isinstance(items, Array) or not (is_constant(items) or isinstance(items, (tuple, list))):
                raise self.error(
                    "a loop runs over range() or over values known when the configuration is installed", node=node
                )
            items = list(items)
        if len(items) > MAX_UNROLL:
            raise self.error(f"this loop would become {len(items)} copies of its body", "use range() and an Array", node)
        self._unrolled_loop(node, items)

    @staticmethod
    def _wants_unrolling(node: ast.For, bounds: list[Any]) -> bool:
        """A constant range is unrolled where the body needs the index as a constant: short ones always."""
        return len(range(*bounds)) <= 8 and not any(isinstance(n, ast.For) for n in ast.walk(node) if n is not node)

    def _counted_loop(self, node: ast.For, bounds: list[Any]) -> None:
        if len(bounds) == 3 and bounds[2] != 1:
            raise self.error("a loop steps by 1", "compute the other index from the loop's", node)
        start, stop = (0, bounds[0]) if len(bounds) == 1 else bounds[:2]
        a, b, kind = self.unify(start, stop)
        if kind.signed:
            raise self.error("a loop counts in unsigned numbers", "write u32(...)", node)
        if not isinstance(node.target, ast.Name):
            raise self.error("a loop over range() has one variable", node=node)
        variable = self.local(kind, node.target.id)
        self.frame.env[node.target.id] = Runtime(variable)
        loop = _Loop(entry=dict(self.state))
        self.loops.append(loop)
        before_env = dict(self.frame.env)
        first, last = self.settled(Runtime(a)).expr, self.settled(Runtime(b)).expr
        # A round may come after one that changed packets.
        self.forget()
        with self.nested() as body:
            self.suite(node.body)
            if not self.terminated:
                loop.states.append(dict(self.state))
                self._check_loop_state(loop, node)
        self.forget()
        self.loops.pop()
        self.terminated = False
        self.emit(ir.Loop(node.lineno, variable, first, last, body))
        self.state = join([loop.entry, *loop.states])
        self.frame.env = self._join_env([before_env, *loop.env_at_break, *([self.frame.env])])

    def _check_loop_state(self, loop: _Loop, node: ast.AST) -> None:
        """At the end of a round every packet must be as it was at the start."""
        for number, state in self.state.items():
            before = loop.entry.get(number, Owned.NONE)
            if before is not state and {before, state} != {Owned.NO, Owned.NONE}:
                name = self.packet_names[number]
                if number not in loop.entry:
                    what = f"'{name}' is neither passed on, stored nor killed in this round of the loop"
                else:
                    what = f"'{name}' is given away in a loop, but the next round needs it"
                raise self.error(what, "leave the loop with break or return after giving a packet away", node)

    def _unrolled_loop(self, node: ast.For, items: Any) -> None:
        self.scopes += 1
        loop = _Loop(unrolled=self.scopes)
        self.loops.append(loop)
        with self.nested() as whole:
            for item in items:
                if self.terminated:
                    break
                self.scopes += 1
                body_scope = self.scopes
                round_ = _Loop(unrolled=body_scope)
                self.rounds.append(round_)
                with self.nested() as body:
                    self.assign_to(node.target, item)
                    self.suite(node.body)
                    if not self.terminated:
                        round_.states.append(dict(self.state))
                        round_.env_at_break.append(dict(self.frame.env))
                self.rounds.pop()
                if any(isinstance(s, ir.Leave) and s.number == body_scope for s in _walk(body)):
                    self.emit_always(ir.Scope(node.lineno, body_scope, body))
                else:
                    self.block += body
                self.terminated = not round_.states
                if round_.states:
                    self.state = join(round_.states)
                    self.frame.env = self._join_env(round_.env_at_break)
            if not self.terminated:
                loop.states.append(dict(self.state))
                loop.env_at_break.append(dict(self.frame.env))
        self.loops.pop()
        assert loop.unrolled is not None
        if any(isinstance(s, ir.Leave) and s.number == loop.unrolled for s in _walk(whole)):
            self.block.append(ir.Scope(node.lineno, loop.unrolled, whole))
        else:
            self.block += whole
        self.terminated = not loop.states
        if loop.states:
            self.state = join(loop.states)
            self.frame.env = self._join_env(loop.env_at_break)

    @property
    def rounds(self) -> list[_Loop]:
        """The rounds of unrolled loops that are being translated, innermost last."""
        if not hasattr(self, "_rounds"):
            self._rounds: list[_Loop] = []
        return self._rounds

    def emit_always(self, statement: ir.Stmt) -> None:
        self.block.append(statement)

    def _doBreak(self, node: ast.Break) -> None:
        if not self.loops:
            raise self.error("break outside of a loop", node=node)
        loop = self.loops[-1]
        loop.states.append(dict(self.state))
        loop.env_at_break.append(dict(self.frame.env))
        self.emit(ir.Break(self.line) if loop.unrolled is None else ir.Leave(self.line, loop.unrolled))
        self.terminated = True

    def _doContinue(self, node: ast.Continue) -> None:
        if not self.loops:
            raise self.error("continue outside of a loop", node=node)
        loop = self.loops[-1]
        if loop.unrolled is None:
            self._check_loop_state(loop, node)
            loop.states.append(dict(self.state))
            self.emit(ir.Continue(self.line))
        else:
            round_ = self.rounds[-1]
            round_.states.append(dict(self.state))
            round_.env_at_break.append(dict(self.frame.env))
            assert round_.unrolled is not None
            self.emit(ir.Leave(self.line, round_.unrolled))
        self.terminated = True

    # Ports

    def call_port(self, port: Port, name: str, args: list[Any]) -> Any:
        element = port.owner
        if port.direction == "output" and name == "push":
            packet = args[0]
            if not isinstance(packet, PacketValue):
                raise self.error("a packet is pushed")
            self._push(element, port.number, packet)
            return None
        if port.direction == "input" and name == "pull":
            number = self._port_number(port.number)
            target = self.program.pull_target(element, number)
            return self.fresh_packet(ir.Pull(ir.PACKET, number, target), "pulled", Owned.MAYBE)
        raise self.error(f"a port has no method '{name}' here", "output(i).push(p), input(i).pull()")

    def _port_number(self, number: Any) -> int:
        if not isinstance(number, int):
            raise self.error("this port number must be known when the configuration is installed")
        return number

    def _push(self, element: Any, number: Any, packet: PacketValue) -> None:
        if isinstance(number, int):
            local = self.give_away(packet)
            target = self.program.push_target(element, number)
            if target is None:
                self.emit(ir.Kill(self.line, local))
            else:
                self.emit(ir.PushTo(self.line, number, local, target))
            return
        index = self.settled(number)
        expr = self.convert(index.expr, U32)
        local = self.give_away(packet)
        statement: list[ir.Stmt] = [ir.Kill(self.line, local)]
        for port in reversed(range(element.noutputs)):
            target = self.program.push_target(element, port)
            push: ir.Stmt = ir.PushTo(self.line, port, local, target) if target else ir.Kill(self.line, local)
            test = ir.Compare(BOOL, "eq", expr, ir.Const(U32, port))
            statement = [ir.If(self.line, test, [push], statement)]
        for s in statement:
            self.emit(s)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, PacketValue) and isinstance(b, PacketValue):
        return a.local is b.local
    if isinstance(a, Runtime) and isinstance(b, Runtime):
        return a.expr is b.expr
    return bool(is_constant(a) and is_constant(b) and type(a) is type(b) and a == b)


def _packets(value: Any) -> list[PacketValue]:
    if isinstance(value, PacketValue):
        return [value]
    if isinstance(value, tuple):
        return [p for v in value for p in _packets(v)]
    return []


def _walk(body: list[ir.Stmt]) -> list[ir.Stmt]:
    found: list[ir.Stmt] = []
    work = list(body)
    while work:
        statement = work.pop()
        found.append(statement)
        if isinstance(statement, ir.If):
            work += statement.then
            work += statement.orelse
        elif isinstance(statement, (ir.Loop, ir.Scope)):
            work += statement.body
    return found


__all__ += ["DatapathError"]
