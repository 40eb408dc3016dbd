"""Leaving blocks early, for what executes the typed form statement by statement: interpreter and verifier."""

from __future__ import annotations

from typing import Any

from penstock.datapath import ir

__all__ = ["BreakLoop", "ContinueLoop", "ReturnValue", "Structured"]


class ReturnValue(Exception):
    """A function ends."""

    def __init__(self, value: Any):
        self.value = value


class _Leave(Exception):
    def __init__(self, number: int):
        self.number = number


class BreakLoop(Exception):
    """The innermost loop ends."""


class ContinueLoop(Exception):
    """The innermost loop's next turn begins."""


class Structured:
    """Statements that only say where to go on."""

    def block(self, body: list[ir.Stmt]) -> None:
        raise NotImplementedError

    def eval(self, expr: ir.Expr) -> Any:
        raise NotImplementedError

    def _evaluate(self, s: ir.Evaluate) -> None:
        self.eval(s.value)

    def _break(self, s: ir.Break) -> None:
        raise BreakLoop

    def _continue(self, s: ir.Continue) -> None:
        raise ContinueLoop

    def _scope(self, s: ir.Scope) -> None:
        try:
            self.block(s.body)
        except _Leave as leave:
            if leave.number != s.number:
                raise

    def _leave(self, s: ir.Leave) -> None:
        raise _Leave(s.number)

    def _return(self, s: ir.Return) -> None:
        raise ReturnValue(None if s.value is None else self.eval(s.value))
