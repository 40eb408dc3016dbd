"""What a tenant's configuration must not do is found, and what it may do is let through."""

from __future__ import annotations

import pytest

from penstock.verify.admission import Tenant, admit
from penstock.verify.box import Box
from penstock.verify.intervals import Intervals

OWN = Intervals(((0x0A010000, 0x0A01FFFF),))
IP = "FromDevice(0) -> Strip(14) -> CheckIPHeader -> "
BACK = " -> Unstrip(14) -> ToDevice(0)"


@pytest.mark.parametrize("text", [
    IP + "ICMPPingResponder -> Unstrip(14) -> EtherMirror -> ToDevice(0)", "FromDevice(0) -> Discard", IP + "IPMirror" + BACK,
    IP + "IPFilter(allow tcp dst port 80, deny all) -> StoreIPAddress(10.1.0.7, dst)" + BACK,
    IP + "r :: IPRewriter(pattern 10.1.0.1 1024-65535 10.1.0.9 80 0 0)" + BACK,
])
def test_harmless_configurations_are_admitted(text: str) -> None:
    assert admit(Box(text), Tenant(OWN)) == []


@pytest.mark.parametrize(("text", "rule", "words"), [
    (IP + "StoreIPAddress(8.8.8.8, dst)" + BACK, "destination", "it sends to an address that it may not send to"),
    (IP + "StoreIPAddress(9.9.9.9, src)" + BACK, "spoofing", "it sends with an address that is neither its own"),
    (IP + "t :: Tee; t[0] -> u :: Unstrip(14) -> ToDevice(0); t[1] -> u", "amplification", "more than one packet"),
    (IP + "IPEncap(4, 10.1.0.1, 10.1.0.2) -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(0)", "amplification", "a longer packet"),
    ("InfiniteSource -> ToDevice(0); FromDevice(0) -> Discard", "source", "sends packets by itself"),
    (IP + "IPRewriter(pattern 10.1.0.1 1024-65535 10.1.0.2 - 0 0, MAPPING_CAPACITY 4000000)" + BACK, "memory", "and 64 MiB are granted"),
    (IP + "IPFilter(allow src host 1.2.3.4, deny all) -> StoreIPAddress(10.1.0.7, src) -> StoreIPAddress(5.5.5.5, dst)" + BACK, "destination", "may not send to"),
])
def test_harmful_configurations_are_refused_with_an_example(text: str, rule: str, words: str) -> None:
    found = admit(Box(text), Tenant(OWN))
    assert any(v.rule == rule and words in str(v) for v in found), list(map(str, found))


def test_what_is_granted_may_be_sent_to() -> None:
    box = Box(IP + "StoreIPAddress(8.8.8.8, dst)" + BACK)
    assert admit(box, Tenant(OWN, Intervals(((0x08080808, 0x08080808),)))) == []
