"""Script and DriverManager: small programs that read and write handlers while the router runs."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import ClassVar

from penstock.elements import ConfigureError, Element, HandlerError
from penstock.elements.element import HandlerLookupError, text_of
from penstock.elements.script_functions import FUNCTIONS, ScriptError, truth
from penstock.lang.arguments import ArgumentError, Raw, parse_int, parse_seconds
from penstock.lang.text import expand_variables, split_words, unquote

__all__ = ["DriverManager", "Script"]

_INSTRUCTIONS = {
    "set", "setq", "init", "initq", "export", "exportq", "print", "printn", "printq", "printnq", "read", "readq", "write",
    "writeq", "save", "append", "pause", "wait", "wait_step", "wait_time", "wait_for", "wait_stop", "stop", "label",
    "goto", "loop", "end", "exit", "return", "returnq", "error", "errorq",
}
_TYPES = ("ACTIVE", "PASSIVE", "PACKET", "PROXY", "DRIVER")
_MAX_JUMPS = 1000


@dataclass(slots=True)
class _Instruction:
    name: str
    argument: str


class Script(Element):
    """Run a list of instructions: wait, read and write handlers, print, loop.

    Each argument is one instruction. ``$x`` is a variable, ``$(handler arguments)`` the value of a read
    handler; arithmetic and comparison are read handlers of the script itself (``$(add 1 2)``).

    Arguments:
        TYPE: ACTIVE (runs from the start), PASSIVE (runs when its handlers are used), DRIVER (manages when the
            driver stops), PROXY (unknown handlers run it), PACKET, or SIGNAL n ....
        ARGS...: the instructions: set, init, export, print, printn, read, write, save, append, pause, wait,
            wait_step, wait_time, wait_for, wait_stop, label, goto, loop, end, exit, return, error, stop.

    Handlers:
        step (write): go on after a wait_step; "router" after a wait_stop.
        goto (write): go on at a label.
        run (read/write): run the script with these arguments.
        add, sub, mul, div, eq, lt, if, now, sprintf, ... (read): functions for use in ``$(...)``.

    Example:
        s :: Script(TYPE PASSIVE, return $(add 1 2)); DriverManager(print s.run, stop);
    """

    ports = "-/-"
    processing = "ah/ah"
    default_type: ClassVar[str] = "ACTIVE"

    def configure(self, *args: Raw) -> None:
        self.kind = self.default_type
        self.signals: list[int] = []
        self.instructions: list[_Instruction] = []
        for argument in args:
            words = split_words(argument)
            if not words:
                continue
            if words[0] == "TYPE":
                self._set_type(words[1:])
                continue
            name = words[0].lower()
            rest = argument.strip()[len(words[0]) :].strip()
            if name not in _INSTRUCTIONS:
                raise ConfigureError(f"syntax error at '{words[0]}'")
            self.instructions.append(_Instruction(name, rest))
        if self.default_type == "DRIVER" and (not self.instructions or self.instructions[-1].name not in ("stop", "loop")):
            self.instructions.append(_Instruction("stop", ""))
        self.labels = {i.argument: n for n, i in enumerate(self.instructions) if i.name == "label"}
        self.variables: dict[str, str] = {}
        self.exported: set[str] = set()
        self.position = 0
        self.waiting = ""
        self.wait_count = 0
        self.status = 0
        self.running = False
        self.stop_seen = 0
        self.arguments_text = ""
        self.write_value = False
        self.returned = ""
        self.wake_at = 0

    def _set_type(self, words: list[str]) -> None:
        word = words[0].upper() if words else ""
        if word == "SIGNAL":
            for name in words[1:]:
                try:
                    number = int(name) if name.isdigit() else getattr(signal, f"SIG{name.upper().removeprefix('SIG')}")
                except AttributeError:
                    raise ConfigureError(f"TYPE: bad signal '{name}'") from None
                self.signals.append(int(number))
            self.kind = "SIGNAL"
        elif word in _TYPES:
            self.kind = word
        else:
            raise ConfigureError("TYPE: expected ACTIVE, PASSIVE, DRIVER, PROXY, PACKET or SIGNAL")

    def started(self) -> None:
        if self.kind in ("ACTIVE", "DRIVER"):
            self.router.calls.call_at(self.now_ns(), self._begin)
        if self.kind == "DRIVER" or any(i.name == "wait_stop" for i in self.instructions):
            self.router.calls.stop_managers.append(self._driver_stopped)
        for number in self.signals:
            signal.signal(number, lambda *_: self.router.calls.call_at(0, lambda: self._ignore(self._run("", False))))

    @staticmethod
    def _ignore(result: object) -> None:
        """A written handler has no result."""

    def now_ns(self) -> int:
        clock = self.router.clock
        return int(clock.time if clock.simulated else clock.read())

    def add_handlers(self) -> None:
        self.add_write("step", self._step_handler)
        self.add_write("goto", self._goto_handler)
        self.add_read("run", lambda text: self._run(text, False), parameter=True)
        self.add_write("run", lambda text: self._ignore(self._run(text, True)))
        for name, function in FUNCTIONS.items():
            self.add_read(name, lambda text, f=function: f(self, text), parameter=True)
            self.handlers[name].visible = name not in ("cat", "catq", "kill")

    # Control

    def _begin(self) -> None:
        self.running = True
        self.position = 0
        self._execute()

    def _run(self, arguments: str, is_write: bool) -> str:
        if self.kind not in ("PASSIVE", "PROXY", "SIGNAL", "PACKET", "ACTIVE", "DRIVER"):
            return ""
        saved = (self.position, self.arguments_text, self.write_value, self.returned)
        self.arguments_text, self.write_value, self.returned = arguments, is_write, ""
        self.position, self.running = 0, True
        self._execute()
        result = self.returned
        if self.kind != "ACTIVE":
            _, self.arguments_text, self.write_value, _ = saved
        return result

    def _step_handler(self, text: str) -> None:
        word = text.strip()
        if word == "router":
            self._driver_stopped()
            return
        count = parse_int(word) if word else 1
        if self.waiting in ("step", "stop", "time"):
            self.wait_count -= count
            if self.wait_count <= 0 or self.waiting == "time":
                self._go_on()

    def _goto_handler(self, text: str) -> None:
        words = split_words(text)
        label = words[0] if words else ""
        if len(words) > 1 and not truth(unquote(words[1])):
            return
        if not self._jump(label):
            raise HandlerError(f"no such label '{label}'")
        self._go_on()

    def _go_on(self) -> None:
        self.waiting = ""
        self.running = True
        self._execute()

    def _driver_stopped(self) -> bool:
        """The driver is about to stop: true if this script wants it to go on."""
        driver = self.router.driver
        if self.waiting == "stop":
            self.wait_count -= 1
            if self.wait_count > 0:
                driver.runcount = 1
                return True
        elif self.waiting == "time" and self.kind == "DRIVER":
            pass
        elif self.waiting == "step" and self.kind == "DRIVER":
            self.wait_count -= 1
            if self.wait_count > 0:
                driver.runcount = 1
                return True
        else:
            return False
        if self.router.interrupted:
            return False
        driver.runcount = 1
        self._go_on()
        return driver.runcount > 0

    def _timer(self, stamp: int) -> None:
        if self.waiting == "time" and self.wake_at == stamp:
            self._go_on()

    # Instructions

    def _execute(self) -> None:
        jumps = 0
        while self.running and self.position < len(self.instructions):
            instruction = self.instructions[self.position]
            before = self.position
            self.position += 1
            try:
                self._one(instruction)
            except (ScriptError, HandlerLookupError, HandlerError, ArgumentError, OSError) as error:
                message = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                self.router.complain(f"While executing '{self}':\n  {message}", self)
                self.status = -1
                if instruction.name.startswith("error"):
                    self.running = False
            if self.position <= before:
                jumps += 1
                if jumps >= _MAX_JUMPS:
                    self.router.complain(f"While executing '{self}':\n  too many jumps, giving up", self)
                    self.running = False
            if self.waiting:
                return
        self.running = False

    def _one(self, instruction: _Instruction) -> None:
        name, argument = instruction.name, instruction.argument
        quoted = name.endswith("q") and name[:-1] in _INSTRUCTIONS
        match name.removesuffix("q") if quoted else name:
            case "set" | "init" | "export" as what:
                self._assign(what, argument, quoted)
            case "print" | "printn" as what:
                self._print(argument, "" if what == "printn" else "\n", quoted)
            case "read":
                text = self.expand(argument)
                handler, _, parameter = text.partition(" ")
                value = self.router.handlers.read(handler, parameter.strip(), self.name)
                self.router.stderr.write(f"{handler}:\n{value}" + ("" if value.endswith("\n") else "\n"))
                self.router.stderr.flush()
            case "write":
                handler, _, value = self.expand(argument).strip().partition(" ")
                self.router.handlers.write(handler, unquote(value.strip()) if quoted else value.strip(), self.name)
                self.status = 0
            case "save" | "append" as what:
                self._save(argument, "a" if what == "append" else "w")
            case "label":
                pass
            case "goto":
                words = split_words(argument)
                if len(words) < 2 or truth(unquote(self.expand(argument.partition(" ")[2].strip()))):
                    if not self._jump(unquote(self.expand(words[0])) if words else ""):
                        raise ScriptError(f"no such label '{words[0] if words else ''}'")
            case "loop":
                self.position = 0
            case "end":
                self._end()
            case "exit":
                self._end()
            case "return":
                text = self.expand(argument)
                self.returned = unquote(text) if quoted else text
                self.running = False
            case "error":
                text = self.expand(argument)
                self.running = False
                raise ScriptError(unquote(text) or "error")
            case "stop":
                self.router.stop()
                self.running = False if self.position >= len(self.instructions) else self.running
                if self.kind == "DRIVER":
                    self.running = False
            case "pause" | "wait" | "wait_step" | "wait_stop" | "wait_time" | "wait_for" as what:
                self._wait(what, argument)

    def _end(self) -> None:
        self.running = False
        if self.kind == "DRIVER":
            self.router.stop()

    def _assign(self, what: str, argument: str, quoted: bool) -> None:
        name, _, value = argument.partition(" ")
        name = name.lstrip("$")
        if not name.replace("_", "a").isalnum():
            raise ScriptError(f"bad variable '{name}'")
        if what == "init" and name in self.variables:
            return
        value = self.expand(value.strip())
        self.variables[name] = unquote(value) if quoted else value
        if what == "export":
            self.add_read(name, lambda: self.variables.get(name, ""))

    def _print(self, argument: str, end: str, quoted: bool) -> None:
        argument = argument.strip()
        mode, target = "", ""
        if argument.startswith(">"):
            mode = "a" if argument.startswith(">>") else "w"
            words = split_words(argument.lstrip(">"))
            target = unquote(self.expand(words[0])) if words else ""
            argument = argument.lstrip(">").strip()[len(words[0]) if words else 0 :].strip()
        if argument[:1].isalpha() or argument[:1] in ("@", "_"):
            handler, _, parameter = self.expand(argument).partition(" ")
            text = self.router.handlers.read(handler, parameter.strip(), self.name)
        else:
            text = unquote(self.expand(argument))
        if not text.endswith("\n"):
            text += end
        if target and target != "-":
            with open(target, mode) as file:
                file.write(text)
        else:
            self.router.stdout.write(text)
            self.router.stdout.flush()

    def _save(self, argument: str, mode: str) -> None:
        words = split_words(self.expand(argument))
        if not words:
            raise ScriptError("expected a handler and a file")
        value = self.router.handlers.read(words[0], " ".join(words[1:-1]), self.name)
        name = unquote(words[-1]) if len(words) > 1 else "-"
        if name == "-":
            self.router.stdout.write(value)
            self.router.stdout.flush()
        else:
            with open(name, mode) as file:
                file.write(value)

    def _wait(self, what: str, argument: str) -> None:
        text = unquote(self.expand(argument))
        if what == "wait" and text:
            what = "wait_time"
        if what in ("wait_time", "wait_for"):
            self.waiting = "time"
            self.wake_at = self.now_ns() + int(parse_seconds(text) * 1e9)
            stamp = self.wake_at
            self.router.calls.call_at(stamp, lambda: self._timer(stamp))
            return
        count = parse_int(text) if text else 1
        if count > 0:
            self.waiting = "stop" if what == "wait_stop" or (self.kind == "DRIVER" and what == "pause") else "step"
            if self.kind == "DRIVER":
                self.waiting = "stop"
            self.wait_count = count

    def _jump(self, label: str) -> bool:
        if label in self.labels:
            self.position = self.labels[label]
        elif label in ("begin", "loop"):
            self.position = 0
        elif label in ("exit", "end", "error"):
            self.position = len(self.instructions)
        else:
            return False
        return True

    # Values

    def expand(self, text: str) -> str:
        return expand_variables(text, self.lookup, call=self._call)

    def lookup(self, name: str) -> str | None:
        if name in self.variables:
            return self.variables[name]
        if name == "?":
            return str(self.status)
        if name == "$":
            return str(os.getpid())
        if name == "args":
            return self.arguments_text
        if name == "write":
            return "true" if self.write_value else "false"
        words = split_words(self.arguments_text)
        if name == "#":
            return str(len(words))
        if name == "0":
            return self.name
        if name.isdigit() and len(name) < 6:
            return words[int(name) - 1] if int(name) <= len(words) else None
        return None

    def _call(self, text: str) -> str:
        handler, _, parameter = text.strip().partition(" ")
        parameter = parameter.strip()
        own = self.handlers.get(handler)
        if own is not None and own.read is not None and "." not in handler:
            return text_of(own.read(parameter))
        return self.router.handlers.read(handler, parameter, self.name)


class DriverManager(Script):
    """Manage when the driver stops: a Script of type DRIVER.

    Example:
        InfiniteSource(LIMIT 3, STOP true) -> c :: Counter -> Discard; DriverManager(wait_stop, print c.count);
    """

    default_type = "DRIVER"


