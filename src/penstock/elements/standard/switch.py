"""Elements that choose one of their outputs or inputs: Switch and its relatives."""

from penstock.elements import ConfigureError, Element, HandlerError, Packet, datapath, i32, u32
from penstock.lang.arguments import ArgumentError, parse_int

__all__ = ["HashSwitch", "PullSwitch", "RandomSwitch", "RoundRobinSwitch", "StaticPullSwitch", "StaticSwitch", "Switch"]


class Switch(Element):
    """Send every packet to one output, which can be changed while it runs.

    Arguments:
        OUTPUT: the output; negative drops packets.

    Handlers:
        switch (read/write): the output.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> s :: Switch(1); s[0] -> Discard; s[1] -> Print -> Discard;
    """

    ports = "1/-"
    processing = "h/h"

    chosen: i32

    def configure(self, output: int = 0) -> None:
        if output >= self.noutputs:
            raise ConfigureError(f"output must be < {self.noutputs}")
        self.chosen = max(output, -1)

    def add_handlers(self) -> None:
        self.add_read("switch", lambda: self.chosen)
        self.add_write("switch", self._set)
        self.add_read("config", lambda: self.chosen)

    def _set(self, text: str) -> None:
        try:
            output = parse_int(text.strip())
        except ArgumentError:
            raise HandlerError("Switch output must be integer") from None
        self.chosen = output if 0 <= output < self.noutputs else -1

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.chosen < 0:
            p.kill()
        else:
            self.output(u32(self.chosen)).push(p)


class StaticSwitch(Element):
    """Send every packet to one output, chosen when the configuration is installed.

    Arguments:
        OUTPUT: the output; negative drops packets.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> s :: StaticSwitch(1); s[0] -> Discard; s[1] -> Print -> Discard;
    """

    ports = "1/-"
    processing = "h/h"

    def configure(self, output: int) -> None:
        if output >= self.noutputs:
            raise ConfigureError(f"output must be < {self.noutputs}")
        self.chosen = output

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.chosen < 0:
            p.kill()
        else:
            self.output(self.chosen).push(p)


class PullSwitch(Element):
    """Pull from one input, which can be changed while it runs.

    Arguments:
        INPUT: the input; negative gives no packets.

    Handlers:
        switch (read/write): the input.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> Queue -> s :: PullSwitch(0) -> Discard; Idle -> [1] s;
    """

    ports = "-/1"
    processing = "l/l"

    chosen: i32

    def configure(self, input: int = 0) -> None:
        if input >= self.ninputs:
            raise ConfigureError(f"input must be < {self.ninputs}")
        self.chosen = max(input, -1)

    def add_handlers(self) -> None:
        self.add_read("switch", lambda: self.chosen)
        self.add_write("switch", self._set)

    def _set(self, text: str) -> None:
        try:
            number = parse_int(text.strip())
        except ArgumentError:
            raise HandlerError("switch input must be integer") from None
        self.chosen = number if 0 <= number < self.ninputs else -1

    @datapath
    def pull(self, port: int) -> Packet | None:
        for i in range(self.ninputs):
            if self.chosen == i:
                return self.input(i).pull()
        return None


class StaticPullSwitch(Element):
    """Pull from one input, chosen when the configuration is installed.

    Arguments:
        INPUT: the input; negative gives no packets.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> Queue -> s :: StaticPullSwitch(0) -> Discard; Idle -> [1] s;
    """

    ports = "-/1"
    processing = "l/l"

    def configure(self, input: int) -> None:
        if input >= self.ninputs:
            raise ConfigureError(f"input must be < {self.ninputs}")
        self.chosen = input

    @datapath
    def pull(self, port: int) -> Packet | None:
        if self.chosen < 0:
            return None
        return self.input(self.chosen).pull()


class RoundRobinSwitch(Element):
    """Send packets to the outputs in turn.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> s :: RoundRobinSwitch; s[0] -> Discard; s[1] -> Print -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"

    following: u32

    @datapath
    def push(self, port: int, p: Packet) -> None:
        i = self.following
        self.following = 0 if i + 1 == self.noutputs else i + 1
        self.output(i).push(p)


class RandomSwitch(Element):
    """Send each packet to an output chosen at random.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> s :: RandomSwitch; s[0] -> Discard; s[1] -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.output(self.random.next() % self.noutputs).push(p)


class HashSwitch(Element):
    """Send packets to outputs by a hash of some bytes: equal bytes always take the same output.

    Arguments:
        OFFSET, LENGTH: which bytes are hashed. Shorter packets go to output 0.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> s :: HashSwitch(0, 4); s[0] -> Discard; s[1] -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"
    can_live_reconfigure = True

    def configure(self, offset: int, length: int) -> None:
        if offset < 0:
            raise ConfigureError("OFFSET: must be >= 0")
        if not 1 <= length <= 4096:
            raise ConfigureError("length must be > 0")
        self.offset, self.length = offset, length
        # Wide reads where the bytes allow them; the sum of bytes is Click's hash.
        self.is_power = self.noutputs & (self.noutputs - 1) == 0

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if p.length < self.offset + self.length:
            self.output(0).push(p)
        else:
            total: u32 = 0
            if self.length <= 16:
                for i in tuple(range(self.length)):
                    total += p.data.u8[self.offset + i]
            else:
                for k in range(self.length):
                    total += p.data.u8[self.offset + k]
            if self.is_power:
                self.output((total ^ (total >> 4)) & (self.noutputs - 1)).push(p)
            else:
                self.output(total % self.noutputs).push(p)
