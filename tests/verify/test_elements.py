"""The packet code of every element class can be followed."""

from __future__ import annotations

import inspect
import re

import pytest

from penstock.elements import catalog
from penstock.verify.box import Box
from penstock.verify.executor import Executor
from penstock.verify.hosts import make_packet
from penstock.verify.path import Path
from penstock.verify.state import BoxState

#: what of them is not decided, and why
UNDECIDED = {"IPReassembler": "where bytes of a fragment go depends on its offset", "RandomBitErrors": "each byte may change",
             "SetCRC32": "it is behind data whose length is not known", "CheckCRC32": "it is behind data whose length is not known",
             "EraseIPPayload": "how many bytes become zero depends on the length",
             **dict.fromkeys(("ProtocolTranslator64", "NAT64"), "where the upper layer is depends on the lengths of extension headers"),
             "TCPFragmenter": "where a part lies depends on the lengths of headers",
             **dict.fromkeys(("IPsecAES", "IPsecAESGCM", "IPsecAuthHMACSHA1", "IPsecAuthSHA1"), "ciphers are not computed with variables"),
             **dict.fromkeys(("IPsecESPEncap", "IPsecESPUnencap"), "the padding depends on the length")}
#: classes that must not be in a configuration that is used
UNUSABLE = {"Error"}


def example_of(name: str) -> str:
    found = re.search(r"Example:\n((?:    .*\n?|\n)+)", inspect.getdoc(catalog.find(name)) or "")
    assert found, name
    return re.sub(r"^    ", "", found[1], flags=re.MULTILINE)


@pytest.mark.parametrize("name", [n for n in catalog.class_names() if n not in UNUSABLE])
def test_its_packet_code_is_followed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    box = Box(example_of(name))
    with box.router:
        _follow(box, name)


def _follow(box: Box, name: str) -> None:
    for element in box.router.elements:
        if element.class_name != name:
            continue
        for port in range(element.ninputs):
            if element.input_codes[port] != "h":
                continue
            for protocol in ("udp", "tcp", "icmp", ""):
                packet = make_packet(protocol)
                start = packet.meta["data"]
                assert isinstance(start, int)
                packet.meta.update(network=start + 14, transport=start + 34)
                runs = Executor(box.program).explore(box.program.entry(f"e{element.index}_push{port}"), packet, Path(), BoxState())
                assert runs
                assert name in UNDECIDED or not [r.not_decided for r in runs if r.not_decided]
