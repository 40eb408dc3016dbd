"""Message and Error: text from a configuration."""


from penstock.elements import ConfigureError, Element

__all__ = ["Error", "Message"]


class Message(Element):
    """Print a message when the router is initialised.

    Arguments:
        MESSAGE: the text.
        CLASS: MESSAGE, WARNING or ERROR; an error stops the router from being initialised.

    Example:
        Message("hello"); Idle -> Discard;
    """

    ports = "0/0"

    def configure(self, message: str = "", class_: str = "MESSAGE") -> None:
        self.level = class_.upper()
        if self.level not in ("MESSAGE", "WARNING", "ERROR"):
            raise ConfigureError("CLASS: expected MESSAGE, WARNING or ERROR")
        self.message = message or "<message>"

    def initialize(self) -> None:
        if self.level == "ERROR":
            raise ConfigureError(self.message)
        if self.level == "WARNING":
            self.router.diagnostics.warning(self.message, code="W070")
        else:
            print(f"{self.at}: {self.message}", file=self.router.stderr, flush=True)


class Error(Element):
    """Report an error when it is configured: the router cannot be initialised.

    Arguments:
        MESSAGE: the text.

    Example:
        Error("this configuration is not finished"); Idle -> Discard;
    """

    ports = "0/0"

    def configure(self, message: str = "<error>") -> None:
        raise ConfigureError(message)
