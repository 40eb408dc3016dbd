"""Idle."""

from penstock.elements import Element, Packet, datapath

__all__ = ["Idle"]


class Idle(Element):
    """Neither make nor pass packets: drops what is pushed, gives nothing when pulled.

    Example:
        Idle -> Discard;
    """

    ports = "-/-"
    flow = "x/y"

    @datapath
    def push(self, port: int, p: Packet) -> None:
        p.kill()

    @datapath
    def pull(self, port: int) -> Packet | None:
        return None
