"""KernelFilter."""

from penstock.elements import ConfigureError, Element
from penstock.elements.framefilter import KernelKeptOut
from penstock.lang.arguments import Raw, Word
from penstock.lang.text import split_words, unquote

__all__ = ["KernelFilter"]


class KernelFilter(Element):
    """Keep what comes in by an interface from the host's own stack, for as long as the router runs; FromDevice gets it all the same.

    As FromDevice's SNIFFER does, by a table of nftables that goes when this process does.

    Arguments:
        FILTER, ...: each is ``drop dev INTERFACE``. TYPE: accepted (Click's: IPTABLES); it is nftables here.

    Example:
        KernelFilter(drop dev pkhost0); InfiniteSource(LIMIT 1, STOP true) -> Discard;
    """

    ports = "0/0"

    def configure(self, *filter: Raw, type: Word = "") -> None:
        self.devices: list[str] = []
        for text in filter:
            words = split_words(unquote(text))
            if len(words) != 3 or [w.lower() for w in words[:2]] != ["drop", "dev"]:
                raise ConfigureError(f"'{text}': expected 'drop dev INTERFACE'")
            self.devices.append(words[2])
        self.kept_out: list[KernelKeptOut] = []

    def initialize(self) -> None:
        if self.router.interfaces is None:
            self.kept_out += [KernelKeptOut(device) for device in self.devices]

    def cleanup(self) -> None:
        for kept in self.kept_out:
            kept.close()
        self.kept_out = []
