"""Each detection on a path without and with what it looks for, with real connections to a real server."""

from __future__ import annotations

import sys
import time

import pytest

from penstock.tracebox.detections import Subject, detections, run
from tests.tracebox.cases import BOTH, WIRE, rules
from tests.tracebox.chain import Chain, needs_namespaces

SERVER = """
import socketserver, sys
class Talk(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 ready\\r\\n")
        while self.request.recv(4096):
            self.request.sendall(b"200 fine\\r\\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
servers = [socketserver.ThreadingTCPServer(("", port), Talk) for port in (80, 21)]
import threading
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("up", flush=True)
servers[0].serve_forever()
"""
UDP_REWRITE = ("tcp :: IPClassifier(tcp and dst port 21, -); tcp[0] -> StoreData(40, \\<58>) -> CheckIPHeader -> SetTCPChecksum -> join :: Null; "
               "tcp[1] -> join; join")
HTTP_REWRITE = ("tcp :: IPClassifier(tcp and dst port 80 and ip len > 60, -); tcp[0] -> StoreData(44, \\<58>) -> CheckIPHeader -> SetTCPChecksum "
                "-> join :: Null; tcp[1] -> join; join")


def serve(chain: Chain) -> None:
    process = chain.start("server", [sys.executable, "-c", SERVER])
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.05)


@needs_namespaces
def test_a_clean_path_is_called_clean_by_all() -> None:
    with Chain(3) as chain:
        serve(chain)
        with chain.inside("client"):
            verdicts = [run(name, Subject(chain.server)) for name in detections()]
    assert {v.name: v.state for v in verdicts} == dict.fromkeys(detections(), "clean")


@needs_namespaces
@pytest.mark.parametrize(("name", "box", "prepare", "state", "text"), [
    ("ecn", WIRE.format("SetIPECN(0)"), None, "changed", "ECN changer between hops 2 and 3"),
    ("dscp", None, rules("r2", "ip dscp set cs0"), "changed", "DSCP changer between hops 2 and 3"),
    ("fragments", WIRE.format("f :: IPClassifier(ip frag, -); f[0] -> Discard; f[1]"), None, "blocked", "a first fragment is heard of up to hop 2"),
    ("ip-id", WIRE.format("StoreData(4, \\<77 77>) -> SetIPChecksum"), None, "changed", "IP ID changer between hops 2 and 3"),
    ("proxy", None, rules("r2", "tcp dport 80 redirect to :8080", hook="nat hook prerouting priority -100"), "changed", "comes from hop 2"),
    ("statefulness", None, rules("r2", "ct state invalid drop", "tcp flags & (syn | ack) == ack ct state new drop"), "changed", "follows connections"),
    ("tcp-options", None, rules("r2", "tcp flags syn reset tcp option timestamp"), "changed", "option stripper between hops 2 and 3"),
    ("sequence", BOTH.format("TCPSequenceRandomizer"), None, "changed", "sequence randomiser between hops 2 and 3"),
    ("window", WIRE.format("t :: IPClassifier(tcp, -); t[0] -> StoreData(34, \\<10 00>) -> CheckIPHeader -> SetTCPChecksum -> j :: Null; t[1] -> j; j"),
     None, "changed", "window changer between hops 2 and 3"),
    ("mptcp", None, rules("r2", "tcp flags syn reset tcp option mptcp"), "changed", "option stripper between hops 2 and 3"),
    ("ftp-nat", WIRE.format(UDP_REWRITE), None, "changed", "payload rewriter between hops 2 and 3"),
    ("http-headers", WIRE.format(HTTP_REWRITE), None, "changed", "at hop 3"),
    ("quic", None, rules("r2", "udp dport 443 drop"), "blocked", "QUIC is heard of up to hop 2"),
])
def test_what_is_looked_for_is_found(name: str, box: str | None, prepare: object, state: str, text: str) -> None:
    with Chain(3, boxes={2: box} if box else {}) as chain:
        serve(chain)
        if callable(prepare):
            prepare(chain)
        with chain.inside("client"):
            verdict = run(name, Subject(chain.server))
        assert "table" not in chain.run("client", "nft list ruleset")
    assert (verdict.state, text in verdict.text) == (state, True), verdict


@needs_namespaces
def test_the_firewall_rule_is_gone_after_a_kill() -> None:
    program = ("from penstock.tracebox.firewall import DropRule\nimport os, sys, time\nr = DropRule.of('tcp dport 4242 drop')\n"
               "print('up', flush=True)\ntime.sleep(60)")
    with Chain(0) as chain:
        process = chain.start("client", [sys.executable, "-c", program])
        assert process.stdout is not None
        process.stdout.readline()
        assert "4242" in chain.run("client", "nft list ruleset")
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while (left := chain.run("client", "nft list ruleset")).strip() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert left.strip() == ""
