"""What bridges tell each other (IEEE 802.1D-1998, clause 9), as EtherSpanTree writes it and DebugBridge shows it."""

from penstock.lang.arguments import unparse_ether

__all__ = ["ACKNOWLEDGED", "CHANGE", "CHANGED", "CONFIG", "GROUP", "LLC", "MESSAGE_BYTES", "bridge_text"]

#: where messages go, and their link-layer service access points
GROUP, LLC = 0x0180C2000000, 0x4242
#: kinds, and flags of the first kind; bytes of a frame with one of it
CONFIG, CHANGE = 0, 0x80
CHANGED, ACKNOWLEDGED = 0x01, 0x80
MESSAGE_BYTES = 52


def bridge_text(identity: int) -> str:
    """Priority and address."""
    return f"{identity >> 48} {unparse_ether(identity & (1 << 48) - 1)}"
