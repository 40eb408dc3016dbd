"""macs: source addresses to ports, as the original's module of that name."""

from penstock.switch.static import EtherTable

__all__ = ["Macs"]


class Macs(EtherTable):
    """Source Ethernet address to port; any other frame to the default port (drop)."""

    name = "macs"
    field = "src"
