"""DebugBridge: what bridges tell each other, for people."""

import struct

from penstock.elements import ConfigureError, HostPacket, Packet, datapath
from penstock.elements.bridgemessage import ACKNOWLEDGED, CHANGE, CHANGED, CONFIG, GROUP, LLC, MESSAGE_BYTES, bridge_text
from penstock.elements.printing import PrintElement
from penstock.lang.arguments import unparse_ether

__all__ = ["DebugBridge"]


class DebugBridge(PrintElement):
    """Print a line for each message of the spanning tree protocol (IEEE 802.1D); all packets pass.

    Arguments:
        LABEL: printed first.
        LEVEL: 0 prints nothing, 1 who sent which kind of message, 2 what it says too (1).

    Handlers:
        active (read/write).

    Example:
        in_ :: Suppressor; out :: Suppressor; s :: EtherSwitch; tree :: EtherSpanTree(2:0:0:0:0:1, in_, out, s);
        Idle -> [0] in_ [0] -> [0] s [0] -> [0] out [0] -> Discard; Idle -> [1] in_ [1] -> [1] s [1] -> [1] out [1] -> Discard;
        Idle -> [0] tree [0] -> DebugBridge(left, 2) -> Discard; Idle -> [1] tree [1] -> Discard; Script(wait 1s, stop);
    """

    def configure(self, label: str = "", level: int = 1) -> None:
        if not 0 <= level <= 2:
            raise ConfigureError("LEVEL: must be 0, 1 or 2")
        self.label, self.level = label, level
        self.setup(level > 0)

    def line(self, packet: HostPacket) -> str:
        data = packet.data
        who = (f"{self.label}: " if self.label else "") + unparse_ether(int.from_bytes(data[6:12], "big"))
        if data[20] == CHANGE:
            return f"{who} topology change"
        if data[20] != CONFIG or len(data) < MESSAGE_BYTES:
            return f"{who} unknown message ({len(data)} bytes, type {data[20]})"
        if self.level == 1:
            return f"{who} configuration"
        flags, root, cost, bridge, port, *times = struct.unpack(">BQIQHHHHH", data[21:MESSAGE_BYTES])
        names = [name for bit, name in ((CHANGED, "change"), (ACKNOWLEDGED, "acknowledged")) if flags & bit]

        age, most, hello, delay = (f"{t / 256:g}" for t in times)
        return (f"{who} configuration: root {bridge_text(root)} cost {cost} bridge {bridge_text(bridge)} port {port:#x}"
                f" age {age} of {most} s, hello {hello} s, forward delay {delay} s" + (f" [{' '.join(names)}]" if names else ""))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active and p.data.has(0, 21) and p.data.u48[0] == GROUP and p.data.u16[14] == LLC:
            self.to_host(p)
        return p
