"""Click's tools over configurations, under their own names: click-flatten, click-check, click-pretty, click-undead, …

All take a configuration from a file (``-f``, or the one argument), from ``-e``, or from standard input, and write to ``-o`` or
standard output; ``NAME=VALUE`` sets a variable.
"""

from __future__ import annotations

import contextlib
import html
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from penstock.cli.configuration import Loaded, report
from penstock.elements import catalog
from penstock.lang.configuration import Configuration
from penstock.lang.load import flatten, read_configuration
from penstock.lang.source import Diagnostics

__all__ = ["align", "buildtool", "check", "combine", "devirtualize", "fastclassifier", "flat", "pretty", "uncombine", "undead", "xform"]

_VARIABLE = re.compile(r"\w+=")


class _UsageError(Exception):
    """The command line cannot be used; the message says why."""


@dataclass
class _Request:
    tool: str
    file: str | None = None
    expression: str | None = None
    output: str | None = None
    clickpath: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


#: short option -> long option; a value follows where the long one is in the tool's or the common values
_SHORT = {"f": "file", "e": "expression", "o": "output", "C": "clickpath", "v": "version", "h": "help"}
_VALUES = {"file", "expression", "output", "clickpath"}
_FLAGS = {"version", "help"}


def _parse(tool: str, arguments: list[str], values: dict[str, str], flags: dict[str, str]) -> _Request:
    """``values`` and ``flags``: short name -> long name of the tool's own options (a short name may be "")."""
    request = _Request(tool)
    with_value = _VALUES | set(values.values())
    known = with_value | _FLAGS | set(flags.values())
    short = {**_SHORT, **{k: v for k, v in (values | flags).items() if len(k) == 1}}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "-" or not word.startswith("-"):
            request.words.append(word)
            continue
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            matches = [name] if name in known else [k for k in known if k.startswith(name)]
            if len(matches) != 1:
                raise _UsageError(f"option '--{name}' is {'ambiguous' if matches else 'not known'}")
            name = matches[0]
        else:
            name = short.get(word[1], "")
            if not name:
                raise _UsageError(f"option '-{word[1]}' is not known")
            value, equals = word[2:], "=" if len(word) > 2 else ""
        if name in with_value:
            if not equals:
                if not rest:
                    raise _UsageError(f"option '{word}' needs a value")
                value = rest.pop(0)
            if name in ("file", "expression", "output", "clickpath"):
                setattr(request, name, value)
            else:
                request.values.setdefault(name, []).append(value)
        else:
            request.flags.add(name)
    return request


def _load(request: _Request, *, name: str | None = None, known: Callable[[str], bool] | None = None) -> Loaded | None:
    """The configuration ``name``, or the request's; None where it has errors, which are told."""
    diagnostics = Diagnostics()
    if name is None and request.expression is not None:
        loaded = Loaded(request.expression, "config", diagnostics)
    else:
        loaded = Loaded(*read_configuration(name or request.file or "-", diagnostics), diagnostics)
    diagnostics.sources[loaded.file] = loaded.text
    if not diagnostics.errors:
        library = tuple(Path(folder) / "conf" for folder in request.clickpath.split(":") if folder)
        loaded.flat = flatten(loaded.text, file=loaded.file, known_classes=known or catalog.is_known, class_names=catalog.class_names,
                              variables=request.variables, library_path=library, diagnostics=diagnostics)
    return None if report(diagnostics) else loaded


def _write(request: _Request, text: str) -> int:
    if request.output in (None, "-"):
        sys.stdout.write(text)
        return 0
    try:
        Path(str(request.output)).write_text(text, "utf-8", "surrogateescape")
    except OSError as error:
        print(f"{request.tool}: {request.output}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _run(tool: str, what: str, work: Callable[[_Request], int], *, values: dict[str, str] | None = None,
         flags: dict[str, str] | None = None, arguments: list[str] | None = None, takes_words: bool = False) -> int:
    """What the tools share: options, variables, help, errors."""
    words = sys.argv[1:] if arguments is None else arguments
    values, flags = values or {}, flags or {}
    try:
        request = _parse(tool, words, values, flags)
        if "help" in request.flags:
            own = "".join(f"  --{name}{' VALUE' if name in values.values() else ''}\n" for name in [*values.values(), *flags.values()])
            print(f"usage: {tool} [OPTIONS] [FILE] [NAME=VALUE...]\n\n{what}\n\n  -f, --file FILE\n  -e, --expression TEXT\n"
                  f"  -o, --output FILE\n  -C, --clickpath PATH\n{own}  -v, --version\n  --help")
            return 0
        if "version" in request.flags:
            from penstock import __version__

            print(f"{tool} (penstock) {__version__}")
            return 0
        if not takes_words:
            for word in request.words:
                if _VARIABLE.match(word):
                    name, _, value = word.partition("=")
                    request.variables[name] = value
                elif request.file is None and request.expression is None:
                    request.file = word
                else:
                    raise _UsageError("router configuration specified twice")
        return work(request)
    except _UsageError as error:
        print(f"{tool}: {error}\nTry '{tool} --help' for more information.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1


def _through(request: _Request) -> int:
    loaded = _load(request)
    if loaded is None or loaded.flat is None:
        return 1
    return _write(request, loaded.flat.text())


def flat(arguments: list[str] | None = None) -> int:
    """``click-flatten``: without compound elements."""
    return _run("click-flatten", "Write a configuration without compound elements.", _through, arguments=arguments)


def align(arguments: list[str] | None = None) -> int:
    """``click-align``: every access is good at any address here, so nothing needs to be aligned."""
    return _run("click-align", "Write a configuration as it is: no alignment is needed on this machine.", _through, arguments=arguments)


def _said(tool: str, text: str) -> Callable[[_Request], int]:
    def work(request: _Request) -> int:
        print(f"{tool}: {text}", file=sys.stderr)
        return _through(request)

    return work


def fastclassifier(arguments: list[str] | None = None) -> int:
    """``click-fastclassifier``: classifiers are always compiled here."""
    return _run("click-fastclassifier", "Write a configuration as it is: classifiers are always compiled.",
                _said("click-fastclassifier", "classifiers are always compiled; the configuration passes as it is"), arguments=arguments,
                flags={"k": "kernel", "u": "userlevel", "s": "source", "c": "config", "r": "reverse"})


def devirtualize(arguments: list[str] | None = None) -> int:
    """``click-devirtualize``: there are no virtual calls here."""
    return _run("click-devirtualize", "Write a configuration as it is: there are no virtual calls.",
                _said("click-devirtualize", "there are no virtual calls; the configuration passes as it is"), arguments=arguments,
                flags={"k": "kernel", "u": "userlevel", "s": "source", "c": "config", "r": "reverse"},
                values={"i": "instructions", "n": "no-devirtualize"})


def check(arguments: list[str] | None = None) -> int:
    """``click-check``: is it a good configuration?"""
    def work(request: _Request) -> int:
        from penstock.lang.source import ConfigurationError
        from penstock.runtime.router import Router

        loaded = _load(request)
        if loaded is None or loaded.flat is None:
            return 1
        loaded.diagnostics.entries.clear()
        with contextlib.suppress(ConfigurationError):
            Router(loaded.flat, diagnostics=loaded.diagnostics, check_only=True)
        if report(loaded.diagnostics):
            return 1
        return _write(request, loaded.flat.text()) if request.output is not None or "filter" in request.flags else 0

    return _run("click-check", "Tell what is wrong with a configuration; exit status 1 if something is.", work, arguments=arguments,
                flags={"p": "filter", "u": "userlevel", "k": "kernel", "b": "bsdmodule", "a": "all"})


def undead(arguments: list[str] | None = None) -> int:
    """``click-undead``: without what no packet gets to."""
    def work(request: _Request) -> int:
        from penstock.lang.undead import without_dead

        loaded = _load(request)
        if loaded is None or loaded.flat is None:
            return 1

        def generates(name: str) -> bool:
            found = catalog.find(name)
            return found is not None and (found.may_generate or found.ports.startswith("0"))

        result = without_dead(loaded.flat, generates)
        if "verbose" in request.flags:
            left = {u.name for u in result.elements}
            for use in loaded.flat.elements:
                if use.name not in left:
                    print(f"{use.at}: '{use}' is dead", file=sys.stderr)
        return _write(request, result.text())

    return _run("click-undead", "Write a configuration without dead elements.", work, arguments=arguments,
                flags={"V": "verbose", "k": "kernel", "u": "userlevel"})


def pretty(arguments: list[str] | None = None) -> int:
    """``click-pretty``: a configuration as a page."""
    def work(request: _Request) -> int:
        from penstock.lang.format import format_configuration
        from penstock.lang.graph import to_svg

        loaded = _load(request)
        if loaded is None or loaded.flat is None:
            return 1
        text = format_configuration(loaded.text, file=loaded.file)
        drawing = to_svg(loaded.flat, catalog.port_rules)
        return _write(request, _page(loaded.file, text, drawing[drawing.index("<svg") :], loaded.flat))

    return _run("click-pretty", "Write a configuration as an HTML page: its text, its drawing, its elements.", work, arguments=arguments)


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff } pre { line-height: 1.4; overflow-x: auto }
.c { color: #777 } .s { color: #a31515 } .k { font-weight: bold } a { color: #1b5e8a; text-decoration: none }
a:hover { text-decoration: underline }
td, th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top } svg { max-width: 100%; height: auto; background: #fff }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181a1b } a { color: #7fb8e0 } .s { color: #e08a7f } }
"""
_TOKENS = re.compile(r"""(?P<c>//[^\n]*|/\*.*?\*/)|(?P<s>"(?:[^"\\]|\\.)*"|'[^']*')
    |(?P<k>\belementclass\b|\brequire\b|\bdefine\b|->)|(?P<n>[A-Za-z_@][\w@/]*)""", re.S | re.X)


def _page(title: str, text: str, drawing: str, configuration: Configuration) -> str:
    names = {u.name for u in configuration.elements}

    def marked(found: re.Match[str]) -> str:
        kind, word = found.lastgroup, html.escape(found[0])
        if kind != "n":
            return f'<span class="{kind}">{word}</span>'
        if found[0] in names:
            return f'<a href="#e-{word}">{word}</a>'
        cls = catalog.find(found[0])
        if cls is not None:
            told = html.escape((cls.__doc__ or "").strip().splitlines()[0] if cls.__doc__ else "")
            return f'<span class="k" title="{told}">{word}</span>'
        return word

    code, at = [], 0
    for found in _TOKENS.finditer(text):
        code += [html.escape(text[at : found.start()]), marked(found)]
        at = found.end()
    code.append(html.escape(text[at:]))
    rows = "".join(f'<tr id="e-{html.escape(u.name)}"><td>{html.escape(u.name)}</td><td>{html.escape(u.class_name)}</td>'
                   f"<td>{html.escape(u.arguments)}</td></tr>" for u in configuration.elements)
    return ("<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
            f"<title>{html.escape(title)}</title>"
            f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>\n<pre>{''.join(code)}</pre>\n{drawing}\n"
            f"<table><tr><th>element</th><th>class</th><th>configuration</th></tr>{rows}</table></html>\n")


def combine(arguments: list[str] | None = None) -> int:
    """``click-combine``: several routers in one configuration."""
    def work(request: _Request) -> int:
        from penstock.lang.combine import CombineError
        from penstock.lang.combine import combine as joined

        routers: dict[str, Configuration] = {}
        for word in request.words + [f"{n}={f}" for n, _, f in (v.partition("=") for v in request.values.get("name", []))]:
            name, equals, file = word.partition("=")
            if not equals:
                name, file = f"router{len(routers) + 1}", word
            loaded = _load(request, name=file)
            if loaded is None or loaded.flat is None:
                return 1
            routers[name] = loaded.flat
        links = []
        for text in request.values.get("link", []):
            found = re.fullmatch(r"(\w+)\.([\w.:-]+)=(\w+)\.([\w.:-]+)", text)
            if not found:
                raise _UsageError(f"link '{text}' should be 'ROUTER1.DEVICE1=ROUTER2.DEVICE2'")
            links.append((found[1], found[2], found[3], found[4]))
        if not routers:
            raise _UsageError("no routers to combine: give ROUTER=FILE")
        try:
            return _write(request, joined(routers, links).text())
        except CombineError as error:
            print(f"click-combine: {error}", file=sys.stderr)
            return 1

    return _run("click-combine", "Write several routers (ROUTER=FILE …) as one configuration, joined by links.", work, arguments=arguments,
                values={"l": "link", "n": "name"}, flags={"c": "config"}, takes_words=True)


def uncombine(arguments: list[str] | None = None) -> int:
    """``click-uncombine``: one router out of a combined configuration."""
    def work(request: _Request) -> int:
        from penstock.lang.combine import CombineError, components
        from penstock.lang.combine import uncombine as taken

        known = lambda name: name == "RouterLink" or catalog.is_known(name)  # noqa: E731
        *files, wanted = [*request.words, ""] if request.flags & {"list"} or "name" in request.values else request.words or [""]
        if files:
            request.file = files[0]
        loaded = _load(request, known=known)
        if loaded is None or loaded.flat is None:
            return 1
        if "list" in request.flags:
            return _write(request, "".join(f"{name}\n" for name in components(loaded.flat)))
        name = request.values.get("name", [wanted])[-1]
        try:
            return _write(request, taken(loaded.flat, name).text())
        except CombineError as error:
            print(f"click-uncombine: {error}", file=sys.stderr)
            return 1

    return _run("click-uncombine", "Write one router (the last argument, or -n NAME) of a combined configuration.", work,
                arguments=arguments, values={"n": "name"}, flags={"l": "list"}, takes_words=True)


def xform(arguments: list[str] | None = None) -> int:
    """``click-xform``: replace patterns."""
    def work(request: _Request) -> int:
        from penstock.lang.xform import apply_patterns, read_patterns

        patterns = []
        texts = [(text, "pattern") for text in request.values.get("pattern-expr", [])]
        diagnostics = Diagnostics()
        texts += [read_configuration(name, diagnostics) for name in request.values.get("patterns", [])]
        for text, shown in texts:
            diagnostics.sources[shown] = text
            patterns += read_patterns(text, shown, diagnostics)
        if report(diagnostics):
            return 1
        if not patterns:
            raise _UsageError("no patterns: give -p FILE")
        names = {u.class_name for p in patterns for u in [*p.pattern.elements, *p.replacement.elements]}
        loaded = _load(request, known=lambda name: name in names or catalog.is_known(name))
        if loaded is None or loaded.flat is None:
            return 1
        result, count = apply_patterns(loaded.flat, patterns)
        if "verbose" in request.flags:
            print(f"click-xform: {count} replacement{'s' if count != 1 else ''}", file=sys.stderr)
        return _write(request, result.text())

    return _run("click-xform", "Replace patterns (elementclass NAME, and NAME_Replacement) in a configuration.", work, arguments=arguments,
                values={"p": "patterns", "P": "pattern-expr"}, flags={"V": "verbose"})


def buildtool(arguments: list[str] | None = None) -> int:
    """``click-buildtool provides NAME…``: whether element classes and features are there."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] != "provides" or len(words) < 2:
        print("usage: click-buildtool provides NAME...", file=sys.stderr)
        return 2
    features = {"userlevel", "ip", "ip6", "analysis", "linux", "int64", "click-2.1"}
    names = [w for w in words[1:] if not w.startswith("-")]
    missing = [n for n in names if n not in features and not catalog.is_known(n)]
    if missing:
        print(f"click-buildtool: not provided: {' '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0
