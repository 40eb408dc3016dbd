"""Linux routers, nftables and this project's own configurations as middleboxes: what is found, and what is not."""

from __future__ import annotations

import pytest

from penstock.tracebox import trace
from tests.tracebox.cases import CASES, Case
from tests.tracebox.chain import Chain, needs_namespaces


@needs_namespaces
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_what_is_on_the_path_is_found_where_it_is(case: Case) -> None:
    with Chain(4, boxes=case.boxes) as chain:
        case.prepare(chain)
        with chain.inside("client"):
            path = trace(chain.server6 if case.wide else chain.server, probe=case.probe)
    assert tuple((f.kind, f.after_hop, f.by_hop) for f in path.findings) == case.expected, path.hops
    assert path.is_reached == case.is_reached
    for hop in path.hops:
        if hop.ttl in case.silent:
            assert hop.address is None
        elif case.is_reached and hop.ttl <= 4 and case.name != "reset by a firewall":
            assert hop.address == chain.router(hop.ttl, wide=case.wide)
