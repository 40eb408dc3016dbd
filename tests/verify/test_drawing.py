"""Ways as pictures."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from penstock.verify.drawing import draw
from penstock.verify.networkfile import load_network
from penstock.verify.policy import parse_policy

EXAMPLES = Path(__file__).parents[2] / "examples" / "verify"


def test_a_way_is_drawn_with_hosts_boxes_elements_and_what_decided() -> None:
    network = load_network(EXAMPLES / "proxy-destination.toml")
    policy = "reach tcp port 80 to 198.51.100.7 from client to cache\nallow all tcp from client to cache\ndeny any from cache to client"
    answers = [a.check(network) for a in parse_policy(policy, network)]
    root = ElementTree.fromstring(draw(answers))
    texts = ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]
    nodes = [t for t in texts if t in ("client", "firewall", "proxy", "cache", "dropped")]
    assert nodes[:5] == ["client", "firewall", "proxy", "cache", "client"] and nodes[-1] == "dropped"
    assert "state :: IPRewriter" in texts
    assert any(t.startswith("no: does all tcp get from client to cache?") for t in texts)
    assert "ip.dst = 192.0.2.80" in texts
    width = float(root.get("width") or 0)
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        if "%" not in (rect.get("width") or ""):
            assert float(rect.get("x") or 0) + float(rect.get("width") or 0) <= width


def test_nothing_to_draw_is_an_empty_picture() -> None:
    assert ElementTree.fromstring(draw([])).get("height") == "0"
