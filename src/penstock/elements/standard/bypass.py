"""Bypass."""

from penstock.elements import ConfigureError, Element, Packet, boolean, datapath
from penstock.lang.arguments import parse_bool

__all__ = ["Bypass"]


class Bypass(Element):
    """Pass packets straight on, or, while it is active, by way of what is between its second output and its second input.

    Inactive, packets go from input 0 to output 0. Active, they go from input 0 to output 1, and from input 1 to output 0.

    Arguments:
        ACTIVE: as above (false).

    Handlers:
        active (read/write).

    Example:
        b :: Bypass(true); InfiniteSource(LIMIT 2, STOP true) -> b -> Discard; b[1] -> c :: Counter -> [1] b;
    """

    ports = "1-2/1-2"
    processing = "a/a"

    active: boolean

    def configure(self, active: bool = False) -> None:
        if self.ninputs != self.noutputs:
            raise ConfigureError("need as many inputs as outputs")
        self.active = active

    def add_handlers(self) -> None:
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", lambda text: setattr(self, "active", parse_bool(text.strip())))

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.noutputs == 2 and port == 0:
            if self.active:
                self.output(1).push(p)
                return
        self.output(0).push(p)

    @datapath
    def pull(self, port: int) -> Packet | None:
        if self.ninputs == 2 and port == 0:
            if self.active:
                return self.input(1).pull()
        if port == 1:
            if not self.active:
                return None
        return self.input(0).pull()
