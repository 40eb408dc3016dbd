"""What each element in a packet's path costs: CPU nanoseconds a packet, beside the same configuration without it.

    python bench/elements.py [--json] [NAME ...]

64 bytes of UDP over IPv4 in 64 flows, Ethernet header included, unless the row says otherwise.
"""

from __future__ import annotations

import statistics
import sys

from penstock import Router
from table import cpu_ns_a_packet, show

ROUNDS, PACKETS = 5, 500_000
IP = "Strip(14) -> CheckIPHeader"
TCP = f"{IP} -> ForceTCP(80, false, 16) -> CheckIPHeader"
KEY = "00112233445566778899aabbccddeeff"
ASSOCIATION = f"SATable(0x100 {KEY} 000102030405060708090a0b0c0d0e0f10111213);"
GCM_ASSOCIATION = f"SATable(0x100 {KEY} 00010203);"
SIX = "MemSource(LENGTH 64, FLOWS 64, LIMIT {n}, STOP true) -> Strip(42) -> UDPIP6Encap(fd00::1, 1024, 3ffe::2, 53) -> CheckIP6Header"
#: element -> (what is measured with, what is measured without); ``->`` is put around them
ROWS: dict[str, tuple[str, str]] = {
    "Counter": ("Counter", ""),
    "Paint": ("Paint(3)", ""),
    "Strip, CheckIPHeader": (IP, ""),
    "EtherEncap": ("Strip(14) -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2)", "Strip(14)"),
    "EtherMirror": ("EtherMirror", ""),
    "EtherSwitch": ("s :: EtherSwitch -> Discard; Idle -> [1] s; s[1]", ""),
    "VLANEncap, VLANDecap": ("VLANEncap(5) -> VLANDecap", ""),
    "Classifier": ("c :: Classifier(12/0806, 12/0800); c[0] -> Discard; c[1]", ""),
    "HashSwitch": ("h :: HashSwitch(26, 8); h[0] -> Discard; h[1]", ""),
    "FlowPinner": (f"{IP} -> f :: FlowPinner; f[0] -> Discard; f[1]", IP),
    "MaglevSwitch": (f"{IP} -> f :: MaglevSwitch; f[0] -> Discard; f[1]", IP),
    "RoundRobinSwitch": ("r :: RoundRobinSwitch; r[0] -> Discard; r[1]", ""),
    "Tee": ("t :: Tee -> Discard; t[1]", ""),
    "Queue, Unqueue": ("Queue -> Unqueue(32)", ""),
    "Meter": ("m :: Meter(1000000000); m[1] -> Discard; m[0]", ""),
    "RED": ("RED(5, 50, 0.02) -> Queue -> Unqueue(32)", "Queue -> Unqueue(32)"),
    "CoDel": ("Queue -> CoDel(TARGET 5, INTERVAL 100) -> Unqueue(32)", "Queue -> Unqueue(32)"),
    "PIE": ("PIE -> Queue -> Unqueue(32)", "Queue -> Unqueue(32)"),
    "DecIPTTL": (f"{IP} -> DecIPTTL", IP),
    "IPGWOptions": (f"{IP} -> IPGWOptions(10.0.0.1)", IP),
    "IPFragmenter": (f"{IP} -> IPFragmenter(1500)", IP),
    "SetIPChecksum": (f"{IP} -> SetIPChecksum", IP),
    "SetUDPChecksum": (f"{IP} -> SetUDPChecksum", IP),
    "CheckUDPHeader": (f"{IP} -> CheckUDPHeader", IP),
    "RadixIPLookup": (f"{IP} -> RadixIPLookup(0/0 0, 10.0.0.0/8 0, 20.0.0.0/8 0)", IP),
    "IPClassifier": (f"{IP} -> c :: IPClassifier(tcp, udp dst port 53, -); c[0] -> Discard; c[1] -> Discard; c[2]", IP),
    "IPFilter, four rules": (f"{IP} -> IPFilter(deny src net 7.0.0.0/8, deny tcp, deny udp dst port 53, allow all)", IP),
    "IPAddrRewriter": (f"{IP} -> IPAddrRewriter(pattern 1.0.0.1-1.0.0.200 0 0)", IP),
    "IPRewriter": (f"{IP} -> IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 0)", IP),
    "FlowCache": (f"{IP} -> FlowCache", IP),
    "AggregateIPFlows": (f"{IP} -> AggregateIPFlows", IP),
    "AggregateCounter": (f"{IP} -> AggregateIP(ip src) -> AggregateCounter", f"{IP} -> AggregateIP(ip src)"),
    "IPRateMonitor": (f"{IP} -> IPRateMonitor(PACKETS, 1, 100000)", IP),
    "PatternSearch, four strings": (f'{IP} -> s :: PatternSearch("attack", "exploit", "botnet", "worm"); s[0] -> Discard; s[1] -> Discard; '
                                    "s[2] -> Discard; s[3] -> Discard; s[4]", IP),
    "ARPQuerier": (f"{IP} -> SetIPAddress(10.0.0.9) -> q :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1) -> Discard; Idle -> [1] q; q[1]",
                   f"{IP} -> SetIPAddress(10.0.0.9)"),
    "UDPIPEncap": ("UDPIPEncap(10.0.0.1, 1, 10.0.0.2, 2)", ""),
    "IPEncap": (f"{IP} -> IPEncap(47, 10.0.0.1, 10.0.0.2)", IP),
    "GREEncap": (f"{IP} -> GREEncap(10.0.0.1, 10.0.0.2, KEY 5)", IP),
    "VXLANEncap": ("VXLANEncap(10.0.0.1, 10.0.0.2, 5)", ""),
    "MPLSPush, MPLSPop": (f"{IP} -> MPLSPush(17) -> MPLSPop", IP),
    "ESP, AES-CBC, HMAC-SHA1": (f"{IP} -> SetAnnoByte(33, 1) -> IPsecESPEncap -> IPsecAES(1) -> IPsecAuthHMACSHA1(0)", IP),
    "IP6Filter, three rules": ("6 IP6Filter(deny src net fe80::/10, deny tcp, allow all)", "6"),
    "IP6Rewriter": ("6 IP6Rewriter(pattern 3ffe::1 1024-65535 - - 0 0)", "6"),
    "DecIP6HLIM": ("6 DecIP6HLIM", "6"),
    "IPInputCombo": ("IPInputCombo(1)", "Strip(14) -> CheckIPHeader -> Paint(1)"),
    "IPOutputCombo": (f"{IP} -> o :: IPOutputCombo(1, 10.0.0.1, 1500); "
                      "o[1] -> Discard; o[2] -> Discard; o[3] -> Discard; o[4] -> Discard; o[0]", IP),
    "ICMPPingResponder": (f"{IP} -> ICMPPingResponder", IP),
    "TCPSequenceRandomizer": (f"{TCP} -> t :: TCPSequenceRandomizer; Idle -> [1] t; t[1] -> Discard; t[0]", TCP),
    "TCPRewriter": (f"{TCP} -> TCPRewriter(pattern 1.0.0.1 1024-65535 - - 0 0)", TCP),
    "CheckTCPFlow": (f"{TCP} -> f :: FlowCache -> CheckTCPFlow(f, PICKUP true)", f"{TCP} -> FlowCache"),
    "SnoopTCP": (f"{TCP} -> s :: SnoopTCP; Idle -> [1] s; s[1] -> Discard; s[2] -> Discard; s[3] -> Discard; s[0]", TCP),
    "RFC2507Comp, RFC2507Decomp": (f"{TCP} -> RFC2507Comp(64) -> RFC2507Decomp(64)", TCP),
    "IPsecAESGCM": (f"{IP} -> SetAnnoByte(33, 1) -> IPsecESPEncap(IV 8) -> IPsecAESGCM(1)", IP),
    "ProtocolTranslator46": (f"{IP} -> ProtocolTranslator46", IP),
    "BandwidthShaper": ("Queue -> BandwidthShaper(100GBps) -> Unqueue(32)", "Queue -> Unqueue(32)"),
    "LookupIP6Route": ("6 LookupIP6Route(3ffe::/16 0, ::/0 0)", "6"),
}


class Ready:
    """A configuration that can run again and again."""

    def __init__(self, rest: str, prologue: str = ""):
        source = f"src :: MemSource(LENGTH 64, FLOWS 64, LIMIT {PACKETS}, STOP true)"
        if rest.startswith("6"):
            source = "src :: " + SIX.format(n=PACKETS)
            rest = rest[1:].strip()
        self.router = Router.from_text(f"{prologue} {source} {'-> ' + rest if rest else ''} -> Discard;")
        self.router.load()
        self.run()

    def run(self) -> float:
        return cpu_ns_a_packet(self.router, PACKETS)


def main() -> None:
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    rows: list[list[object]] = []
    without: dict[str, Ready] = {}
    for name, (rest, base) in ROWS.items():
        if wanted and not any(word in name for word in wanted):
            continue
        prologue = GCM_ASSOCIATION if "GCM" in rest else ASSOCIATION if "ESP" in rest else ""
        with_it = Ready(rest, prologue)
        other = without.get(base) or without.setdefault(base, Ready(base))
        pairs = [(with_it.run(), other.run()) for _ in range(ROUNDS)]
        whole = statistics.median(a for a, _ in pairs)
        rows.append([name, whole, max(statistics.median(a - b for a, b in pairs), 0.0)])
    show("Elements: CPU nanoseconds a packet", ["element", "with it", "its part"], rows)


if __name__ == "__main__":
    main()
