"""From tokens to the syntax tree. Every syntax error is reported; parsing goes on at the next statement."""

from __future__ import annotations

from penstock.lang.lexer import KEYWORDS, Lexer, Token
from penstock.lang.source import Diagnostics
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

__all__ = ["MAX_DEPTH", "parse"]

MAX_DEPTH = 50  # Click's own limit on nested compound elements
MAX_PORT = 65535
_ARROWS = ("->", "=>")


class _SyntaxError(Exception):
    pass


class _Parser:
    def __init__(self, text: str, file: str, diagnostics: Diagnostics):
        self.lexer = Lexer(text, file, diagnostics)
        self.diagnostics = diagnostics
        self.token = self.lexer.next()
        self.depth = 0

    def advance(self) -> Token:
        token = self.token
        self.token = self.lexer.next()
        return token

    def fail(self, expected: str = "") -> _SyntaxError:
        if expected:
            self.diagnostics.error(f"expected '{expected}'", self.token.at, code="E002")
        elif self.token.kind == "end":
            self.diagnostics.error("unexpected end of file", self.token.at, code="E001")
        else:
            self.diagnostics.error(f"syntax error near '{self.token.text}'", self.token.at, code="E001")
        return _SyntaxError()

    def expect(self, kind: str) -> Token:
        if self.token.kind != kind:
            raise self.fail(kind if kind not in ("name", "variable") else "")
        return self.advance()

    # Statements

    def statements(self, ends: tuple[str, ...]) -> list[Statement]:
        body: list[Statement] = []
        while True:
            comments = self._comments(body)
            while self.token.kind == ";":
                self.advance()
                comments += self._comments(body)
            if self.token.kind == "end" or self.token.kind in ends:
                if comments:
                    body.append(Chain(self.token.at, [], [], comments=comments))
                return body
            try:
                statement = self.statement()
                if statement is not None:
                    statement.comments = comments
                    body.append(statement)
                if isinstance(statement, Chain) and self.token.kind not in (";", "end", *ends, *KEYWORDS):
                    raise self.fail()
            except _SyntaxError:
                self._recover(ends)

    def _comments(self, body: list[Statement]) -> list[str]:
        own: list[str] = []
        for comment in self.token.comments:
            if comment.startswith("\0"):
                if body and not own and not body[-1].trailing_comment:
                    body[-1].trailing_comment = comment[1:]
                else:
                    own.append(comment[1:])
            else:
                own.append(comment)
        return own

    def _recover(self, ends: tuple[str, ...]) -> None:
        depth = 0
        while self.token.kind != "end":
            if depth == 0 and (self.token.kind == ";" or self.token.kind in ends):
                return
            if self.token.kind in ("{", "("):
                depth += 1
            elif self.token.kind in ("}", ")"):
                depth = max(0, depth - 1)
            self.advance()

    def statement(self) -> Statement | None:
        at = self.token.at
        match self.token.kind:
            case "elementclass":
                self.advance()
                return self.element_class()
            case "define" | "require":
                kind = self.advance().kind
                arguments = self.parenthesised()
                return Define(at, arguments) if kind == "define" else Require(at, arguments)
            case "provide":
                raise self.fail()
            case _:
                return self.chain()

    def element_class(self) -> ClassDefinition:
        name = self.expect("name")
        if self.token.kind == "{":
            return ClassDefinition(name.at, name.text, self.compound())
        synonym = self.expect("name")
        return ClassDefinition(name.at, name.text, synonym.text)

    def parenthesised(self) -> str:
        if self.token.kind != "(":
            raise self.fail("(")
        return self.configuration()

    def configuration(self) -> str:
        """The raw text of the parentheses that the current token opens."""
        text = self.lexer.configuration(self.token.at)
        self.token = self.lexer.next()
        return text

    # Connections

    def chain(self) -> Chain:
        chain = Chain(self.token.at, [], [])
        if self.token.kind in _ARROWS:
            chain.lead = self.advance().kind
        while True:
            chain.lists.append(self.element_list())
            if self.token.kind not in _ARROWS:
                return chain
            arrow = self.advance().kind
            if self.token.kind in (";", "end", "}", "||", ")", ","):
                chain.trail = arrow
                return chain
            chain.arrows.append(arrow)

    def element_list(self) -> list[ElementNode]:
        nodes = [self.element()]
        while True:
            if self.token.kind == ",":
                self.advance()
                if self.token.kind in (";", "end", *_ARROWS):
                    raise self.fail()
                nodes.append(self.element())
            elif self.token.kind == "::":
                self.declaration(nodes)
            else:
                return nodes

    def declaration(self, nodes: list[ElementNode]) -> None:
        self.advance()
        declared: str | Compound
        configuration: str | None = None
        if self.token.kind == "{":
            declared = self.compound()
        elif self.token.kind in ("name", "variable"):
            declared = self.advance().text
        else:
            raise self.fail()
        if self.token.kind == "(":
            configuration = self.configuration()
        for node in reversed(nodes):
            if node.declared is not None or node.configuration is not None or node.body is not None:
                if node is nodes[-1]:
                    raise self.fail()
                break
            node.declared = declared
            node.declared_configuration = configuration
        if self.token.kind == "[":
            nodes[-1].outputs = self.ports()

    def element(self) -> ElementNode:
        inputs = self.ports() if self.token.kind == "[" else None
        node = ElementNode(self.token.at, inputs=inputs)
        if self.token.kind == "{":
            node.body = self.compound()
        elif self.token.kind == "(":
            node.body = self.group()
        elif self.token.kind in ("name", "variable"):
            node.name = self.advance().text
        else:
            raise self.fail()
        if self.token.kind == "(":
            node.configuration = self.configuration()
        if self.token.kind == "[":
            node.outputs = self.ports()
        return node

    def ports(self) -> PortList:
        result = PortList([], at=self.advance().at)
        while self.token.kind != "]":
            first = self.port()
            if self.token.kind == "-":
                self.advance()
                if self.token.kind in ("]", ","):
                    result.ports.append(first)
                    result.expandable = True
                else:
                    last = self.port()
                    if last < first:
                        raise self.fail()
                    result.ports += range(first, last + 1)
            else:
                result.ports.append(first)
            if self.token.kind == ",":
                self.advance()
            elif self.token.kind != "]":
                raise self.fail("]")
        self.advance()
        if not result.ports:
            result.ports, result.expandable = [0], True
        return result

    def port(self) -> int:
        if self.token.kind != "name" or not self.token.text.isascii() or not self.token.text.isdigit():
            self.diagnostics.error("port number must be an integer", self.token.at, code="E003")
            raise _SyntaxError()
        token = self.advance()
        if len(token.text) > 6 or int(token.text) > MAX_PORT:
            self.diagnostics.error(f"port number {token.text[:20]} too large", token.at, code="E003")
            raise _SyntaxError()
        return int(token.text)

    # Compound elements

    def _enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.diagnostics.error("maximum compound element nesting depth exceeded", self.token.at, code="E004")
            # Nothing below this depth can be made sense of: go straight to the end.
            self.lexer.position = len(self.lexer.text)
            self.token = self.lexer.next()
            raise _SyntaxError()

    def group(self) -> Group:
        at = self.advance().at
        self._enter()
        body: list[Statement] = []
        while True:
            body += self.statements((")", ","))
            if self.token.kind != ",":
                break
            self.advance()
        self.depth -= 1
        self.expect(")")
        return Group(body, at)

    def compound(self) -> Compound:
        at = self.advance().at
        self._enter()
        compound = Compound([], False, at)
        while True:
            if self.token.kind == "...":
                self.advance()
                compound.extends = True
                break
            compound.overloads.append(self.overload())
            if self.token.kind != "||":
                break
            self.advance()
        self.depth -= 1
        if self.token.kind != "}":
            raise self.fail("}")
        self.advance()
        return compound

    def overload(self) -> Overload:
        overload = Overload([], [], self.token.at)
        saved = (self.lexer.position, self.lexer._line, self.lexer._line_start, self.lexer._file, self.token)
        formals = self.formals()
        if formals is None:
            self.lexer.position, self.lexer._line, self.lexer._line_start, self.lexer._file, self.token = saved
        else:
            overload.formals, overload.has_bar = formals, True
        overload.body = self.statements(("}", "||"))
        return overload

    def formals(self) -> list[tuple[str, str]] | None:
        """``$a, KEYWORD $b |``, or None when what stands here is the body already."""
        formals: list[tuple[str, str]] = []
        if self.token.kind == "|":
            self.advance()
            return formals
        while True:
            keyword = ""
            if self.token.kind == "name":
                keyword = self.advance().text
            if self.token.kind != "variable":
                return None
            formals.append((keyword, self.advance().text.strip("${}")))
            if self.token.kind == "|":
                self.advance()
                return formals
            if self.token.kind != ",":
                return None
            self.advance()


def parse(text: str, file: str, diagnostics: Diagnostics) -> list[Statement]:
    """Parse a whole configuration. Errors go to ``diagnostics``; what could be understood is returned."""
    diagnostics.sources.setdefault(file, text)
    parser = _Parser(text, file, diagnostics)
    body = parser.statements(())
    return body
