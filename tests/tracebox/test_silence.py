"""Loss, limits and silence told apart, with Linux's own limit."""

from __future__ import annotations

import pytest

from penstock.tracebox.language import parse_probe
from penstock.tracebox.settings import Settings
from penstock.tracebox.silence import explain_silence
from tests.tracebox.chain import Chain, needs_namespaces


@needs_namespaces
@pytest.mark.parametrize(("kind", "rules", "limits"), [
    ("well", (), False),
    ("limits", (), True),
    ("loses", ("icmp type time-exceeded numgen inc mod 3 == 1 drop",), False),
    ("silent", ("icmp type time-exceeded drop",), False),
])
def test_why_a_router_does_not_answer(kind: str, rules: tuple[str, ...], limits: bool) -> None:
    with Chain(3, limits=limits) as chain:
        if rules:
            chain.nft("r2", "filter hook output priority 0", *rules)
        with chain.inside("client"):
            found = explain_silence(chain.server, 2, probe=parse_probe("syn"), settings=Settings())
    assert found.kind == kind, found


@needs_namespaces
def test_a_limit_that_is_used_up_is_no_silence() -> None:
    with Chain(2, limits=True) as chain, chain.inside("client"):
        probe, settings = parse_probe("udp"), Settings()
        explain_silence(chain.server, 1, probe=probe, settings=settings)
        found = explain_silence(chain.server, 1, probe=probe, settings=settings)
    assert found.kind == "limits", found
