"""Configuration strings: splitting into arguments and words, quoting and variable expansion."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["expand_variables", "join_arguments", "quote_word", "split_arguments", "split_words", "unquote"]

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_VARIABLE = re.compile(r"\$(?:([A-Za-z0-9_]+)|\{([A-Za-z0-9_?#$]*)(\[[^\]{}]*\])?(?:-([^}]*))?\}|([?#$]))")
MAX_EXPANSION_DEPTH = 10
_QUOTE = re.compile(r"""["'\\]""")
#: characters that stand for themselves, as many at a time as there are: large tables are long texts
_PLAIN_ARGUMENT, _PLAIN_WORD = re.compile(r"""[^"'\\/,]+"""), re.compile(r"""[^\s"'\\]+""")


def _skip_token(text: str, i: int) -> int:
    """The position after the quoted string, ``\\<hex>`` or single character at ``i``."""
    char = text[i]
    if char in "\"'":
        i += 1
        while i < len(text):
            if text[i] == "\\" and char == '"':
                i += 2
            elif text[i] == char:
                return i + 1
            else:
                i += 1
        return len(text)
    if text.startswith("\\<", i):
        end = text.find(">", i)
        return len(text) if end < 0 else end + 1
    return i + 1


def _skip_comment(text: str, i: int) -> int:
    if text.startswith("//", i):
        end = text.find("\n", i)
        return len(text) if end < 0 else end
    if text.startswith("/*", i):
        end = text.find("*/", i + 2)
        return len(text) if end < 0 else end + 2
    return i


def split_arguments(text: str) -> list[str]:
    """Split at commas outside quotes, without comments; a trailing empty argument is dropped."""
    if _QUOTE.search(text) is None and "//" not in text and "/*" not in text:
        plain = list(map(str.strip, text.split(",")))
        return plain if plain[-1] else plain[:-1]
    arguments: list[str] = []
    piece: list[str] = []
    i = 0
    while i < len(text):
        if run := _PLAIN_ARGUMENT.match(text, i):
            piece.append(run[0])
            i = run.end()
        elif text[i] == ",":
            arguments.append("".join(piece).strip())
            piece = []
            i += 1
        elif (after := _skip_comment(text, i)) != i:
            piece.append(" ")
            i = after
        else:
            end = _skip_token(text, i)
            piece.append(text[i:end])
            i = end
    last = "".join(piece).strip()
    if last:
        arguments.append(last)
    return arguments


def join_arguments(arguments: list[str]) -> str:
    return ", ".join(arguments)


def split_words(text: str) -> list[str]:
    """Split at white space outside quotes; the quotes stay."""
    if _QUOTE.search(text) is None:
        return text.split()
    words: list[str] = []
    i = 0
    while i < len(text):
        if text[i].isspace():
            i += 1
            continue
        start = i
        while i < len(text) and not text[i].isspace():
            run = _PLAIN_WORD.match(text, i)
            i = run.end() if run else _skip_token(text, i)
        words.append(text[start:i])
    return words


def unquote(text: str) -> str:
    """Remove Click's quotes: ``'..'``, ``".."`` with backslash escapes, and ``\\<hex bytes>``."""
    if _QUOTE.search(text) is None:
        return text
    out: list[str] = []
    i = 0
    while i < len(text):
        if text.startswith("\\<", i):
            end = _skip_token(text, i)
            out.append(_hex_bytes(text[i + 2 : end]))
            i = end
        elif text[i] == "'":
            end = _skip_token(text, i)
            out.append(text[i + 1 : end - 1 if end > i + 1 and text[end - 1] == "'" else end])
            i = end
        elif text[i] == '"':
            end = _skip_token(text, i)
            out.append(_unescape(text[i + 1 : end - 1 if end > i + 1 and text[end - 1] == '"' else end]))
            i = end
        else:
            out.append(text[i])
            i += 1
    return "".join(out)


def _hex_bytes(text: str) -> str:
    digits = re.sub(r"[^0-9A-Fa-f]", "", text)
    return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("latin-1")


def _unescape(text: str) -> str:
    out: list[str] = []
    i = 0
    while i < len(text):
        if text[i] != "\\" or i + 1 >= len(text):
            out.append(text[i])
            i += 1
            continue
        char = text[i + 1]
        if char in "01234567":
            octal = re.match(r"[0-7]{1,3}", text[i + 1 :])
            assert octal
            out.append(chr(int(octal[0], 8) & 0xFF))
            i += 1 + len(octal[0])
        elif char == "x" and (digits := re.match(r"[0-9A-Fa-f]+", text[i + 2 :])):
            out.append(chr(int(digits[0][-2:], 16)))
            i += 2 + len(digits[0])
        elif char == "<":
            end = _skip_token(text, i)
            out.append(_hex_bytes(text[i + 2 : end]))
            i = end
        elif char == "\n":
            i += 2
        else:
            out.append(_ESCAPES.get(char, char))
            i += 2
    return "".join(out)


def quote_word(text: str) -> str:
    """Quote ``text`` so that it reads back as one word; unchanged where no quotes are needed."""
    if text and re.fullmatch(r"[^\s\"'\\,$#/(){}\[\];]+|/[^\s\"'\\,$#/*(){};][^\s\"'\\,$#(){};]*", text):
        return text
    body = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n").replace("\t", "\\t")
    return f'"{body}"'


def closing_parenthesis(text: str, start: int) -> int:
    """The position of the parenthesis that closes the one at ``start``, or the end of the text."""
    depth = 0
    i = start
    while i < len(text):
        if text[i] in "\"'":
            i = _skip_token(text, i)
            continue
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
        i += 1
    return len(text)


def expand_variables(
    text: str, lookup: Callable[[str], str | None], depth: int = 0, *, call: Callable[[str], str] | None = None
) -> str:
    """Replace ``$x``, ``${x}``, ``${x-default}`` and ``${x[n]}``; unknown variables stay as text.

    Not inside single quotes; inside double quotes a value loses its own quotes and is escaped again. With
    ``call``, ``$(text)`` is replaced too, by what it gives for the expanded text.
    """
    if "$" not in text:
        return text
    out: list[str] = []
    i = 0
    in_double = False
    while i < len(text):
        char = text[i]
        if char == "'" and not in_double:
            end = _skip_token(text, i)
            out.append(text[i:end])
            i = end
        elif char == "\\" and in_double and i + 1 < len(text):
            out.append(text[i : i + 2])
            i += 2
        elif char == '"':
            in_double = not in_double
            out.append(char)
            i += 1
        elif call is not None and text.startswith("$(", i):
            end = closing_parenthesis(text, i + 1)
            result = call(expand_variables(text[i + 2 : end], lookup, depth, call=call))
            out.append(result.replace("\\", "\\\\").replace('"', '\\"') if in_double else result)
            i = end + 1
        elif char == "$" and (match := _VARIABLE.match(text, i)):
            value = _value(match, lookup, depth)
            if value is None:
                out.append(match[0])
            elif in_double:
                out.append(unquote(value).replace("\\", "\\\\").replace('"', '\\"'))
            else:
                out.append(value)
            i = match.end()
        else:
            out.append(char)
            i += 1
    return "".join(out)


def _value(match: re.Match[str], lookup: Callable[[str], str | None], depth: int) -> str | None:
    name = match[1] or match[2] or match[5] or ""
    value = lookup(name)
    if value is None:
        return match[4]
    if depth < MAX_EXPANSION_DEPTH and "$" in value:
        value = expand_variables(value, lambda n: None if n == name else lookup(n), depth + 1)
    if match[3]:
        words = split_words(value)
        index = match[3][1:-1]
        value = words[int(index)] if index.isdigit() and len(index) < 9 and int(index) < len(words) else ""
    return value
