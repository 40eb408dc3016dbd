"""ClickyInfo and DevirtualizeInfo: what other programs read in a configuration."""

from penstock.elements import Element
from penstock.lang.arguments import Raw

__all__ = ["ClickyInfo", "DevirtualizeInfo"]


class ClickyInfo(Element):
    """Tell the Clicky program how to show the configuration. Packets are not concerned; nothing here is looked at.

    Arguments:
        ARG, ...: Clicky's.

    Example:
        ClickyInfo(STYLE #c { activity-decay: 0 }); InfiniteSource(LIMIT 1, STOP true) -> c :: Counter -> Discard;
    """

    ports = "0/0"

    def configure(self, *arg: Raw) -> None:
        self.arguments_given = arg


class DevirtualizeInfo(Element):
    """Tell click-devirtualize which elements to leave alone. There is nothing virtual about calls here: nothing is looked at.

    Arguments:
        ARG, ...: names of elements.

    Example:
        DevirtualizeInfo(c); InfiniteSource(LIMIT 1, STOP true) -> c :: Counter -> Discard;
    """

    ports = "0/0"

    def configure(self, *arg: Raw) -> None:
        self.arguments_given = arg
