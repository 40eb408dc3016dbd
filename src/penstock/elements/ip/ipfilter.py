"""IPFilter and IPClassifier."""

from penstock.elements import ConfigureError, HandlerError
from penstock.elements.classification import ClassifyingElement, Tree
from penstock.elements.filter_language import parse_pattern
from penstock.lang.arguments import ArgumentError, Raw, parse_int

__all__ = ["IPClassifier", "IPFilter"]


class IPClassifier(ClassifyingElement):
    """Classify IP packets by patterns in tcpdump's language.

    One pattern an output; a packet goes to the first that matches, and is dropped where none does. Packets need a
    network header position (CheckIPHeader, MarkIPHeader); a test of what a packet does not have is false.

    Patterns are made of ``host``, ``net``, ``port``, ``proto`` with ``src`` or ``dst`` and ``tcp``, ``udp``, ``icmp``
    before them, ``ip vers|hl|tos|dscp|len|id|ttl|frag|unfrag|ect|ce``, ``tcp opt``, ``tcp win``, ``icmp type``,
    ``ip[6:2] & 0x1fff != 0``, joined by ``and``, ``or``, ``not``, parentheses and ``?:``. ``-`` matches all.

    Arguments:
        PATTERN, ...: one for each output.

    Handlers:
        program (read): the tests as they are made. pattern0, pattern1, ... (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> c :: IPClassifier(tcp dst port 80 or 443, udp, -);
        c[0] -> Discard; c[1] -> Discard; c[2] -> IPPrint -> Discard;
    """

    parse_pattern = staticmethod(parse_pattern)

    def configure(self, *patterns: Raw) -> None:
        if len(patterns) != self.noutputs:
            raise ConfigureError(f"need {self.noutputs} arguments, one per output port")
        self.patterns = list(patterns)
        rules: list[tuple[Tree, int]] = []
        problems: list[str] = []
        for number, pattern in enumerate(patterns):
            try:
                rules.append((self.parse_pattern(pattern, self.router.context), number))
            except ArgumentError as error:
                problems.append(f"pattern {number}: {error}")
        if problems:
            raise ConfigureError("\n".join(problems))
        self.set_rules(rules)

    def add_handlers(self) -> None:
        super().add_handlers()
        for i in range(len(self.patterns)):
            self._pattern_handler(i)

    def _pattern_handler(self, i: int) -> None:
        def write(text: str) -> None:
            if "," in text:
                raise HandlerError("a pattern has no commas")
            self.router.reconfigure(self, ", ".join([*self.patterns[:i], text.strip(), *self.patterns[i + 1 :]]))

        self.add_read(f"pattern{i}", lambda: self.patterns[i])
        self.add_write(f"pattern{i}", write)


class IPFilter(ClassifyingElement):
    """Filter IP packets by rules: the first rule whose pattern matches says what becomes of a packet.

    Each rule is an action and a pattern in IPClassifier's language. ``allow`` (or ``pass``, ``accept``) sends to
    output 0, ``deny`` (or ``drop``, ``reject``) drops, a number sends to that output. A packet that no rule matches
    is dropped.

    Arguments:
        ACTION PATTERN, ...: the rules.

    Handlers:
        program (read): the tests as they are made.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader
        -> IPFilter(allow src net 10.0.0.0/8 && dst tcp port 22, deny dst port 22, allow all) -> Discard;
    """

    parse_pattern = staticmethod(parse_pattern)

    def configure(self, *rules: Raw) -> None:
        found: list[tuple[Tree, int]] = []
        problems: list[str] = []
        for number, rule in enumerate(rules):
            action, _, pattern = rule.replace("\t", " ").replace("\n", " ").strip().partition(" ")
            try:
                found.append((self.parse_pattern(pattern or "all", self.router.context), self._output(action)))
            except ArgumentError as error:
                problems.append(f"rule {number}: {error}")
        if problems:
            raise ConfigureError("\n".join(problems))
        self.set_rules(found)

    def _output(self, action: str) -> int:
        word = action.lower()
        if word in ("allow", "accept", "pass"):
            return 0
        if word in ("deny", "drop", "reject"):
            return -1
        try:
            port = parse_int(action, 0)
        except ArgumentError:
            raise ArgumentError(f"bad action '{action}' (expected allow, deny, drop or an output number)") from None
        if port >= self.noutputs:
            raise ArgumentError(f"output {port} of {self.noutputs} (outputs count from 0)")
        return port
