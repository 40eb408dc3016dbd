"""The typed form as LLVM assembly text (llvmlite's own builder takes several times as long).

Instance memory is the first argument of every function; a packet is a pointer to its slot in it. Type-based
alias information keeps packet bytes, packet metadata and each field of state apart, so that what one
element checked or loaded is known to the next one after inlining.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from penstock.datapath import ir
from penstock.datapath.interpreter import MAX_PUSH_DEPTH
from penstock.datapath.llvm.fanout import Fanouts
from penstock.datapath.llvm.lines import Lines
from penstock.datapath.llvm.runtime import RUNTIME
from penstock.datapath.llvm.values import values_of
from penstock.datapath.memory import size_and_alignment
from penstock.packet.integers import IntType, u32
from penstock.packet.layout import BUFFER_OFFSET, META

__all__ = ["LARGE_TEXT_BYTES", "emit_module"]

#: modules with more text are made another way: the time that it takes grows faster than they do
LARGE_TEXT_BYTES = 600_000
_INLINE_MOVE_BYTES = 64
_INLINE_SUM_BYTES = 64
_OPERATIONS = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}
_CALL = re.compile(r" call [^\n(]*@(\w+)\(")
_DEFINITION = re.compile(r"define (?:internal )?\w+ @(\w+)\(")
_FEW_CALLS, _SMALL_LINES = 3, 120
_ROOT, _DATA, _META, _STATE = "!0", "!2", "!4", "!6"


def _type(kind: ir.Type | None) -> str:
    if kind is None:
        return "void"
    return f"i{kind.bits}" if isinstance(kind, IntType) else "ptr"


class _Module:
    """What the functions of one module share: metadata nodes and intrinsics."""

    def __init__(self, depth_offset: int, upcall_offset: int, release: str, lines: Lines | None = None):
        self.lines = lines
        self.depth_offset = depth_offset
        self.upcall_offset = upcall_offset
        self.release = release
        self.fanouts = Fanouts()
        self.intrinsics: set[str] = set()
        self.tags: dict[tuple[int, str], str] = {}
        self.metadata = [
            '!0 = !{!"penstock"}',
            '!1 = !{!"packet bytes", !0, i64 0}', "!2 = !{!1, !1, i64 0}",
            '!3 = !{!"packet metadata", !0, i64 0}', "!4 = !{!3, !3, i64 0}",
            '!5 = !{!"state", !0, i64 0}', "!6 = !{!5, !5, i64 0}",
            '!7 = !{!"branch_weights", i32 1048575, i32 1}',
            '!8 = !{i32 0, i32 16777216}',
        ]

    def state_tag(self, place: ir.Place) -> str:
        """One alias class for each field of state: two different fields never overlap."""
        if not place.name:
            return _STATE
        key = (id(place.owner), place.name)
        if key not in self.tags:
            n = len(self.metadata)
            self.metadata.append(f'!{n} = !{{!"s{n}", !5, i64 0}}')
            self.metadata.append(f"!{n + 1} = !{{!{n}, !{n}, i64 0}}")
            self.tags[key] = f"!{n + 1}"
        return self.tags[key]


class _Function:
    def __init__(self, module: _Module, function: ir.Function, external: bool):
        self.module = module
        self.function = function
        self.lines: list[str] = []
        self.count = 0
        self.loops: list[tuple[str, str]] = []
        self.scopes: dict[int, str] = {}
        self.external = external
        self.dead = False
        self.allocas: list[str] = []
        #: locals that are names here, not stack slots
        self.names: dict[int, str] = {}
        self.values = values_of(function)
        #: debug information for the statement that is being written
        self.behind = ""

    def text(self) -> str:
        f = self.function
        parameters = ", ".join(["ptr noalias nonnull align 64 %m", *(f"{_type(p.type)} %p{p.number}" for p in f.parameters)])
        linkage = "" if self.external else "internal "
        head = f"define {linkage}{_type(f.returns)} @{f.name}({parameters}) #{3 if f.rare else 0} {{\nentry:"
        allocas = self.allocas
        given = {p.number for p in f.parameters}
        for local in f.locals:
            if local.number in self.values:
                if local.number in given:
                    self.names[local.number] = f"%p{local.number}"
                continue
            kind = _type(local.type)
            allocas.append(f"  %l{local.number} = alloca {kind}")
            value = f"%p{local.number}" if local.number in given else ("null" if kind == "ptr" else "0")
            allocas.append(f"  store {kind} {value}, ptr %l{local.number}")
        if self.module.lines is not None:
            self.behind = self.module.lines.attachment(f, f.body[0].line if f.body else 0)
        self.block(f.body)
        if not self.dead:
            self.line(self.default_return())
        return "\n".join([head, *allocas, *self.lines, "}\n"])

    # Text

    def line(self, text: str) -> None:
        if not self.dead:
            self.lines.append(f"  {text}{self.behind}")

    def value(self, text: str) -> str:
        self.count += 1
        self.line(f"%v{self.count} = {text}")
        return f"%v{self.count}"

    def label(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def start(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.dead = False

    def jump(self, label: str) -> None:
        self.line(f"br label %{label}")
        self.dead = True

    def intrinsic(self, declaration: str) -> None:
        self.module.intrinsics.add(declaration)

    def default_return(self) -> str:
        kind = _type(self.function.returns)
        if kind == "void":
            return "ret void"
        return f"ret {kind} {'null' if kind == 'ptr' else '0'}"

    # Addresses

    def packet(self, local: ir.Local) -> str:
        if local.number in self.values:
            return self.names[local.number]
        return self.value(f"load ptr, ptr %l{local.number}")

    def packet_address(self, local: ir.Local, offset: ir.Expr) -> str:
        base = self.packet(local)
        if isinstance(offset, ir.Const):
            return self.value(f"getelementptr i8, ptr {base}, i64 {offset.value}")
        wide = self.value(f"zext i32 {self.expr(offset)} to i64")
        return self.value(f"getelementptr i8, ptr {base}, i64 {wide}")

    def place(self, place: ir.Place) -> str:
        address = self.value(f"getelementptr i8, ptr %m, i64 {place.offset}")
        for index, stride in place.indices:
            scaled = self.value(f"mul i64 {self.expr(index)}, {stride}")
            address = self.value(f"getelementptr i8, ptr {address}, i64 {scaled}")
        return address

    def slot(self, slot: ir.Place | ir.PacketAddress) -> tuple[str, str]:
        if isinstance(slot, ir.Place):
            return self.place(slot), self.module.state_tag(slot)
        return self.packet_address(slot.packet, slot.offset), _META

    def address(self, address: ir.Address) -> str:
        if isinstance(address, ir.PacketAddress):
            return self.packet_address(address.packet, address.offset)
        base = self.place(address.place)
        return self.value(f"getelementptr i8, ptr {base}, i64 {self.expr(address.offset)}")

    def resize(self, value: str, source: int, target: int, signed: bool = False) -> str:
        if source == target:
            return value
        if target == 1:
            return self.value(f"icmp ne i{source} {value}, 0")
        word = "trunc" if target < source else ("sext" if signed else "zext")
        return self.value(f"{word} i{source} {value} to i{target}")

    def swap(self, value: str, width: int) -> str:
        if width == 1:
            return value
        bits = width * 8
        self.intrinsic(f"declare i{bits} @llvm.bswap.i{bits}(i{bits})")
        return self.value(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {value})")

    @staticmethod
    def packet_tag(offset: ir.Expr) -> str:
        return _META if isinstance(offset, ir.Const) and offset.value < BUFFER_OFFSET else _DATA

    # Expressions

    def expr(self, e: ir.Expr) -> str:
        result: str = getattr(self, f"_x_{type(e).__name__.lower()}")(e)
        return result

    def _x_const(self, e: ir.Const) -> str:
        return str(e.value) if isinstance(e.type, IntType) else "null"

    def _x_local(self, e: ir.Local) -> str:
        if e.number in self.values:
            return self.names[e.number]
        return self.value(f"load {_type(e.type)}, ptr %l{e.number}")

    def _x_binary(self, e: ir.Binary) -> str:
        kind = e.type
        assert isinstance(kind, IntType)
        a, b, bits = self.expr(e.left), self.expr(e.right), kind.bits
        if e.op in ("shl", "shr"):
            if not isinstance(e.right, ir.Const):
                b = self.value(f"and i{bits} {b}, {bits - 1}")
            else:
                b = str(e.right.value % bits)
            word = "shl" if e.op == "shl" else ("ashr" if kind.signed else "lshr")
        elif e.op in ("div", "mod"):
            word = ("s" if kind.signed else "u") + ("div" if e.op == "div" else "rem")
            if kind.signed and not isinstance(e.right, ir.Const):
                return self._signed_division(e.op, a, b, bits)
        else:
            word = _OPERATIONS[e.op]
        return self.value(f"{word} i{bits} {a}, {b}")

    def _signed_division(self, op: str, a: str, b: str, bits: int) -> str:
        """Division by -1 as negation: the least number divided by -1 would trap."""
        minus = self.value(f"icmp eq i{bits} {b}, -1")
        safe = self.value(f"select i1 {minus}, i{bits} 1, i{bits} {b}")
        plain = self.value(f"{'sdiv' if op == 'div' else 'srem'} i{bits} {a}, {safe}")
        other = self.value(f"sub i{bits} 0, {a}") if op == "div" else "0"
        return self.value(f"select i1 {minus}, i{bits} {other}, i{bits} {plain}")

    def _x_compare(self, e: ir.Compare) -> str:
        kind = e.left.type
        assert isinstance(kind, IntType)
        sign = "" if e.op in ("eq", "ne") else ("s" if kind.signed else "u")
        a, b = self.expr(e.left), self.expr(e.right)
        return self.value(f"icmp {sign}{e.op} i{kind.bits} {a}, {b}")

    def _x_not(self, e: ir.Not) -> str:
        return self.value(f"xor i1 {self.expr(e.operand)}, true")

    def _x_select(self, e: ir.Select) -> str:
        kind = _type(e.type)
        c, a, b = self.expr(e.condition), self.expr(e.yes), self.expr(e.no)
        return self.value(f"select i1 {c}, {kind} {a}, {kind} {b}")

    def _x_cast(self, e: ir.Cast) -> str:
        source, target = e.operand.type, e.type
        assert isinstance(source, IntType) and isinstance(target, IntType)
        return self.resize(self.expr(e.operand), source.bits, target.bits, source.signed)

    def _x_meta(self, e: ir.Meta) -> str:
        field = META[e.name]
        address = self.value(f"getelementptr i8, ptr {self.packet(e.packet)}, i64 {field.offset}")
        # Offsets are less than a slot's size: sums with constants do not wrap, so one check implies another.
        bounds = ", !range !8" if e.name in ("data", "length", "mac", "network", "transport") else ""
        return self.value(f"load {_type(e.type)}, ptr {address}, align 4, !tbaa {_META}{bounds}")

    def _x_loadpacket(self, e: ir.LoadPacket) -> str:
        assert isinstance(e.type, IntType)
        address, bits = self.packet_address(e.packet, e.offset), e.width * 8
        value = self.value(f"load i{bits}, ptr {address}, align 1, !tbaa {self.packet_tag(e.offset)}")
        if e.big:
            value = self.swap(value, e.width)
        if e.bits:
            if e.low:
                value = self.value(f"lshr i{bits} {value}, {e.low}")
            value = self.value(f"and i{bits} {value}, {(1 << e.bits) - 1}")
        return self.resize(value, bits, e.type.bits)

    def _x_loadstate(self, e: ir.LoadState) -> str:
        assert isinstance(e.type, IntType)
        size, alignment = size_and_alignment(e.place.kind)
        address = self.place(e.place)
        tag = self.module.state_tag(e.place)
        value = self.value(f"load i{size * 8}, ptr {address}, align {alignment}, !tbaa {tag}")
        return self.resize(value, size * 8, e.type.bits, e.place.kind.signed)

    def _x_isnone(self, e: ir.IsNone) -> str:
        return self.value(f"icmp eq ptr {self.packet(e.packet)}, null")

    def _x_slotisnone(self, e: ir.SlotIsNone) -> str:
        address, tag = self.slot(e.place)
        value = self.value(f"load i64, ptr {address}, align 8, !tbaa {tag}")
        return self.value(f"icmp eq i64 {value}, 0")

    def pointer(self, offset: str) -> str:
        """A slot's offset as a packet pointer; 0 is null."""
        address = self.value(f"getelementptr i8, ptr %m, i64 {offset}")
        none = self.value(f"icmp eq i64 {offset}, 0")
        return self.value(f"select i1 {none}, ptr null, ptr {address}")

    def offset_of(self, pointer: str) -> str:
        base = self.value("ptrtoint ptr %m to i64")
        number = self.value(f"ptrtoint ptr {pointer} to i64")
        difference = self.value(f"sub i64 {number}, {base}")
        none = self.value(f"icmp eq ptr {pointer}, null")
        return self.value(f"select i1 {none}, i64 0, i64 {difference}")

    def _x_takeslot(self, e: ir.TakeSlot) -> str:
        address, tag = self.slot(e.place)
        value = self.value(f"load i64, ptr {address}, align 8, !tbaa {tag}")
        self.line(f"store i64 0, ptr {address}, align 8, !tbaa {tag}")
        return self.pointer(value)

    def _x_cycles(self, e: ir.Cycles) -> str:
        self.intrinsic("declare i64 @llvm.readcyclecounter()")
        return self.value("call i64 @llvm.readcyclecounter()")

    def _x_exchange(self, e: ir.Exchange) -> str:
        return self.value(f"atomicrmw xchg ptr {self.address(e.address)}, i32 {self.expr(e.value)} seq_cst, align 4")

    def _x_checksum(self, e: ir.Checksum) -> str:
        address = self.address(e.address)
        if isinstance(e.length, ir.Const) and e.length.value <= _INLINE_SUM_BYTES and e.length.value % 4 == 0:
            total = "0"
            i = 0
            while i < e.length.value:
                bits = 64 if e.length.value - i >= 8 else 32
                at = self.value(f"getelementptr i8, ptr {address}, i64 {i}")
                word = self.value(f"load i{bits}, ptr {at}, align 1, !tbaa {_DATA}")
                if bits == 64:
                    low = self.value(f"and i64 {word}, 4294967295")
                    total = self.value(f"add i64 {total}, {low}")
                    word = self.value(f"lshr i64 {word}, 32")
                else:
                    word = self.resize(word, 32, 64)
                total = self.value(f"add i64 {total}, {word}")
                i += bits // 8
            total = self.value(f"call i32 @pk_fold_swapped(i64 {total})")
        else:
            total = self.value(f"call i32 @pk_sum(ptr {address}, i32 {self.expr(e.length)})")
        if isinstance(e.start, ir.Const) and e.start.value == 0:
            return total
        wide = self.resize(total, 32, 64)
        start = self.resize(self.expr(e.start), 32, 64)
        return self.value(f"call i32 @pk_fold(i64 {self.value(f'add i64 {wide}, {start}')})")

    def _arguments(self, expressions: Iterable[ir.Expr]) -> str:
        return ", ".join(["ptr %m", *(f"{_type(e.type)} {self.expr(e)}" for e in expressions)])

    def _x_call(self, e: ir.Call) -> str:
        arguments = self._arguments(e.arguments)
        kind = _type(e.function.returns)
        if kind == "void":
            self.line(f"call void @{e.function.name}({arguments})")
            return "0"
        return self.value(f"call {kind} @{e.function.name}({arguments})")

    def _x_pull(self, e: ir.Pull) -> str:
        return self.value(f"call ptr @{e.target}(ptr %m)")

    def _x_allocate(self, e: ir.Allocate) -> str:
        return self.pointer(self.expr(e.offset))

    def _x_slotoffset(self, e: ir.SlotOffset) -> str:
        return self.offset_of(self.packet(e.packet))

    def _x_dispatch(self, e: ir.Dispatch) -> str:
        index = self.expr(e.index)
        done = self.label()
        labels = [self.label() for _ in e.targets]
        cases = " ".join(f"i32 {i}, label %{name}" for i, name in enumerate(labels))
        self.count += 1
        result = f"%d{self.count}"
        self.allocas.append(f"  {result} = alloca i1")
        self.line(f"store i1 false, ptr {result}")
        self.line(f"switch i32 {index}, label %{done} [ {cases} ]")
        for target, name in zip(e.targets, labels):
            self.start(name)
            self.line(f"store i1 {self.value(f'call i1 @{target}(ptr %m)')}, ptr {result}")
            self.line(f"br label %{done}")
        self.start(done)
        return self.value(f"load i1, ptr {result}")

    # Statements

    def block(self, body: list[ir.Stmt]) -> None:
        for s in body:
            if self.dead:
                return
            if self.module.lines is not None:
                self.behind = self.module.lines.attachment(self.function, s.line)
            getattr(self, f"_s_{type(s).__name__.lower()}")(s)

    def _s_assign(self, s: ir.Assign) -> None:
        value = self.expr(s.value)
        if s.local.number in self.values:
            self.names[s.local.number] = value
        else:
            self.line(f"store {_type(s.local.type)} {value}, ptr %l{s.local.number}")

    def _s_evaluate(self, s: ir.Evaluate) -> None:
        self.expr(s.value)

    def _s_storestate(self, s: ir.StoreState) -> None:
        size, alignment = size_and_alignment(s.place.kind)
        assert isinstance(s.value.type, IntType)
        value = self.expr(s.value)
        if s.value.type.bits < size * 8 or s.value.type.bits != 1:
            value = self.resize(value, s.value.type.bits, size * 8, s.value.type.signed)
        address = self.place(s.place)
        self.line(f"store i{size * 8} {value}, ptr {address}, align {alignment}, !tbaa {self.module.state_tag(s.place)}")

    def _s_storepacket(self, s: ir.StorePacket) -> None:
        assert isinstance(s.value.type, IntType)
        bits = s.width * 8
        tag = self.packet_tag(s.offset)
        value = self.expr(s.value)
        value = (
            self.value(f"zext i1 {value} to i{bits}") if s.value.type.bits == 1
            else self.resize(value, s.value.type.bits, bits)
        )
        address = self.packet_address(s.packet, s.offset)
        if s.bits:
            mask = ((1 << s.bits) - 1) << s.low
            old = self.value(f"load i{bits}, ptr {address}, align 1, !tbaa {tag}")
            old = self.swap(old, s.width) if s.big else old
            kept = self.value(f"and i{bits} {old}, {~mask & ((1 << bits) - 1)}")
            moved = self.value(f"shl i{bits} {value}, {s.low}")
            cut = self.value(f"and i{bits} {moved}, {mask}")
            value = self.value(f"or i{bits} {kept}, {cut}")
        if s.big:
            value = self.swap(value, s.width)
        self.line(f"store i{bits} {value}, ptr {address}, align 1, !tbaa {tag}")

    def _s_writepacket(self, s: ir.WritePacket) -> None:
        # Wide stores, the last one overlapping the one before: narrower loads that follow are forwarded from one store,
        # not stalled across two.
        base = self.packet_address(s.packet, s.offset)
        at = 0
        width = next((w for w in (32, 16, 8, 4, 2, 1) if w <= len(s.content)), 1)
        while at < len(s.content):
            if at + width > len(s.content):
                at = len(s.content) - width
            values = ", ".join(f"i8 {b}" for b in s.content[at : at + width])
            address = self.value(f"getelementptr i8, ptr {base}, i64 {at}")
            self.line(f"store <{width} x i8> <{values}>, ptr {address}, align 1, !tbaa {_DATA}")
            at += width

    def _s_setmeta(self, s: ir.SetMeta) -> None:
        field = META[s.name]
        value = self.expr(s.value)
        address = self.value(f"getelementptr i8, ptr {self.packet(s.packet)}, i64 {field.offset}")
        self.line(f"store {_type(s.value.type)} {value}, ptr {address}, align 4, !tbaa {_META}")

    def _s_check(self, s: ir.Check) -> None:
        condition = self.expr(s.condition)
        good, bad = self.label(), self.label()
        self.line(f"br i1 {condition}, label %{good}, label %{bad}, !prof !7")
        self.start(bad)
        self.line(f"call void @pk_fault(ptr %m, i64 {s.owner._offsets['faults']})")
        for local in s.owned:
            self.line(f"call void @pk_kill(ptr %m, ptr {self.packet(local)})")
        self.line(self.default_return())
        self.start(good)

    def _s_if(self, s: ir.If) -> None:
        if (fanout := _fanout(s)) is not None:
            index, packet, targets = fanout
            to = self.module.fanouts.name(targets)
            self.line(f"call void @{to}(ptr %m, ptr {self.packet(packet)}, i32 {self.expr(index)})")
            return
        condition = self.expr(s.condition)
        then, done = self.label(), self.label()
        orelse = self.label() if s.orelse else done
        self.line(f"br i1 {condition}, label %{then}, label %{orelse}")
        ends_dead = True
        self.start(then)
        self.block(s.then)
        ends_dead = ends_dead and self.dead
        if not self.dead:
            self.jump(done)
        if s.orelse:
            self.start(orelse)
            self.block(s.orelse)
            ends_dead = ends_dead and self.dead
            if not self.dead:
                self.jump(done)
        else:
            ends_dead = False
        if ends_dead:
            self.dead = True
        else:
            self.start(done)

    def _s_loop(self, s: ir.Loop) -> None:
        kind = _type(s.variable.type)
        first, last = self.expr(s.start), self.expr(s.stop)
        variable = f"%l{s.variable.number}"
        self.count += 1
        counter = f"%c{self.count}"
        self.allocas.append(f"  {counter} = alloca {kind}")
        self.line(f"store {kind} {first}, ptr {counter}")
        head, body, step, done = (self.label() for _ in range(4))
        self.jump(head)
        self.start(head)
        now = self.value(f"load {kind}, ptr {counter}")
        self.line(f"br i1 {self.value(f'icmp ult {kind} {now}, {last}')}, label %{body}, label %{done}")
        self.start(body)
        self.line(f"store {kind} {now}, ptr {variable}")
        self.loops.append((step, done))
        self.block(s.body)
        self.loops.pop()
        if not self.dead:
            self.jump(step)
        self.start(step)
        self.line(f"store {kind} {self.value(f'add nuw {kind} {now}, 1')}, ptr {counter}")
        self.jump(head)
        self.start(done)

    def _s_break(self, s: ir.Break) -> None:
        self.jump(self.loops[-1][1])

    def _s_continue(self, s: ir.Continue) -> None:
        self.jump(self.loops[-1][0])

    def _s_scope(self, s: ir.Scope) -> None:
        done = self.label()
        self.scopes[s.number] = done
        self.block(s.body)
        if not self.dead:
            self.jump(done)
        self.start(done)

    def _s_leave(self, s: ir.Leave) -> None:
        self.jump(self.scopes[s.number])

    def _s_pushto(self, s: ir.PushTo) -> None:
        packet = self.packet(s.packet)
        if not s.guarded:
            self.line(f"call void @{s.target}(ptr %m, ptr {packet})")
            return
        at = self.value(f"getelementptr i8, ptr %m, i64 {self.module.depth_offset}")
        depth = self.value(f"load i32, ptr {at}, align 4, !tbaa {_STATE}")
        fine = self.value(f"icmp ult i32 {depth}, {MAX_PUSH_DEPTH}")
        go, stop, done = self.label(), self.label(), self.label()
        self.line(f"br i1 {fine}, label %{go}, label %{stop}, !prof !7")
        self.start(go)
        deeper = self.value(f"add i32 {depth}, 1")
        self.line(f"store i32 {deeper}, ptr {at}, align 4, !tbaa {_STATE}")
        self.line(f"call void @{s.target}(ptr %m, ptr {packet})")
        self.line(f"store i32 {depth}, ptr {at}, align 4, !tbaa {_STATE}")
        self.jump(done)
        self.start(stop)
        self.line(f"call void @pk_kill(ptr %m, ptr {packet})")
        self.jump(done)
        self.start(done)

    def _s_kill(self, s: ir.Kill) -> None:
        self.line(f"call void @pk_kill(ptr %m, ptr {self.packet(s.packet)})")

    def _s_putslot(self, s: ir.PutSlot) -> None:
        offset = self.offset_of(self.packet(s.packet))
        address, tag = self.slot(s.place)
        self.line(f"store i64 {offset}, ptr {address}, align 8, !tbaa {tag}")

    def _s_move(self, s: ir.Move) -> None:
        source, target = self.address(s.source), self.address(s.target)
        if isinstance(s.length, ir.Const) and s.length.value <= _INLINE_MOVE_BYTES:
            if s.length.value:
                kind = f"<{s.length.value} x i8>"
                value = self.value(f"load {kind}, ptr {source}, align 1")
                self.line(f"store {kind} {value}, ptr {target}, align 1")
            return
        self.line(f"call void @pk_move(ptr {target}, ptr {source}, i32 {self.expr(s.length)})")

    def _s_copylines(self, s: ir.CopyLines) -> None:
        """The first line apart: most frames are one line, and their copy is two instructions."""
        source, target, lines = self.address(s.source), self.address(s.target), self.expr(s.lines)
        tag = self._bytes_tag(s.source, s.target)
        more, loop, done = self.label(), self.label(), self.label()
        first = self.value(f"load <64 x i8>, ptr {source}, align 1, !tbaa {tag}")
        self.line(f"store <64 x i8> {first}, ptr {target}, align 1, !tbaa {tag}")
        self.line(f"br i1 {self.value(f'icmp ugt i32 {lines}, 1')}, label %{more}, label %{done}")
        self.start(more)
        end = self.value(f"shl i64 {self.resize(lines, 32, 64)}, 6")
        self.jump(loop)
        self.start(loop)
        self.count += 1
        at, after = f"%i{self.count}", f"%n{self.count}"
        self.line(f"{at} = phi i64 [ 64, %{more} ], [ {after}, %{loop} ]")
        value = self.value(f"load <64 x i8>, ptr {self.value(f'getelementptr i8, ptr {source}, i64 {at}')}, align 1, !tbaa {tag}")
        self.line(f"store <64 x i8> {value}, ptr {self.value(f'getelementptr i8, ptr {target}, i64 {at}')}, align 1, !tbaa {tag}")
        self.line(f"{after} = add nuw i64 {at}, 64")
        self.line(f"br i1 {self.value(f'icmp ult i64 {after}, {end}')}, label %{loop}, label %{done}")
        self.start(done)

    def _bytes_tag(self, *addresses: ir.Address) -> str:
        """The alias class of the array that all of them lie in."""
        places = [a.place for a in addresses if isinstance(a, ir.StateAddress)]
        if len(places) != len(addresses) or any(p.owner is not places[0].owner for p in places):
            return _STATE
        return self.module.state_tag(dataclasses.replace(places[0], name=f"array@{places[0].offset}"))

    def _s_prefetch(self, s: ir.Prefetch) -> None:
        self.intrinsic("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.line(f"call void @llvm.prefetch.p0(ptr {self.address(s.address)}, i32 1, i32 3, i32 1)")

    def _s_fill(self, s: ir.Fill) -> None:
        target = self.address(s.target)
        byte = self.resize(self.expr(s.byte), 32, 8) if not isinstance(s.byte, ir.Const) else str(s.byte.value & 0xFF)
        if isinstance(s.length, ir.Const) and s.length.value <= 4 * _INLINE_MOVE_BYTES:
            tag = ""
            if isinstance(s.target, ir.PacketAddress) and isinstance(s.target.offset, ir.Const) \
                    and s.target.offset.value + s.length.value <= BUFFER_OFFSET:
                tag = f", !tbaa {_META}"
                if s.length.value % 8 == 0 and byte == "0":
                    # In words, so that what is set right after becomes one store with the zeros around it.
                    for at in range(0, s.length.value, 8):
                        word = self.value(f"getelementptr i8, ptr {target}, i64 {at}")
                        self.line(f"store i64 0, ptr {word}, align 8{tag}")
                    return
            self.intrinsic("declare void @llvm.memset.inline.p0.i64(ptr, i8, i64, i1)")
            self.line(f"call void @llvm.memset.inline.p0.i64(ptr {target}, i8 {byte}, i64 {s.length.value}, i1 false){tag}")
            return
        self.line(f"call void @pk_fill(ptr {target}, i8 {byte}, i32 {self.expr(s.length)})")

    def _s_upcall(self, s: ir.Upcall) -> None:
        at = self.value(f"getelementptr i8, ptr %m, i64 {self.module.upcall_offset}")
        self.line(f"call void {self.value(f'load ptr, ptr {at}, align 8')}()")

    def _s_fence(self, s: ir.Fence) -> None:
        self.line(f"fence {'seq_cst' if s.full else 'acq_rel'}")

    def _s_return(self, s: ir.Return) -> None:
        if s.value is None:
            self.line(self.default_return())
        else:
            value = self.expr(s.value)
            self.line(f"ret {_type(s.value.type)} {value}")
        self.dead = True


def _fanout(s: ir.If) -> tuple[ir.Expr, ir.Local, list[str | None]] | None:
    """The index, the packet and the targets, where ``s`` does nothing but give a packet to output ``index``."""
    targets: list[str | None] = []
    index: ir.Expr | None = None
    packet: ir.Local | None = None
    rest: list[ir.Stmt] = [s]
    while len(rest) == 1 and isinstance(link := rest[0], ir.If):
        test = link.condition
        if not isinstance(test, ir.Compare) or test.op != "eq" or not isinstance(test.right, ir.Const) or len(link.then) != 1:
            return None
        index = index or test.left
        push = link.then[0]
        if test.left is not index or test.right.value != len(targets) or not isinstance(push, ir.PushTo | ir.Kill):
            return None
        packet = packet or push.packet
        if push.packet is not packet or (isinstance(push, ir.PushTo) and push.guarded):
            return None
        targets.append(push.target if isinstance(push, ir.PushTo) else None)
        rest = link.orelse
    if len(targets) < 2 or index is None or packet is None or index.type != u32:
        return None
    if len(rest) != 1 or not isinstance(rest[0], ir.Kill) or rest[0].packet is not packet:
        return None
    return index, packet, targets


def _inline_single_calls(bodies: list[str], exports: set[str]) -> list[str]:
    """Mark functions with one caller, and short ones with a few, as always inlined.

    The inliner would come to the same result from the leaves up, and simplify a chain of n elements n times on its
    way: compiling a chain of 20 took more than twice as long. Of a large module what the exports call (the tasks, mostly) stays
    apart: the code generator's time grows faster than a function does (for 100 tasks 1.8 s, and 1.3 s apart).
    """
    calls: dict[str, int] = {}
    apart: set[str] = set()
    is_large = sum(map(len, bodies)) > LARGE_TEXT_BYTES
    for body in bodies:
        found = _CALL.findall(body)
        for name in found:
            calls[name] = calls.get(name, 0) + 1
        caller = _DEFINITION.match(body)
        if is_large and caller is not None and caller[1] in exports:
            apart.update(found)
    marked: list[str] = []
    for body in bodies:
        head, brace, rest = body.partition(" #0 {")
        if not brace:
            marked.append(body)
            continue
        name = _DEFINITION.match(head)
        recursive = name is not None and f"@{name[1]}(" in rest
        uses = calls.get(name[1], 0) if name is not None else 0
        wanted = uses == 1 or (uses <= _FEW_CALLS and rest.count("\n") < _SMALL_LINES)
        inlined = wanted and not recursive and name is not None and name[1] not in apart
        marked.append(head + (" #2 {" if inlined else brace) + rest)
    return marked


def emit_module(
    functions: Iterable[ir.Function], exports: set[str], *, release: str, depth_offset: int, upcall_offset: int,
    lines: Lines | None = None,
) -> str:
    """Assembly text of a module with all ``functions``; ``exports`` stay visible. ``lines`` collects where code comes from."""
    module = _Module(depth_offset, upcall_offset, release, lines)
    texts = {f.name: _Function(module, f, f.name in exports).text() for f in functions}
    bodies = [*texts.values(), *module.fanouts.texts(texts)]
    bodies = _inline_single_calls(bodies, exports)
    runtime = RUNTIME.replace("@RELEASE@", f"@{release}")
    attributes = "".join(f'attributes #{n} = {{ {words} "no-builtins" }}\n' for n, words in enumerate((
        "nounwind", "nounwind noinline cold", "nounwind alwaysinline", "nounwind noinline")))
    text = "\n".join([*sorted(module.intrinsics), runtime, *bodies, attributes, *module.metadata, ""])
    return lines.finish(text, len(module.metadata)) if lines is not None else text
