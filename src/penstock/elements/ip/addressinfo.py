"""AddressInfo: names for addresses."""

from typing import Any

from penstock.elements import ConfigureError, Element
from penstock.lang.arguments import ArgumentError, Raw, parse_ether, parse_ip, parse_ip6, parse_prefix
from penstock.lang.text import split_words, unquote

__all__ = ["AddressInfo"]


class AddressInfo(Element):
    """Name IPv4, IPv6 and Ethernet addresses. Other elements may then use the name for an address of that kind.

    A name has one address of each kind at most. An IPv4 prefix gives the name an address and a network. ``name:ip``,
    ``name:ip6``, ``name:ipnet`` and ``name:eth`` ask for one kind. The names of this machine's interfaces are known without AddressInfo.

    Arguments:
        NAME ADDRESS [ADDRESS...], ...: names and their addresses.

    Example:
        AddressInfo(me 1.0.0.1/24 1:1:1:1:1:1, you 1.0.0.2);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(me, 1, you, 2) -> IPPrint -> Discard;
    """

    ports = "0/0"
    configure_phase = 0

    def configure(self, *entries: Raw) -> None:
        for text in entries:
            name, *addresses = [unquote(w) for w in split_words(text)] or [""]
            if not name or not addresses:
                raise ConfigureError(f"'{text}': expected a name and its addresses")
            known = self.router.context.addresses.setdefault(name, {})
            for address in addresses:
                known.update(self._kinds(address))

    def _kinds(self, text: str) -> dict[str, Any]:
        context = self.router.context
        if "/" in text:
            try:
                address, mask = parse_prefix(text, context)
                return {"ip": parse_ip(text.partition("/")[0], context), "ipnet": (address & mask, mask)}
            except ArgumentError:
                pass
        for kind, parse in (("ip", parse_ip), ("eth", parse_ether)):
            try:
                return {kind: parse(text, context)}
            except ArgumentError:
                continue
        try:
            return {"ip6": parse_ip6(text.partition("/")[0])}
        except ArgumentError:
            raise ConfigureError(f"'{text}' is not an IPv4, IPv6 or Ethernet address") from None
