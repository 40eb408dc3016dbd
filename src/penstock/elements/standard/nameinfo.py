"""AnnotationInfo, PortInfo and ScheduleInfo: what other elements are told by name."""

from penstock.elements import ConfigureError, Element
from penstock.lang.arguments import ArgumentError, Raw, parse_anno, parse_int, parse_real
from penstock.lang.text import split_words, unquote

__all__ = ["AnnotationInfo", "PortInfo", "ScheduleInfo"]

_MAX_TICKETS = 32768
_DEFAULT_TICKETS = 1024
_PROTOCOLS = ("tcp", "udp")


def _words(text: str, count: tuple[int, ...], form: str) -> list[str]:
    words = [unquote(w) for w in split_words(text)]
    if len(words) not in count:
        raise ConfigureError(f"'{text}': expected {form}")
    return words


class AnnotationInfo(Element):
    """Name packet annotations. Other elements may then use the name where they take an annotation.

    Arguments:
        NAME ANNO [SIZE], ...: a name, an annotation (its name, or its first byte), and its bytes (the annotation's own, or 4).

    Example:
        AnnotationInfo(COLOR PAINT, MARK 20 4);
        InfiniteSource(LIMIT 1, STOP true) -> Paint(3, ANNO COLOR) -> CheckPaint(3, ANNO COLOR) -> Discard;
    """

    ports = "0/0"
    configure_phase = 0

    def configure(self, *entries: Raw) -> None:
        context = self.router.context
        for text in entries:
            name, anno, *size = _words(text, (2, 3), "NAME ANNO [SIZE]")
            try:
                known = context.annotations.get(anno)
                length = parse_int(size[0], 1, 48) if size else known[1] if known else 4
                offset = known[0] if known else parse_anno(anno, length, context)
            except ArgumentError as error:
                raise ConfigureError(f"'{text}': {error}") from None
            context.annotations[name] = (offset, length)


class PortInfo(Element):
    """Name TCP and UDP ports. Other elements may then use the name where they take a port.

    Arguments:
        NAME PORT[/PROTO], ...: a name, and a port; of TCP, of UDP, or of both.

    Example:
        PortInfo(game 27015/udp);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, game, 2.0.0.2, game) -> IPPrint -> Discard;
    """

    ports = "0/0"
    configure_phase = 0

    def configure(self, *entries: Raw) -> None:
        for text in entries:
            name, port = _words(text, (2,), "NAME PORT[/PROTO]")
            number, _, protocol = port.partition("/")
            if protocol and protocol.lower() not in _PROTOCOLS:
                raise ConfigureError(f"'{text}': the protocol is tcp or udp")
            try:
                value = parse_int(number, 0, 65535)
            except ArgumentError as error:
                raise ConfigureError(f"'{text}': {error}") from None
            for each in (protocol.lower(),) if protocol else _PROTOCOLS:
                self.router.context.ports.setdefault(name, {})[each] = value


class ScheduleInfo(Element):
    """Give tasks their share of the processor, in proportion.

    Arguments:
        ELEMENT PARAM, ...: an element (or a compound element), and its share; 1 is everybody's.

    Handlers:
        shares (read): element and tickets.

    Example:
        ScheduleInfo(u 0.5); InfiniteSource(LIMIT 5) -> Queue -> u :: Unqueue -> Discard;
    """

    ports = "0/0"

    def configure(self, *entries: Raw) -> None:
        self.shares: list[tuple[str, float]] = []
        for text in entries:
            name, share = _words(text, (2,), "ELEMENT PARAM")
            try:
                value = parse_real(share)
            except ArgumentError as error:
                raise ConfigureError(f"'{text}': {error}") from None
            if not 1 / _DEFAULT_TICKETS <= value <= _MAX_TICKETS / _DEFAULT_TICKETS:
                raise ConfigureError(f"'{text}': a share is between 1/{_DEFAULT_TICKETS} and {_MAX_TICKETS // _DEFAULT_TICKETS}")
            self.shares.append((name, value))

    def initialize(self) -> None:
        self.given: list[tuple[str, int]] = []
        for name, share in self.shares:
            within = [e for e in self.router.elements if e.name == name or e.name.startswith(name + "/")]
            if not within:
                raise ConfigureError(f"no element named '{name}'")
            for element in within:
                for task in self.driver.tasks_of(element):
                    task.tickets = max(round(_DEFAULT_TICKETS * share), 1)
                    self.given.append((element.name, task.tickets))

    def add_handlers(self) -> None:
        self.add_read("shares", lambda: "".join(f"{name} {tickets}\n" for name, tickets in self.given))
