"""static: destination addresses to ports, as ClickOS uses it."""

from penstock.switch.static import EtherTable

__all__ = ["Static"]


class Static(EtherTable):
    """Destination Ethernet address to port; any other frame to the default port (drop)."""

    name = "static"
    field = "dst"
