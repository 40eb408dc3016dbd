"""Elements that choose one of their outputs or inputs: Switch and its relatives."""

from functools import partial
from typing import Any, cast

from penstock.elements import Array, ConfigureError, Element, HandlerError, Packet, datapath, i32, u8, u32
from penstock.elements.flooding import FloodingElement
from penstock.elements.stride import StrideElement
from penstock.lang.arguments import ArgumentError, parse_bool, parse_int

__all__ = [
    "HashSwitch", "Hub", "InputSwitch", "PullSwitch", "RandomSwitch", "RoundRobinSwitch", "SimplePullSwitch", "StaticPullSwitch",
    "StaticSwitch", "StrideSwitch", "Suppressor", "Switch",
]


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


class _InputChoice(Element):
    """One input, which can be changed while it runs; below 0: none."""

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


class PullSwitch(_InputChoice):
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


class InputSwitch(_InputChoice):
    """Pass packets from one input, which can be changed while it runs; those from others are dropped.

    Arguments:
        INPUT: the input; negative drops all.

    Handlers:
        switch (read/write): the input.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> s :: InputSwitch(0) -> Discard; Idle -> [1] s;
    """

    ports = "-/1"
    processing = "h/h"

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.chosen == port:
            self.output(0).push(p)
        else:
            p.kill()


class SimplePullSwitch(PullSwitch):
    """PullSwitch by its older name.

    Arguments:
        INPUT: the input; negative gives no packets.

    Handlers:
        switch (read/write): the input.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> Queue -> s :: SimplePullSwitch(0) -> Discard; Idle -> [1] s;
    """


class StrideSwitch(StrideElement):
    """Send packets to the outputs in proportion to their tickets (Waldspurger and Weihl 1995).

    Arguments:
        TICKETS...: one number for each output.

    Handlers:
        tickets0, tickets1, ... (read/write).

    Example:
        InfiniteSource(LIMIT 8, STOP true) -> s :: StrideSwitch(1, 3); s[0] -> Discard; s[1] -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"

    def configure(self, *tickets: int) -> None:
        self.set_tickets(tickets, self.noutputs, "output")

    @datapath
    def push(self, port: int, p: Packet) -> None:
        best: u32 = 0
        low: u32 = self.passes[0]
        for k in range(self.noutputs):
            # Passes wrap around; their differences are small.
            if self.passes[k] - low >= 0x8000_0000:
                best = u32(k)
                low = self.passes[k]
        self.passes[best] = low + self.strides[best]
        self.output(best).push(p)


class Hub(FloodingElement):
    """Send each packet to all outputs but the one with the number of the input that it came from.

    Example:
        h :: Hub; InfiniteSource(LIMIT 2, STOP true) -> [0] h; Idle -> [1] h; Idle -> [2] h;
        h[0] -> Discard; h[1] -> Discard; h[2] -> Discard;
    """

    ports = "-/="
    processing = "h/h"

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.flood(port, p)


class Suppressor(Element):
    """Pass packets through, input by input, unless an input is switched off: then they are dropped, or not pulled.

    Handlers:
        active0, active1, ... (read/write): whether the input passes packets. reset, allow_all (write): all do.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> Suppressor -> Discard;
    """

    ports = "-/="
    processing = "a/a"
    flow = "#/#"

    def configure(self) -> None:
        self.active = Array(u8, max(self.ninputs, 1), [1] * self.ninputs)

    def add_handlers(self) -> None:
        for i in range(self.ninputs):
            self.add_read(f"active{i}", partial(self._is_active, i))
            self.add_write(f"active{i}", partial(self._set_active, i))
        self.add_write("reset", self._allow_all, flags="b")
        self.add_write("allow_all", self._allow_all, flags="b")

    def _is_active(self, port: int) -> bool:
        return bool(self.active[port])

    def _set_active(self, port: int, text: str) -> None:
        self.active[port] = cast(Any, int(parse_bool(text.strip())))

    def _allow_all(self, text: str) -> None:
        for i in range(self.ninputs):
            self.active[i] = cast(Any, 1)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.active[port] != 0:
            self.output(port).push(p)
        else:
            p.kill()

    @datapath
    def pull(self, port: int) -> Packet | None:
        if self.active[port] == 0:
            return None
        return self.input(port).pull()
