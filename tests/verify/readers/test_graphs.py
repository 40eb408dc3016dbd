"""Links out of graphs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.verify.network import NetworkError
from penstock.verify.networkfile import load_network
from penstock.verify.policy import parse_policy
from penstock.verify.readers.errors import TableError
from penstock.verify.readers.graphs import parse_graph

DOT = """strict graph "my network" { // a comment
  rankdir=LR; node [shape=box, label="a;b"];
  left [color=red]
  subgraph cluster_0 { label = "inside"; left -- r1:lan -- "r 2":x:ne [weight=3] }
  "r 2" -- right; /* the
  end */
}
"""
DIRECTED = "digraph { a -> b; b -> a; b:1 -> c:0 }"
GRAPHML = """<?xml version="1.0" encoding="utf-8"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key attr.name="label" attr.type="string" for="node" id="d33" /><key attr.name="Country" for="node" id="d29" />
<graph edgedefault="undirected"><node id="0"><data key="d33">New York</data><data key="d29">US</data></node>
<node id="1"><data key="d33">Chicago</data></node><node id="2" />
<edge source="0" target="1"><data key="d1">x</data></edge><edge source="1" target="2" sourceport="e1" /></graph></graphml>"""


def test_graphs_are_read() -> None:
    assert parse_graph(DOT) == [(("left", ""), ("r1", "lan")), (("r1", "lan"), ("r_2", "x")), (("r_2", ""), ("right", ""))]
    assert parse_graph(DIRECTED) == [(("a", ""), ("b", "")), (("b", "1"), ("c", "0"))]
    assert parse_graph(GRAPHML) == [(("New_York", ""), ("Chicago", "")), (("Chicago", "e1"), ("2", ""))]


@pytest.mark.parametrize(("text", "problem"), [
    ("", "expected 'graph {'"), ("graph { a -- }", "is no name"), ("graph { a -- { b c } }", "whole subgraph"), ("graph { a -- b", "braces"), ("graph { a ? b }", "line 1: '\\? b }'"),
    ("<a/>", "expected <graphml>, not <a>"), ("<graphml>", "no element found"), ("<!DOCTYPE x><graphml/>", "a document type"),
    ('<graphml><graph><node id="a"/><edge source="a" target="b"/></graph></graphml>', "no such node"),
])
def test_mistakes_are_told(text: str, problem: str) -> None:
    with pytest.raises(TableError, match=problem):
        parse_graph(text)


@given(st.text(alphabet='graph{}[];:-> ab"\\/*#=\n<', max_size=60))
def test_any_graph_is_read_or_refused(text: str) -> None:
    for candidate in (text, "graph {" + text + "}"):
        with contextlib.suppress(TableError):
            parse_graph(candidate)


def test_a_network_takes_its_links_from_a_graph(tmp_path: Path) -> None:
    (tmp_path / "net.dot").write_text("graph { a -- r1; r1 -- r2; r2 -- b }")
    (tmp_path / "r1").write_text("10.0.0.0/8 a\n0.0.0.0/0 r2\n")
    (tmp_path / "r2").write_text("10.0.0.0/8 r1\n192.0.2.0/24 b\n")
    text = ("graph = 'net.dot'\n[host.a]\naddress = '10.0.0.0/8'\n[host.b]\naddress = '192.0.2.0/24'\n"
            "[box.r1]\nroutes = 'r1'\n[box.r2]\nroutes = 'r2'\n")
    (tmp_path / "n.toml").write_text(text)
    network = load_network(tmp_path / "n.toml")
    assert all(a.check(network).holds for a in parse_policy("allow tcp to 192.0.2.1 from a to b\ndeny any to 192.0.3.1 from a to b", network))
    (tmp_path / "n.toml").write_text(text.replace("net.dot", "r1"))
    with pytest.raises(NetworkError, match="graph: .*r1: line 1: "):
        load_network(tmp_path / "n.toml")
