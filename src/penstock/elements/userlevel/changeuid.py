"""ChangeUID."""

import os

from penstock.elements import ConfigureError, Element

__all__ = ["ChangeUID"]


class ChangeUID(Element):
    """Give up the rights of a program that runs as another user than who started it: the effective user becomes the real one.

    That is done when the router begins to run: devices and files are open then.

    Example:
        ChangeUID; Idle -> Discard;
    """

    ports = "0/0"

    def configure(self) -> None:
        if sum(isinstance(e, ChangeUID) for e in self.router.elements) > 1:
            raise ConfigureError("there is another ChangeUID already")

    def started(self) -> None:
        # Groups first: afterwards there is no right to change them.
        os.setegid(os.getgid())
        os.seteuid(os.getuid())
