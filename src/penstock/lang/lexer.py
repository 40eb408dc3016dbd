"""Tokens of the Click language, with positions and the comments between them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.lang.source import Diagnostics, Landmark

__all__ = ["Lexer", "Token"]

_IDENTIFIER = re.compile(r"[A-Za-z0-9_@]+(?:/[A-Za-z0-9_@]+)*")
_VARIABLE = re.compile(r"\$[A-Za-z0-9_]+|\$\{[^}\n]*\}")
#: within a configuration: no quotes, comments, parentheses, and no line ends, at which lines are counted
_PLAIN = re.compile(r"""[^"'\\/()#\n]*(?:/[^"'\\/()#\n*][^"'\\/()#\n]*)*""")
_LINE_DIRECTIVE = re.compile(r'#[ \t]*(?:line[ \t]+)?(\d+)(?:[ \t]+"([^"\n]*)")?[^\n]*')
_SYMBOLS = ("...", "->", "=>", "::", "||", "(", ")", "[", "]", "{", "}", ",", ";", "|", "-")
KEYWORDS = frozenset({"elementclass", "require", "provide", "define"})


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is ``name``, ``variable``, ``end``, ``bad``, a keyword or the symbol itself."""

    kind: str
    text: str
    at: Landmark
    comments: tuple[str, ...] = ()
    after_newline: bool = False


class Lexer:
    """Cuts configuration text into tokens; the text inside parentheses comes out as one string."""

    def __init__(self, text: str, file: str, diagnostics: Diagnostics):
        self.text = text
        self.position = 0
        self.diagnostics = diagnostics
        self._file = file
        self._line = 1
        self._line_start = 0

    def _landmark(self) -> Landmark:
        return Landmark(self._file, self._line, self.position - self._line_start + 1)

    def _advance(self, end: int) -> None:
        newlines = self.text.count("\n", self.position, end)
        if newlines:
            self._line += newlines
            self._line_start = self.text.rfind("\n", self.position, end) + 1
        self.position = end

    def _line_directive(self) -> None:
        match = _LINE_DIRECTIVE.match(self.text, self.position)
        end = self.text.find("\n", self.position)
        end = len(self.text) if end < 0 else end + 1
        self._advance(end)
        if match:
            self._line = int(match[1][:9])
            if match[2] is not None:
                self._file = match[2]

    def _skip_comment(self) -> str | None:
        """Skip the comment that starts here, if one does, and give its text."""
        start = self.position
        if self.text.startswith("//", start):
            end = self.text.find("\n", start)
            end = len(self.text) if end < 0 else end
        elif self.text.startswith("/*", start):
            end = self.text.find("*/", start + 2)
            if end < 0:
                self.diagnostics.error("unterminated comment", self._landmark())
                end = len(self.text)
            else:
                end += 2
        else:
            return None
        self._advance(end)
        return self.text[start:end]

    def next(self) -> Token:
        comments: list[str] = []
        newline = self.position == 0
        while self.position < len(self.text):
            char = self.text[self.position]
            if char in " \t\r\n\f\v":
                newline = newline or char == "\n"
                self._advance(self.position + 1)
            elif char == "#" and self.position == self._line_start:
                self._line_directive()
                newline = True
            elif (comment := self._skip_comment()) is not None:
                # A comment on the line of the token before belongs to that line.
                comments.append(comment if newline else "\0" + comment)
            else:
                break
        at = self._landmark()
        if self.position >= len(self.text):
            return Token("end", "", at, tuple(comments), newline)
        for kind, pattern in (("variable", _VARIABLE), ("name", _IDENTIFIER)):
            if match := pattern.match(self.text, self.position):
                word = match[0]
                self._advance(match.end())
                if kind == "name" and word in KEYWORDS:
                    kind = word
                return Token(kind, word, at, tuple(comments), newline)
        for symbol in _SYMBOLS:
            if self.text.startswith(symbol, self.position):
                self._advance(self.position + len(symbol))
                return Token(symbol, symbol, at, tuple(comments), newline)
        if self.text.startswith(":", self.position):
            symbol = ":"
        else:
            symbol = self.text[self.position]
        self._advance(self.position + 1)
        return Token("bad", symbol, at, tuple(comments), newline)

    def configuration(self, opened: Landmark) -> str:
        """The raw text up to the parenthesis that closes the one just read (which is consumed too)."""
        start = self.position
        depth = 1
        pieces: list[str] = []
        while self.position < len(self.text):
            if (run := _PLAIN.match(self.text, self.position)) and run.end() > self.position:
                self.position = run.end()
                continue
            char = self.text[self.position]
            if char == "#" and self.position == self._line_start:
                pieces.append(self.text[start : self.position])
                self._line_directive()
                start = self.position
                continue
            if char in "\"'":
                self._skip_quoted(char)
                continue
            if char == "\\" and self.text.startswith("\\<", self.position):
                end = self.text.find(">", self.position)
                self._advance(len(self.text) if end < 0 else end + 1)
                continue
            if char == "/" and self._skip_comment() is not None:
                continue
            depth += (char == "(") - (char == ")")
            if depth == 0:
                pieces.append(self.text[start : self.position])
                self._advance(self.position + 1)
                return "".join(pieces).strip()
            self._advance(self.position + 1)
        self.diagnostics.error("expected ')'", opened, code="E002", suggestion="this parenthesis is never closed")
        pieces.append(self.text[start:])
        return "".join(pieces).strip()

    def _skip_quoted(self, mark: str) -> None:
        position = self.position + 1
        while position < len(self.text):
            if self.text[position] == "\\" and mark == '"':
                position += 2
                continue
            if self.text[position] == mark:
                self._advance(position + 1)
                return
            position += 1
        self._advance(len(self.text))
