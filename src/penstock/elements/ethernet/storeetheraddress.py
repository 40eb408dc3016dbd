"""StoreEtherAddress."""

from penstock.elements import ConfigureError, Element, Packet, datapath, u48
from penstock.lang.arguments import EtherAddress, Word, parse_ether, parse_int, unparse_ether

__all__ = ["StoreEtherAddress"]

_OFFSETS = {"dst": 0, "src": 6}


class StoreEtherAddress(Element):
    """Store an Ethernet address in packets. Those too short for it go to output 1, or are dropped.

    Arguments:
        ADDR: the address.
        OFFSET: where it is stored: a number of bytes, ``src`` or ``dst``.

    Handlers:
        addr (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> StoreEtherAddress(1:1:1:1:1:1, src) -> Print -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    addr: u48

    def configure(self, addr: EtherAddress, offset: Word) -> None:
        self.addr = addr
        self.offset = _OFFSETS[offset] if offset in _OFFSETS else parse_int(offset)
        if self.offset < 0:
            raise ConfigureError("OFFSET: must be >= 0")

    def add_handlers(self) -> None:
        self.add_data("addr", "addr", lambda text: parse_ether(text.strip(), self.router.context), unparse_ether)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.data.has(self.offset, 6):
            self.checked_output_push(1, p)
            return None
        p.data.u48[self.offset] = self.addr
        return p
