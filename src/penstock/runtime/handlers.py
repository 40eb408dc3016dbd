"""Handlers: named values of elements and of the router that can be read and written while it runs."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock import __version__
from penstock.elements import catalog
from penstock.elements.element import Element, Handler, HandlerError, HandlerLookupError, text_of
from penstock.lang.source import ConfigurationError

if TYPE_CHECKING:
    from penstock.runtime.router import Router

__all__ = ["Handlers"]

_PORT_WORDS = {"h": "push", "l": "pull"}


def _reader(read: Callable[[], object]) -> Callable[[str], object]:
    return lambda _text: read()


class Handlers:
    """All handlers of one router."""

    def __init__(self, router: Router):
        self.router = router
        self.globals = self._global_handlers()
        for element in router.elements:
            self._defaults(element)

    # The handlers everybody has

    def _defaults(self, element: Element) -> None:
        own = dict(element.handlers)
        element.handlers.clear()
        element.handlers.update(own)
        defaults: list[tuple[str, Any]] = [
            ("name", lambda: element.name), ("class", lambda: element.class_name),
            ("config", lambda: element.arguments), ("ports", lambda: self._ports(element)),
            ("handlers", lambda: self._list(element.handlers)),
        ]
        for task in element.driver.tasks_of(element):
            defaults.append(("scheduled", lambda t=task: t.is_scheduled))
            defaults.append(("tickets", lambda t=task: t.tickets))
        for name, read in defaults:
            if name not in element.handlers:
                element.handlers[name] = Handler(name, _reader(read))
        if element.can_live_reconfigure:
            element.handlers["config"].write = lambda text: self.router.reconfigure(element, text)

    def _ports(self, element: Element) -> str:
        rules = catalog.port_rules(element.class_name, in_domain=self.router.is_isolated)
        lines: list[str] = []
        for word, codes, peers, half in (
            ("input", element.input_codes, element.input_peers, 0),
            ("output", element.output_codes, element.output_peers, 1),
        ):
            lines.append(f"{len(codes)} {word}{'' if len(codes) == 1 else 's'}")
            declared = (rules.processing.partition("/")[::2])[half] or rules.processing.partition("/")[0]
            for i, code in enumerate(codes):
                agnostic = "~" if (declared or "a")[min(i, len(declared or "a") - 1)] == "a" else ""
                others = ", ".join(f"{self.router.elements[e].name} [{p}]" for e, p in peers[i])
                lines.append(f"{_PORT_WORDS[code]}{agnostic}\t-\t{others}")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _list(handlers: dict[str, Handler]) -> str:
        return "".join(f"{h.name}\t{h.mode}\n" for h in handlers.values() if h.visible)

    def _global_handlers(self) -> dict[str, Handler]:
        router = self.router
        reads: list[tuple[str, Any]] = [
            ("version", lambda: __version__), ("driver", lambda: "userlevel"),
            ("config", lambda: router.source_text or router.configuration.text()),
            ("flatconfig", lambda: router.configuration.text()),
            ("requirements", lambda: "".join(f"{r}\n" for r in router.configuration.requirements)),
            ("list", lambda: f"{len(router.elements)}\n" + "".join(f"{e.name}\n" for e in router.elements)),
            ("classes", lambda: "".join(f"{n}\n" for n in catalog.class_names())),
            ("packages", lambda: ""), ("handlers", lambda: self._list(self.globals)),
        ]
        found = {name: Handler(name, _reader(read)) for name, read in reads}
        if router.allow_hotconfig:
            found["hotconfig"] = Handler("hotconfig", None, self._hotconfig)
        found["stop"] = Handler("stop", None, lambda text: router.stop(), "b")
        return found

    def _hotconfig(self, text: str) -> None:
        try:
            self.router.hotswap(text)
        except ConfigurationError as error:
            raise HandlerError("\n".join(error.diagnostics.click_lines())) from None

    # Finding them

    def find(self, name: str, context: str = "") -> tuple[Element | None, Handler]:
        """``element.handler``, ``handler`` or ``.handler`` (global), or ``number.handler``."""
        element_name, dot, handler_name = name.rpartition(".")
        if not dot or element_name in ("", "0"):
            handler = self.globals.get(handler_name)
            if handler is None and not dot:
                # A bare name may be a handler of the script's own compound (its pseudo-handlers).
                raise HandlerLookupError("handler", f"no '{name}' handler")
            if handler is None:
                raise HandlerLookupError("handler", f"no '{handler_name}' handler")
            return None, handler
        element = self.router.find(element_name, context)
        if element is None and element_name.isdigit() and 0 < int(element_name) <= len(self.router.elements):
            element = self.router.elements[int(element_name) - 1]
        if element is None:
            raise HandlerLookupError("element", f"no element named '{element_name}'")
        handler = element.handlers.get(handler_name)
        if handler is None:
            raise HandlerLookupError("handler", f"no '{element.name}.{handler_name}' handler")
        return element, handler

    def read(self, name: str, parameter: str = "", context: str = "") -> str:
        element, handler = self.find(name, context)
        if handler.read is None:
            raise HandlerLookupError("read", f"handler '{self._shown(element, handler)}' write-only")
        return text_of(handler.read(parameter))

    def write(self, name: str, value: str, context: str = "") -> None:
        element, handler = self.find(name, context)
        if handler.write is None:
            raise HandlerLookupError("write", f"handler '{self._shown(element, handler)}' read-only")
        try:
            handler.write(value)
        except HandlerError:
            raise
        except ValueError as error:
            raise HandlerError(str(error)) from None

    @staticmethod
    def _shown(element: Element | None, handler: Handler) -> str:
        return f"{element.name}.{handler.name}" if element is not None else f".{handler.name}"

    def matching(self, pattern: str) -> list[str]:
        """The readable handlers that ``-h`` asks for: a name, a glob over element names, or a class name."""
        element_pattern, dot, handler_pattern = pattern.rpartition(".")
        if not dot or not any(c in pattern for c in "*?["):
            by_class = [e for e in self.router.elements if e.class_name == element_pattern]
            if self.router.by_name.get(element_pattern) is not None or not by_class:
                self.find(pattern)
                return [pattern]
            return [f"{e.name}.{handler_pattern}" for e in by_class if handler_pattern in e.handlers]
        found: list[str] = []
        for element in self.router.elements:
            if not (fnmatch.fnmatchcase(element.name, element_pattern) or element.class_name == element_pattern):
                continue
            for name, handler in element.handlers.items():
                if handler.read is not None and fnmatch.fnmatchcase(name, handler_pattern):
                    found.append(f"{element.name}.{name}")
        if not found:
            raise HandlerLookupError("handler", f"no handlers match '{pattern}'")
        return found
