"""IPRewriterPatterns."""

from penstock.elements import ConfigureError, Element
from penstock.elements.rewriter_patterns import parse_pattern
from penstock.lang.arguments import Raw
from penstock.lang.text import split_words, unquote

__all__ = ["IPRewriterPatterns"]


class IPRewriterPatterns(Element):
    """Name patterns for IPRewriter and its relatives.

    Arguments:
        NAME SADDR SPORT DADDR DPORT, ...: the patterns.

    Example:
        IPRewriterPatterns(nat 1.0.0.1 1024-65535 - -);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.1, 1024, 2.0.0.2, 53) -> CheckIPHeader
        -> rw :: IPRewriter(nat 0 0) -> IPPrint -> Discard;
    """

    ports = "0/0"
    configure_phase = 20

    def configure(self, *patterns: Raw) -> None:
        for text in patterns:
            name, *words = [unquote(w) for w in split_words(text)] or [""]
            if name in self.router.context.patterns:
                raise ConfigureError(f"pattern '{name}' is defined twice")
            self.router.context.patterns[name] = parse_pattern(words, self.router.context)
