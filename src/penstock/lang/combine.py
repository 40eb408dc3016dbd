"""Several routers as one configuration, joined where their devices are, and back (click-combine, click-uncombine)."""

from __future__ import annotations

from penstock.lang.configuration import Configuration, Connection, ElementUse
from penstock.lang.source import Landmark
from penstock.lang.text import split_arguments, split_words, unquote

__all__ = ["CombineError", "combine", "components", "uncombine"]

_LINK = "RouterLink"
_FROM, _TO = ("FromDevice", "PollDevice"), ("ToDevice",)


class CombineError(ValueError):
    """Routers cannot be combined, or a configuration does not hold that component."""


def _device(router: Configuration, device: str, classes: tuple[str, ...]) -> ElementUse | None:
    for use in router.elements:
        arguments = split_arguments(use.arguments) if use.arguments else []
        if use.class_name in classes and arguments and unquote(arguments[0]) == device:
            return use
    return None


def combine(routers: dict[str, Configuration], links: list[tuple[str, str, str, str]]) -> Configuration:
    """One configuration of all routers, elements named ROUTER/NAME. A link (from router, device, to router, device) makes what
    the one sends to its device the other's received packets. Raises :class:`CombineError`.
    """
    result = Configuration()
    places: dict[tuple[str, int], int] = {}
    replaced: set[tuple[str, int]] = set()
    joints: list[tuple[str, ElementUse, str, ElementUse]] = []
    for sender, out_device, receiver, in_device in links:
        for name in (sender, receiver):
            if name not in routers:
                raise CombineError(f"no router '{name}'")
        to, come = _device(routers[sender], out_device, _TO), _device(routers[receiver], in_device, _FROM)
        if to is None:
            raise CombineError(f"router '{sender}' has no ToDevice({out_device})")
        if come is None:
            raise CombineError(f"router '{receiver}' has no FromDevice({in_device})")
        if (sender, to.index) in replaced or (receiver, come.index) in replaced:
            raise CombineError(f"link {sender}.{out_device}={receiver}.{in_device}: one of the devices is linked already")
        replaced |= {(sender, to.index), (receiver, come.index)}
        joints.append((sender, to, receiver, come))
    for name, router in routers.items():
        for use in router.elements:
            if (name, use.index) not in replaced:
                places[name, use.index] = len(result.elements)
                result.elements.append(ElementUse(f"{name}/{use.name}", use.class_name, use.arguments, use.at, len(result.elements)))
        result.compounds |= {f"{name}/{k}": v for k, v in router.compounds.items()}
        result.requirements += [r for r in router.requirements if r not in result.requirements]
        result.compounds[name] = "<router>"
    for i, (sender, to, receiver, come) in enumerate(joints, 1):
        ends = ((sender, to), (receiver, come))
        arguments = ", ".join(f"{name}/{end.name} {end.class_name} {_quoted(end.arguments)}" for name, end in ends)
        places[sender, to.index] = places[receiver, come.index] = len(result.elements)
        result.elements.append(ElementUse(f"link{i}", _LINK, arguments, Landmark(), len(result.elements)))
    for name, router in routers.items():
        result.connections += [Connection(places[name, c.source], c.from_port, places[name, c.target], c.to_port, c.at)
                               for c in router.connections]
    result.connections.sort()
    return result


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def components(configuration: Configuration) -> list[str]:
    """The routers that a combined configuration holds."""
    found = dict.fromkeys(u.name.split("/")[0] for u in configuration.elements if "/" in u.name)
    return list(found)


def uncombine(configuration: Configuration, name: str) -> Configuration:
    """The router ``name`` out of a combined configuration, its devices as they were."""
    result = Configuration(requirements=list(configuration.requirements))
    places: dict[tuple[int, bool], int] = {}
    for use in configuration.elements:
        if use.class_name == _LINK:
            ends = split_arguments(use.arguments)
            for is_sender, end in zip((True, False), ends):
                words = split_words(end)
                if len(words) >= 2 and words[0].split("/")[0] == name:
                    places[use.index, is_sender] = len(result.elements)
                    arguments = unquote(words[2]) if len(words) > 2 else ""
                    result.elements.append(ElementUse(words[0].split("/", 1)[1], words[1], arguments, use.at, len(result.elements)))
        elif use.name.startswith(name + "/"):
            places[use.index, True] = places[use.index, False] = len(result.elements)
            result.elements.append(ElementUse(use.name.split("/", 1)[1], use.class_name, use.arguments, use.at, len(result.elements)))
    if not result.elements:
        known = ", ".join(components(configuration)) or "none"
        raise CombineError(f"no component '{name}' (there are: {known})")
    for c in configuration.connections:
        source, target = places.get((c.source, False)), places.get((c.target, True))
        if source is not None and target is not None:
            result.connections.append(Connection(source, c.from_port, target, c.to_port, c.at))
    result.connections.sort()
    return result
