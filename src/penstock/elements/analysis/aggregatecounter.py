"""AggregateCounter."""

import struct
from typing import TextIO

from penstock.elements import NONE, ConfigureError, Element, HandlerError, Packet, Struct, Table, boolean, datapath, u32, u64
from penstock.lang.arguments import UInt32, parse_bool, unparse_ip
from penstock.lang.text import unquote

__all__ = ["AggregateCounter"]

_FORMATS = ("text", "ip", "binary", "pdf")


class _Count(Struct):
    count: u64


class AggregateCounter(Element):
    """Count packets (or bytes) by their aggregate annotation.

    Packets with the annotation 0 are counted too. With a second output, packets of aggregates that are not counted,
    since the element is frozen or its table is full, go there.

    Arguments:
        BYTES: count bytes, not packets.
        IP_BYTES: count bytes from the IP header on.
        PACKET_COUNT: accepted for compatibility.
        MULTIPACKET: use the EXTRA_PACKETS annotation: how many packets one stands for.
        EXTRA_LENGTH: count the bytes that were cut off, too.
        AGGREGATE_FREEZE n: count no new aggregates once there are n of them.
        COUNT_FREEZE n: likewise once the counts add up to n.
        AGGREGATE_STOP n, COUNT_STOP n: stop the driver then.
        AGGREGATE_CALL, COUNT_CALL ``n handler [value]``: write to the handler then.
        CAPACITY: aggregates in the table (65536).
        BANNER: first lines of written files.

    Handlers:
        count, nagg (read): the sum, and the number of aggregates. counts_pdf (read): how many have each count.
        counts (read): each aggregate and its count.
        write_text_file, write_ip_file, write_pdf_file, write_file (write): to a file: numbers, IP addresses, counts of
            counts, or pairs of 32-bit numbers.
        freeze, active (read/write), reaggregate_counts (write): make counts the aggregates. clear, stop, reset (write).

    Example:
        MemSource(FLOWS 10, LIMIT 100, STOP true) -> Strip(14) -> CheckIPHeader -> AggregateIPFlows -> a :: AggregateCounter
        -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    active: boolean
    frozen: boolean
    total: u64
    calls: u32
    refused: u64

    def configure(self, *, bytes: bool = False, ip_bytes: bool = False, multipacket: bool = False, extra_length: bool = True,
                  packet_count: bool = True, aggregate_freeze: UInt32 = 0, count_freeze: int = 0, aggregate_stop: UInt32 = 0,
                  count_stop: int = 0, aggregate_call: str = "", count_call: str = "", capacity: UInt32 = 65536,
                  banner: str = "") -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.bytes, self.ip_bytes, self.multipacket = bytes or ip_bytes, ip_bytes, multipacket
        self.extra_length, self.packet_count, self.banner = extra_length, packet_count, banner
        self.active = True
        self.aggregate_limit, self.aggregate_action = self._limit(aggregate_freeze, aggregate_stop, aggregate_call, "AGGREGATE")
        self.count_limit, self.count_action = self._limit(count_freeze, count_stop, count_call, "COUNT")
        self.table = Table((u32,), _Count, capacity)

    @staticmethod
    def _limit(freeze: int, stop: int, call: str, name: str) -> tuple[int, str]:
        if bool(freeze) + bool(stop) + bool(call) > 1:
            raise ConfigureError(f"'{name}_FREEZE', '{name}_STOP', and '{name}_CALL' are mutually exclusive")
        if call:
            number, _, handler = call.strip().partition(" ")
            if not number.isdigit() or not handler:
                raise ConfigureError(f"{name}_CALL: expected a number and a handler")
            return int(number), handler
        return (stop, "stop") if stop else (freeze, "freeze")

    def started(self) -> None:
        if self.aggregate_limit or self.count_limit:
            self.router.calls.after_run.append(self._reached)

    def _reached(self) -> None:
        for bit, action in ((1, self.aggregate_action), (2, self.count_action)):
            if self.calls & bit and action not in ("freeze", "stop"):
                self.router.call_handler(action, self)
        self.calls = 0

    def add_handlers(self) -> None:
        self.add_data("count", "total")
        self.add_read("nagg", lambda: self.table.entries)
        self.add_read("counts", lambda: "".join(f"{a} {n}\n" for a, n in self.counts()))
        self.add_read("counts_pdf", lambda: "".join(f"{n} {k}\n" for n, k in self._pdf()))
        for style in _FORMATS:
            self._write_handler("write_file" if style == "binary" else f"write_{style}_file", style)
        self.add_read("freeze", lambda: bool(self.frozen), flags="c")
        self.add_write("freeze", lambda text: setattr(self, "frozen", parse_bool(text.strip())))
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", lambda text: setattr(self, "active", parse_bool(text.strip())))
        self.add_write("stop", lambda text: self._stop(), flags="b")
        self.add_write("reaggregate_counts", lambda text: self._reaggregate(), flags="b")
        self.add_write("clear", lambda text: self.clear(), flags="b")
        self.add_write("reset", lambda text: self.clear(), flags="b")

    def _write_handler(self, name: str, style: str) -> None:
        self.add_write(name, lambda text: self._write(unquote(text.strip()), style))

    def counts(self) -> list[tuple[int, int]]:
        """(aggregate, count), by aggregate."""
        return sorted((key[0], entry.count) for key, entry in self.table.items())

    def _pdf(self) -> list[tuple[int, int]]:
        seen: dict[int, int] = {}
        for _, n in self.counts():
            seen[n] = seen.get(n, 0) + 1
        return sorted(seen.items())

    def _write(self, name: str, style: str) -> None:
        try:
            if style == "binary":
                with open(name, "wb") as binary:
                    head = f"!IPAggregate 1.0\n{self.banner}!num_nonzero {self.table.entries}\n!packed_le\n"
                    binary.write(head.encode())
                    for aggregate, n in self.counts():
                        binary.write(struct.pack("<II", aggregate, n & 0xFFFFFFFF))
                return
            with open(name, "w", encoding="utf-8") as file:
                self._write_lines(file, style)
        except OSError as error:
            raise HandlerError(f"{name}: {error.strerror}") from None

    def _write_lines(self, file: TextIO, style: str) -> None:
        file.write(f"!IPAggregate 1.0\n{self.banner}!num_nonzero {self.table.entries}\n")
        if style == "ip":
            file.write("!ip\n")
        for a, n in self._pdf() if style == "pdf" else self.counts():
            file.write(f"{unparse_ip(a) if style == 'ip' else a} {n}\n")

    def _stop(self) -> None:
        self.active = False
        self.router.stop()

    def _reaggregate(self) -> None:
        pairs = self._pdf()
        self.clear()
        for n, k in pairs:
            self.put(n & 0xFFFFFFFF, k)

    @datapath
    def clear(self) -> None:
        self.table.clear()
        self.total = 0

    @datapath
    def put(self, aggregate: u32, amount: u64) -> None:
        i = self.table.insert((u32(aggregate),))
        if i != NONE:
            self.table.slots[i].value.count = u64(amount)
            self.total += u64(amount)

    @datapath
    def amount(self, p: Packet) -> u64:
        packets: u64 = 1
        if self.multipacket:
            packets = u64(p.extra_packets) + 1
        if not self.bytes:
            return packets
        n: u64 = u64(p.length)
        if self.ip_bytes:
            n = u64(p.network_length)
        if self.extra_length:
            n += u64(p.extra_length)
        return n

    @datapath
    def reached(self, bit: u32, action: str) -> None:
        if action == "freeze":
            self.frozen = True
        elif action == "stop":
            self.active = False
            self.stop_driver()
        else:
            self.calls |= bit
            self.driver.attention = 1

    @datapath
    def counted(self, p: Packet) -> bool:
        aggregate = p.aggregate
        i = self.table.find((aggregate,))
        if i == NONE:
            if self.frozen:
                return False
            i = self.table.insert((aggregate,))
            if i == NONE:
                self.refused += 1
                return False
            self.table.slots[i].value.count = u64(0)
            if self.aggregate_limit > 0:
                if self.table.entries == self.aggregate_limit:
                    self.reached(1, self.aggregate_action)
        n = self.amount(p)
        self.table.slots[i].value.count += n
        self.total += n
        if self.count_limit > 0:
            if self.total >= self.count_limit and self.total - n < self.count_limit:
                self.reached(2, self.count_action)
        return True

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active:
            if not self.counted(p):
                if self.noutputs > 1:
                    self.output(1).push(p)
                    return None
        return p
