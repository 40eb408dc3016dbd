"""Click's argument conventions: typed values, and the assignment of arguments to parameters.

An element says what it takes by the signature of its ``configure`` method: positional parameters come in
order, keyword-only parameters are Click keywords in upper case, a default makes one optional, ``*rest``
takes what is left. The annotation is the type: ``int``, ``bool``, ``float``, ``str`` or one of the names here.
"""

from __future__ import annotations

import functools
import inspect
import ipaddress
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from penstock.lang.elaborate import split_keyword
from penstock.lang.text import split_arguments, split_words, unquote

__all__ = [
    "Anno1", "Anno2", "Anno4", "ArgumentContext", "ArgumentError", "Bandwidth", "Byte", "Bytes", "ElementName",
    "EtherAddress", "Filename", "IP6Address", "IPAddress", "IPAddressList", "IPPrefix", "IPPrefixList", "Port",
    "Raw", "Seconds", "UInt16", "UInt32", "Word", "assign_arguments", "parse_bandwidth", "parse_bool", "parse_ether",
    "parse_int", "parse_ip", "parse_prefix", "parse_real", "parse_seconds", "unparse_bandwidth", "unparse_ether",
    "unparse_ip", "unparse_prefix",
]


class ArgumentError(ValueError):
    """One argument cannot be used; the message is Click's wording, without the keyword."""


@dataclass
class ArgumentContext:
    """What argument values may refer to: names from information elements, and annotation names."""

    addresses: dict[str, dict[str, Any]]
    annotations: dict[str, tuple[int, int]]
    #: rewriting patterns by name, from IPRewriterPatterns
    patterns: dict[str, Any] = field(default_factory=dict)
    #: elements that choose among rewriting patterns, by name
    mappers: dict[str, Any] = field(default_factory=dict)
    #: ports by name and protocol, from PortInfo
    ports: dict[str, dict[str, int]] = field(default_factory=dict)


_INTEGER = re.compile(r"([+-]?)(0[xX][0-9A-Fa-f_]+|0[bB][01_]+|[0-9][0-9_]*)$")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_TIME_UNITS = {
    "": 1.0, "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "ms": 1e-3, "msec": 1e-3, "msecs": 1e-3, "us": 1e-6, "usec": 1e-6, "usecs": 1e-6, "ns": 1e-9, "nsec": 1e-9,
    "m": 60.0, "min": 60.0, "mins": 60.0, "minute": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
}
_BANDWIDTH_UNITS = {"bps": 0.125, "baud": 0.125, "Bps": 1.0, "b/s": 0.125, "B/s": 1.0}
_SCALES = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}


def parse_int(text: str, low: int | None = None, high: int | None = None) -> int:
    """Decimal, ``0x``, ``0b`` or leading-zero octal, with ``_`` between digits."""
    match = _INTEGER.match(text)
    if not match or text.endswith("_") or "__" in text or len(text) > 100:
        raise ArgumentError("invalid number")
    digits = match[2].replace("_", "")
    try:
        if digits[:2] in ("0x", "0X", "0b", "0B"):
            value = int(digits, 0)
        elif len(digits) > 1 and digits[0] == "0":
            value = int(digits, 8)
        else:
            value = int(digits)
    except ValueError:
        raise ArgumentError("invalid number") from None
    value = -value if match[1] == "-" else value
    if low is not None and value < low:
        raise ArgumentError("must be >= 0" if low == 0 else f"out of range, bound {low}")
    if high is not None and value > high:
        raise ArgumentError(f"out of range, bound {high}")
    return value


def parse_real(text: str) -> float:
    if not _REAL.match(text) or len(text) > 100:
        raise ArgumentError("invalid real number")
    return float(text)


def parse_bool(text: str) -> bool:
    word = text.lower()
    if word in ("true", "t", "yes", "y", "1"):
        return True
    if word in ("false", "f", "no", "n", "0"):
        return False
    raise ArgumentError("syntax error")


def parse_seconds(text: str) -> float:
    """A duration in seconds; ``10ms``, ``2 min`` and the like."""
    match = re.match(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([a-z]*)$", text)
    if not match or match[2] not in _TIME_UNITS:
        raise ArgumentError("invalid time")
    return float(match[1]) * _TIME_UNITS[match[2]]


def parse_bandwidth(text: str) -> float:
    """A bandwidth in bytes a second. A bare number is bytes a second (Click warns of it)."""
    match = re.match(r"(\d+\.?\d*|\.\d+)\s*([kKMG]?)([A-Za-z/]*)$", text)
    if not match or (match[3] not in _BANDWIDTH_UNITS and not (match[3] == "" and match[2] == "")):
        raise ArgumentError("parse error")
    return float(match[1]) * _SCALES[match[2]] * _BANDWIDTH_UNITS.get(match[3], 1.0)


def unparse_bandwidth(bytes_per_second: float) -> str:
    bits = bytes_per_second * 8
    for scale, name in ((1e9, "Gbps"), (1e6, "Mbps"), (1e3, "kbps")):
        if bits >= scale and bits % scale == 0:
            return f"{bits / scale:g}{name}"
    return f"{bits:.12g}bps"


def parse_ip(text: str, context: ArgumentContext | None = None) -> int:
    """An IPv4 address as a number (most significant byte first)."""
    if re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", text):
        octets = [int(o) for o in text.split(".")]
        if max(octets) < 256:
            return octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3]
    name = text.removesuffix(":ip").removesuffix(":ip4")
    if context and (known := context.addresses.get(name, {}).get("ip")) is not None:
        return int(known)
    raise ArgumentError("invalid IP address")


def unparse_ip(address: int) -> str:
    return f"{address >> 24 & 255}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def unparse_prefix(address: int, mask: int) -> str:
    """``a.b.c.d/len``, or ``a.b.c.d/mask`` where the mask is not a prefix."""
    ones = mask.bit_count()
    if mask == (0xFFFFFFFF << (32 - ones)) & 0xFFFFFFFF:
        return f"{unparse_ip(address)}/{ones}"
    return f"{unparse_ip(address)}/{unparse_ip(mask)}"


def unparse_ether(address: int) -> str:
    return "-".join(f"{address >> s & 255:02X}" for s in (40, 32, 24, 16, 8, 0))


def parse_prefix(text: str, context: ArgumentContext | None = None) -> tuple[int, int]:
    """``a.b.c.d/len``, ``a.b.c.d/mask`` or a bare address, as (address, mask)."""
    address, slash, length = text.partition("/")
    if not slash:
        name = text.removesuffix(":ipnet")
        if context and (known := context.addresses.get(name, {}).get("ipnet")) is not None:
            return typing.cast("tuple[int, int]", known)
        return parse_ip(address, context), 0xFFFFFFFF
    if re.fullmatch(r"\d{1,2}", length) and int(length) <= 32:
        mask = (0xFFFFFFFF << (32 - int(length))) & 0xFFFFFFFF
    elif "." in length:
        mask = parse_ip(length)
    else:
        raise ArgumentError("invalid IP prefix")
    if address.count(".") < 3 and re.fullmatch(r"\d{1,3}(\.\d{1,3}){0,2}", address):
        address += ".0" * (3 - address.count("."))
    return parse_ip(address, context), mask


def parse_ip6(text: str) -> int:
    try:
        return int(ipaddress.IPv6Address(text))
    except ValueError:
        raise ArgumentError("invalid IPv6 address") from None


def parse_ether(text: str, context: ArgumentContext | None = None) -> int:
    """An Ethernet address as a 48-bit number."""
    if re.fullmatch(r"[0-9A-Fa-f]{1,2}([:-][0-9A-Fa-f]{1,2}){5}", text):
        return int("".join(f"{int(o, 16):02x}" for o in re.split("[:-]", text)), 16)
    name = text.removesuffix(":eth").removesuffix(":ether")
    if context and (known := context.addresses.get(name, {}).get("eth")) is not None:
        return int(known)
    raise ArgumentError("invalid Ethernet address")


def parse_port(text: str, context: ArgumentContext) -> int:
    """A port: a number, or a name that PortInfo gives."""
    known = context.ports.get(text)
    if known:
        return next(iter(known.values()))
    return parse_int(text, 0, 0xFFFF)


def parse_anno(text: str, size: int, context: ArgumentContext) -> int:
    """A packet annotation, by name or byte offset; ``size`` bytes must fit (0: any)."""
    if text in context.annotations:
        offset, length = context.annotations[text]
        if size and length != size and length != 0:
            raise ArgumentError(f"annotation size mismatch, {text} is {length} bytes")
        return offset
    try:
        offset = parse_int(text.split("/")[0])
    except ArgumentError:
        raise ArgumentError("invalid annotation") from None
    if not 0 <= offset <= 48 - max(size, 1):
        raise ArgumentError("annotation out of range")
    return offset


def _list_of(parse: Callable[[str, ArgumentContext], Any]) -> Callable[[str, ArgumentContext], Any]:
    return lambda text, context: tuple(parse(unquote(w), context) for w in split_words(text))


@dataclass(frozen=True)
class _Kind:
    """A named argument type: how a word becomes a value. ``takes_text``: quotes and blanks are kept."""

    name: str
    parse: Callable[[str, ArgumentContext], Any]
    takes_text: bool = False


def _int_kind(name: str, low: int, high: int) -> _Kind:
    return _Kind(name, lambda t, c: parse_int(t, low, high))


if TYPE_CHECKING:
    UInt16: TypeAlias = int
    UInt32: TypeAlias = int
    Byte: TypeAlias = int
    Port: TypeAlias = int
    Seconds: TypeAlias = float
    Bandwidth: TypeAlias = float
    IPAddress: TypeAlias = int
    IP6Address: TypeAlias = int
    EtherAddress: TypeAlias = int
    IPPrefix: TypeAlias = tuple[int, int]
    IPAddressList: TypeAlias = tuple[int, ...]
    IPPrefixList: TypeAlias = tuple[tuple[int, int], ...]
    Filename: TypeAlias = str
    Word: TypeAlias = str
    ElementName: TypeAlias = str
    Raw: TypeAlias = str
    Bytes: TypeAlias = bytes
    Anno1: TypeAlias = int
    Anno2: TypeAlias = int
    Anno4: TypeAlias = int
else:
    UInt16 = Annotated[int, _int_kind("UINT16", 0, 0xFFFF)]
    UInt32 = Annotated[int, _int_kind("UINT", 0, 0xFFFFFFFF)]
    Byte = Annotated[int, _int_kind("BYTE", 0, 0xFF)]
    Port = Annotated[int, _Kind("PORT", lambda t, c: parse_port(t, c))]
    Seconds = Annotated[float, _Kind("TIME", lambda t, c: parse_seconds(t))]
    Bandwidth = Annotated[float, _Kind("BANDWIDTH", lambda t, c: parse_bandwidth(t))]
    IPAddress = Annotated[int, _Kind("IPADDR", parse_ip)]
    IP6Address = Annotated[int, _Kind("IP6ADDR", lambda t, c: parse_ip6(t))]
    EtherAddress = Annotated[int, _Kind("ETHERADDR", parse_ether)]
    IPPrefix = Annotated[tuple, _Kind("IPADDR/MASK", parse_prefix)]
    IPAddressList = Annotated[tuple, _Kind("IPADDR_LIST", _list_of(parse_ip))]
    IPPrefixList = Annotated[tuple, _Kind("IPPREFIX_LIST", _list_of(parse_prefix))]
    Filename = Annotated[str, _Kind("FILENAME", lambda t, c: t)]
    Word = Annotated[str, _Kind("WORD", lambda t, c: t)]
    ElementName = Annotated[str, _Kind("ELEMENT", lambda t, c: t)]
    Raw = Annotated[str, _Kind("ARG", lambda t, c: t, takes_text=True)]
    Bytes = Annotated[bytes, _Kind("STRING", lambda t, c: t.encode("latin-1", "replace"))]
    # a packet annotation of that many bytes
    Anno1 = Annotated[int, _Kind("ANNO1", lambda t, c: parse_anno(t, 1, c))]
    Anno2 = Annotated[int, _Kind("ANNO2", lambda t, c: parse_anno(t, 2, c))]
    Anno4 = Annotated[int, _Kind("ANNO4", lambda t, c: parse_anno(t, 4, c))]


_PLAIN = {
    int: _Kind("INT", lambda t, c: parse_int(t, -(2**63), 2**64 - 1)),
    float: _Kind("REAL", lambda t, c: parse_real(t)),
    bool: _Kind("BOOL", lambda t, c: parse_bool(t)),
    str: _Kind("STRING", lambda t, c: t),
}


def kind_of(annotation: Any) -> _Kind:
    """The argument type an annotation of ``configure`` stands for (``X | None`` is X)."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if typing.get_origin(annotation) is Annotated:
        kind = annotation.__metadata__[0]
        assert isinstance(kind, _Kind)
        return kind
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    raise TypeError(f"configure() parameter annotated {annotation!r} has no argument type")


@dataclass
class Parameter:
    """One parameter of an element as its users see it."""

    keyword: str
    kind: _Kind
    positional: bool
    mandatory: bool
    rest: bool
    default: Any


@functools.cache
def parameters_of(configure: Callable[..., Any]) -> list[Parameter]:
    """What a class's ``configure`` takes, in the order of its signature."""
    result: list[Parameter] = []
    hints = typing.get_type_hints(configure, include_extras=True)
    for name, p in inspect.signature(configure).parameters.items():
        if name == "self":
            continue
        mandatory = p.default is p.empty
        if not mandatory and name.endswith("_"):
            name_shown = name[:-1]
        else:
            name_shown = name.rstrip("_")
        result.append(
            Parameter(
                name_shown.upper(), kind_of(hints[name]), p.kind is not p.KEYWORD_ONLY,
                mandatory and p.kind is not p.VAR_POSITIONAL, p.kind is p.VAR_POSITIONAL,
                None if mandatory else p.default,
            )
        )
    return result


def _value(argument: str, parameter: Parameter, context: ArgumentContext) -> Any:
    if parameter.kind.takes_text:
        return argument
    if parameter.kind.name.endswith("_LIST"):
        return parameter.kind.parse(argument, context)
    if parameter.kind.name in ("TIME", "BANDWIDTH", "STRING"):
        return parameter.kind.parse(unquote(argument), context)
    words = split_words(argument)
    if len(words) != 1:
        raise ArgumentError("invalid number" if parameter.kind.name == "INT" else "syntax error")
    return parameter.kind.parse(unquote(words[0]), context)


@functools.cache
def _names_of(configure: Callable[..., Any]) -> list[str]:
    return [n for n in inspect.signature(configure).parameters if n != "self"]


def assign_arguments(
    configure: Callable[..., Any], text: str, context: ArgumentContext
) -> tuple[list[Any], dict[str, Any], list[str]]:
    """Match a configuration string against ``configure``: (positional, keyword values, error messages).

    Keywords may come in any order and may name positional parameters; the last occurrence wins; a mandatory
    positional parameter takes an argument that merely looks like a keyword.
    """
    parameters = parameters_of(configure)
    names = _names_of(configure)
    by_keyword = {p.keyword: i for i, p in enumerate(parameters) if not p.rest}
    raw: dict[int, str] = {}
    loose: list[str] = []
    errors: list[str] = []
    arguments = split_arguments(text)
    if not by_keyword:
        loose, arguments = arguments, []
    for argument in arguments:
        keyword = split_keyword(argument)
        if keyword and keyword[0] in by_keyword:
            raw[by_keyword[keyword[0]]] = keyword[1]
        else:
            loose.append(argument)
    has_rest = any(p.rest for p in parameters)
    for i, p in enumerate(parameters):
        if p.positional and not p.rest and i not in raw and loose:
            raw[i] = loose.pop(0)
    if loose and not has_rest:
        unknown = [k[0] for a in loose if (k := split_keyword(a))]
        if len(unknown) == len(loose):
            errors += [f"{k}: unknown argument" for k in unknown]
        else:
            errors.append("too many arguments")
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for i, p in enumerate(parameters):
        if p.rest:
            if p.kind.takes_text:
                positional += loose
                continue
            for argument in loose:
                try:
                    positional.append(_value(argument, p, context))
                except ArgumentError as error:
                    errors.append(f"{p.keyword}: {error}")
            continue
        if i not in raw:
            if p.mandatory:
                errors.append(f"{p.keyword}: required argument missing")
            elif p.positional and has_rest:
                positional.append(p.default)
            continue
        try:
            if raw[i] == "" and not p.mandatory and not p.kind.takes_text:
                value = p.default
            else:
                value = _value(raw[i], p, context)
        except ArgumentError as error:
            errors.append(f"{p.keyword}: {error}")
            continue
        if p.positional and has_rest:
            positional.append(value)
        else:
            keywords[names[i]] = value
    return positional, keywords, errors
