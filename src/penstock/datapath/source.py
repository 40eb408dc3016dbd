"""``@datapath``: marks packet code, finds its syntax tree, and runs it from Python through the interpreter."""

from __future__ import annotations

import ast
import functools
import linecache
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

__all__ = ["NAMES_BY_MODULE", "DatapathError", "DatapathFunction", "SourceLine", "abstraction", "datapath", "source_line"]

P = ParamSpec("P")
R = TypeVar("R")


class DatapathError(Exception):
    """Packet code that is not in the datapath subset; says where, what, and what to write instead."""

    def __init__(self, message: str, *, file: str = "", line: int = 0, hint: str = ""):
        self.message, self.file, self.line, self.hint = message, file, line, hint
        super().__init__(message)

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else ""
        source = linecache.getline(self.file, self.line).rstrip()
        text = f"{where}{self.message}"
        if source:
            text += f"\n    {source.strip()}"
        return f"{text}\n  = {self.hint}" if self.hint else text


@functools.cache
def _functions_of(file: str) -> dict[int, ast.FunctionDef]:
    """The functions of a source file by their first line (that of the first decorator)."""
    tree = ast.parse("".join(linecache.getlines(file)), file)
    found: dict[int, ast.FunctionDef] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            found[first] = node
    return found


class SourceLine(int):
    """A line number that knows its file: inlined methods come from several."""

    file: str

    def __new__(cls, number: int, file: str) -> SourceLine:
        made = super().__new__(cls, number)
        made.file = file
        return made


source_line = functools.lru_cache(maxsize=None)(SourceLine)


#: the attributes that each module's packet code mentions: only these can be constants of an image
NAMES_BY_MODULE: dict[str, set[str]] = {}


class DatapathFunction(Generic[P, R]):
    """A function in the datapath subset. ``inline`` ones become part of their caller; ``rare`` ones never do."""

    def __init__(self, function: Callable[P, R], inline: bool, rare: bool = False):
        self.function = function
        self.inline = inline
        self.rare = rare
        #: what the verifier executes instead: code that allows at least what this does
        self.abstract: DatapathFunction[Any, Any] | None = None
        self.name = function.__name__
        self.file = function.__code__.co_filename
        self.first_line = function.__code__.co_firstlineno
        NAMES_BY_MODULE.setdefault(function.__module__, set()).update(function.__code__.co_names)
        functools.update_wrapper(self, function)

    @functools.cached_property
    def tree(self) -> ast.FunctionDef:
        try:
            return _functions_of(self.file)[self.first_line]
        except (KeyError, SyntaxError):
            raise DatapathError(
                f"the source of {self.name}() cannot be found", file=self.file, line=self.first_line,
                hint="packet code must stand in a file, not in a string or at a prompt",
            ) from None

    @functools.cached_property
    def assigned_often(self) -> frozenset[str]:
        """Names assigned more than once: those live in variables, the others are names for values."""
        counts: dict[str, int] = {}

        def bind(target: ast.expr, weight: int) -> None:
            if isinstance(target, ast.Name):
                counts[target.id] = counts.get(target.id, 0) + weight
            elif isinstance(target, (ast.Tuple, ast.List)):
                for item in target.elts:
                    bind(item, weight)

        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    bind(target, 1)
            elif isinstance(node, ast.AnnAssign):
                bind(node.target, 1)
            elif isinstance(node, ast.AugAssign):
                bind(node.target, 2)
        parameters = {a.arg for a in self.tree.args.args}
        return frozenset(n for n, c in counts.items() if c > 1 or n in parameters)

    @functools.cached_property
    def free_names(self) -> dict[str, Any]:
        """What names outside the function mean: its module's globals and its closure."""
        cells = dict(zip(self.function.__code__.co_freevars, self.function.__closure__ or ()))
        return {**self.function.__globals__, **{n: c.cell_contents for n, c in cells.items()}}

    def __get__(self, owner: Any, cls: Any = None) -> Any:
        if owner is None:
            return self
        return BoundDatapath(owner, self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)


class BoundDatapath:
    """A datapath method of an object. Called from Python, it runs in the interpreter on the same memory."""

    __slots__ = ("function", "owner")

    def __init__(self, owner: Any, function: DatapathFunction[Any, Any]):
        self.owner, self.function = owner, function

    def __call__(self, *args: Any) -> Any:
        program = getattr(self.owner, "program", None)
        if program is None:
            raise RuntimeError(f"{self.function.name}() needs an installed configuration")
        return program.interpret(self.owner, self.function, args)


F = TypeVar("F", bound=Callable[..., Any])


@overload
def datapath(function: F, /) -> F: ...
@overload
def datapath(*, inline: bool = True, rare: bool = False) -> Callable[[F], F]: ...
def datapath(function: Any = None, /, *, inline: bool = True, rare: bool = False) -> Any:
    """Mark a method (or function) as packet code. ``inline=False`` makes it a function of its own.

    ``rare`` is for those that are not called for every packet: they are kept out of the code around their callers,
    which compiles quicker that way.

    To a type checker the function stays what it is; in truth it becomes a :class:`DatapathFunction`.
    """
    if function is None:
        return lambda f: DatapathFunction(f, inline and not rare, rare)
    return DatapathFunction(function, inline)


def abstraction(of: Any) -> Callable[[F], F]:
    """Mark a method as what the verifier executes in the place of the method ``of``, where that cannot be followed.

    It is packet code too, and must allow whatever the other one does; ``self.random.next()`` stands for any number.
    """

    def mark(function: F) -> F:
        of.abstract = DatapathFunction(function, inline=True)
        return of.abstract  # type: ignore[no-any-return]

    return mark
