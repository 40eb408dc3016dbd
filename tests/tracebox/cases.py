"""Middleboxes on Linux paths, and what must be found of them: the same cases are tests and bench/tracebox.py.

Links are counted from 0; a box in the wire of link 2 stands between routers 2 and 3, a rule of router 2 shows at router 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.tracebox.chain import Chain

__all__ = ["CASES", "WIRE", "Case"]

#: a wire with something in it for IPv4 from left to right; what it gets starts with the IP header
WIRE = """
FromDevice(left, PROMISC true) -> kind :: Classifier(12/0800, -);
kind[0] -> Strip(14) -> MarkIPHeader(0) -> {} -> Unstrip(14) -> out :: Queue(500) -> ToDevice(right);
kind[1] -> out;
FromDevice(right, PROMISC true) -> Queue(500) -> ToDevice(left);
"""
#: a wire with something in both directions: [0] from left, [1] from right
BOTH = """
FromDevice(left, PROMISC true) -> kind :: Classifier(12/0800, -);
kind[0] -> Strip(14) -> CheckIPHeader -> only :: IPClassifier(tcp, -);
kind[1] -> out :: Queue(500) -> ToDevice(right);
only[1] -> Unstrip(14) -> out;
FromDevice(right, PROMISC true) -> back :: Classifier(12/0800, -);
back[0] -> Strip(14) -> CheckIPHeader -> only2 :: IPClassifier(tcp, -);
back[1] -> home :: Queue(500) -> ToDevice(left);
only2[1] -> Unstrip(14) -> home;
only[0] -> [0] box :: {};
only2[0] -> [1] box;
box[0] -> Unstrip(14) -> out;
box[1] -> Unstrip(14) -> home;
"""


@dataclass(frozen=True)
class Case:
    """``expected`` is the findings: kind, after which hop, by which hop."""

    name: str
    expected: tuple[tuple[str, int, int], ...] = ()
    probe: str = "options"
    wide: bool = False
    boxes: dict[int, str] = field(default_factory=dict)
    prepare: Callable[[Chain], None] = lambda chain: None
    is_reached: bool = True
    silent: tuple[int, ...] = ()


def rules(node: str, *lines: str, hook: str = "filter hook forward priority 0", family: str = "ip") -> Callable[[Chain], None]:
    return lambda chain: chain.nft(node, hook, *lines, family=family)


def every(*steps: Callable[[Chain], None]) -> Callable[[Chain], None]:
    def run(chain: Chain) -> None:
        for step in steps:
            step(chain)

    return run


def _stores(offset: int, data: str, length: int | None = None) -> str:
    """Bytes of TCP packets are overwritten, and checksums mended."""
    return WIRE.format(f"tcp :: IPClassifier(tcp, -); tcp[0] -> StoreData({offset}, \\<{data}>) -> CheckIPHeader -> SetTCPChecksum -> join :: Null; "
                       "tcp[1] -> join; join")


_SYN = "tcp flags syn"
CASES = [
    Case("nothing"),
    Case("nothing, a plain SYN", probe="syn"),
    Case("nothing, UDP", probe="udp"),
    Case("nothing, ICMP", probe="icmp"),
    Case("nothing, SCTP", probe="sctp"),
    Case("nothing, MPTCP", probe="mptcp"),
    Case("nothing, ECN", probe="ecn"),
    Case("nothing, IPv6", wide=True),
    Case("nothing, IPv6 UDP", probe="udp", wide=True),
    Case("nothing, IPv6 ICMP", probe="icmp", wide=True),
    Case("nothing, a rule for other ports", prepare=rules("r2", "tcp dport 443 tcp flags syn tcp option maxseg size set 900")),
    Case("nothing, MSS that is small already", probe="IP / TCP / mss(500)", prepare=rules("r2", f"{_SYN} tcp option maxseg size set 1300")),
    Case("nothing, with a silent router", prepare=rules("r2", "icmp type time-exceeded drop", hook="filter hook output priority 0"), silent=(2,)),
    Case("nothing, with two silent routers", silent=(1, 3), prepare=every(
        rules("r1", "icmp type time-exceeded drop", hook="filter hook output priority 0"),
        rules("r3", "icmp type time-exceeded drop", hook="filter hook output priority 0"))),
    Case("nothing, through a wire that only looks", boxes={2: WIRE.format("CheckIPHeader -> Counter")}),
    Case("MSS clamped", (("MSS clamper", 2, 3),), prepare=rules("r2", f"{_SYN} tcp option maxseg size set 1300")),
    Case("MSS clamped, IPv6", (("MSS clamper", 2, 3),), wide=True,
         prepare=rules("r2", f"{_SYN} tcp option maxseg size set 1200", family="ip6")),
    Case("MSS clamped by the first router", (("MSS clamper", 1, 2),), prepare=rules("r1", f"{_SYN} tcp option maxseg size set 1300")),
    Case("MSS clamped before the first router", (("MSS clamper", 0, 1),),
         prepare=rules("r1", f"{_SYN} tcp option maxseg size set 1300", hook="filter hook prerouting priority 0")),
    Case("MSS clamped behind a silent router", (("MSS clamper", 2, 4),), silent=(3,), prepare=every(
        rules("r2", f"{_SYN} tcp option maxseg size set 1300"),
        rules("r3", "icmp type time-exceeded drop", hook="filter hook output priority 0"))),
    Case("window scale overwritten with NOP", (("option stripper", 2, 3),), probe="IP / TCP / mss(1460) / wscale(7) / nop()",
         boxes={2: _stores(44, "01 01 01")}),
    Case("SACK permitted overwritten with NOP", (("option stripper", 2, 3),), probe="IP / TCP / mss(1460) / SACKP",
         boxes={2: _stores(46, "01 01")}),
    Case("MPTCP overwritten with NOP", (("option stripper", 1, 2),), probe="mptcp",
         boxes={1: _stores(44, "01 01 01 01 01 01 01 01 01 01 01 01")}),
    Case("timestamps stripped", (("option stripper", 2, 3),), prepare=rules("r2", f"{_SYN} reset tcp option timestamp")),
    Case("window changed", (("window changer", 2, 3),), boxes={2: _stores(34, "10 00")}),
    Case("DSCP set", (("DSCP changer", 2, 3),), prepare=rules("r2", "ip dscp set cs3")),
    Case("DSCP cleared", (("DSCP changer", 3, 4),), probe="ip{dscp=46} / TCP", prepare=rules("r3", "ip dscp set cs0")),
    Case("DSCP set, IPv6", (("DSCP changer", 2, 3),), wide=True, prepare=rules("r2", "ip6 dscp set cs3", family="ip6")),
    Case("ECN bleached", (("ECN changer", 2, 3),), probe="ecn", boxes={2: WIRE.format("SetIPECN(0)")}),
    Case("DSCP and MSS, at two places", (("DSCP changer", 1, 2), ("MSS clamper", 3, 4)), prepare=every(
        rules("r1", "ip dscp set cs3"), rules("r3", f"{_SYN} tcp option maxseg size set 1300"))),
    Case("identification changed", (("IP ID changer", 2, 3),), probe="ip{id=4660} / TCP / MSS",
         boxes={2: WIRE.format("StoreData(4, \\<77 77>) -> SetIPChecksum")}),
    Case("sequence numbers randomised", (("sequence randomiser", 2, 3),), boxes={2: BOTH.format("TCPSequenceRandomizer")}),
    Case("payload rewritten", (("payload rewriter", 2, 3),), probe="IP / UDP / raw('hello, world')",
         boxes={2: WIRE.format("udp :: IPClassifier(udp, -); udp[0] -> StoreData(28, \\<48 45>) -> CheckIPHeader -> SetUDPChecksum -> join :: Null; "
                               "udp[1] -> join; join")}),
    Case("segment split", (("segment splitter", 2, 3),), probe="IP / tcp{flags=TCP.ACK, ack=1} / raw('" + "x" * 500 + "')",
         boxes={2: WIRE.format("TCPFragmenter(300)")}),
    # Linux puts addresses, ports and checksums of a quote back: nothing of such a NAT is left to be seen in it.
    Case("source translated", prepare=rules("r2", "oifname out masquerade", hook="nat hook postrouting priority 100")),
    Case("prohibited", is_reached=False, prepare=rules("r3", "tcp dport 80 reject with icmp type admin-prohibited")),
    Case("filtered", is_reached=False, prepare=rules("r3", "tcp dport 80 drop")),
    Case("reset by a firewall", prepare=rules("r3", "tcp dport 80 reject with tcp reset"), is_reached=True),
]
