"""Rules of nftables mean here what they mean there."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.verify.network import Network
from penstock.verify.policy import parse_policy
from penstock.verify.readers.errors import TableError
from penstock.verify.readers.nftables import parse_nftables
from penstock.verify.readers.rules import filter_configuration
from tests.conftest import needs_root
from tests.verify.readers.walls import holds, walled

RULESET = """#!/usr/sbin/nft -f
flush ruleset
table ip6 filter {
    chain forward { type filter hook forward priority 0; policy accept; }
}
table inet fw {
    set bad {
        type ipv4_addr
        flags interval
        elements = { 8.8.8.8, 192.0.2.0/24,
                 198.51.100.10-198.51.100.20 }
    }
    chain web {
        ip daddr 203.0.113.9 return
        tcp dport { 80, 443 } counter packets 3 bytes 180 accept
        udp dport 5000-5010 accept comment "games; and more"
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        iifname "lan" ip daddr @bad log prefix "bad: " drop
        ct state vmap { established : accept, related : accept, invalid : drop }
        ip6 nexthdr icmpv6 accept
        iifname "lan" oifname "wan" ip saddr 10.0.0.0/8 jump web
        iifname "lan" icmp type echo-request accept
        meta l4proto udp th dport 53 accept
    }
    chain input { type filter hook input priority filter; policy accept; tcp dport 22 accept; }
}
"""
POLICY = """allow tcp port 80 from lan to wan
allow tcp port 443 from lan to wan
deny tcp port 81 from lan to wan
deny tcp port 80 to 203.0.113.9 from lan to wan
deny any to 8.8.8.8 from lan to wan
deny any to 198.51.100.15 from lan to wan
allow tcp port 80 to 198.51.100.21 from lan to wan
allow udp port 5010 from lan to wan
deny udp port 5011 from lan to wan
allow icmp from lan to wan
deny icmp from wan to lan
deny tcp from wan to lan
reach udp port 53 from wan to lan
allow udp port 53 to 203.0.113.9 from lan to wan
"""


def box(text: str) -> Network:
    return walled(filter_configuration(*parse_nftables(text)), "lan", "wan")


def test_rules_filter_with_sets_chains_interfaces_and_state() -> None:
    holds(box(RULESET), POLICY)


@needs_root()
def test_what_the_kernel_prints_of_them_is_the_same(tmp_path: object) -> None:
    script = "".join(line for line in RULESET.splitlines(keepends=True) if "nexthdr" not in line)
    done = subprocess.run(["unshare", "-n", "sh", "-c", "nft -f - && nft list ruleset"], input=script, text=True, capture_output=True)
    if done.returncode:
        pytest.skip(f"nft does not run here: {done.stderr.strip()[:80]}")
    holds(box(done.stdout), POLICY)


def test_a_rule_before_that_for_known_flows_decides_first() -> None:
    text = "table ip t { chain c { type filter hook forward priority 0; policy drop\n iifname a ip saddr 10.9.0.0/16 drop\n" \
           "ct state established accept\niifname a accept\noifname a ip saddr 192.0.2.1 drop } }"
    network = walled(filter_configuration(*parse_nftables(text), interfaces=["a", "b"]), "a", "b")
    holds(network, "deny any src 10.9.1.1 from a to b\nallow tcp src 10.8.0.1 to 192.0.2.1 from a to b\ndeny any from b to a")
    first = text.replace("ct state established accept\niifname a accept\noifname a ip saddr 192.0.2.1 drop",
                         "oifname a ip saddr 192.0.2.1 drop\nct state established accept\niifname a accept")
    network = walled(filter_configuration(*parse_nftables(first), interfaces=["a", "b"]), "a", "b")
    holds(network, "not allow tcp src 10.8.0.1 to 192.0.2.1 from a to b\nreach tcp src 10.8.0.1 to 192.0.2.1 from a to b")


@pytest.mark.parametrize(("rule", "problem"), [
    ("tcp flags syn accept", "'tcp flags' is not understood"), ("limit rate 3/second accept", "'limit' is not understood"), ("ip saddr @no drop", "there is no set 'no'"),
    ("jump nowhere", "there is no chain 'nowhere'"), ("ip saddr", "it ends too early"), ("ip saddr 10.0.0.300 drop", "10.0.0.300"), ("tcp dport 70000 drop", "out of range"),
    ("tcp dport banana drop", "not found"), ("ct state established drop", "is understood where it accepts"), ("meta mark 3 accept", "'mark' is not understood"),
    ("ip saddr 10.0.0.9-10.0.0.1 drop", "last IP address must be greater"), ("jump c", "jumps too deep"), ("tcp dport vmap { 80 : } accept", "no entry of a verdict map"),
    ("iifname x accept", "its rules name x: say which two interfaces"),
])
def test_what_is_not_understood_is_refused_with_its_line(rule: str, problem: str) -> None:
    with pytest.raises(TableError) as error:
        filter_configuration(*parse_nftables("table ip t {\nchain c {\ntype filter hook forward priority 0;\n" + rule + "\n}\n}\n"))
    assert problem in str(error.value)
    assert "line 4: " in str(error.value) or "interfaces" in problem or "deep" in problem


@pytest.mark.parametrize(("text", "problem"), [
    ("", "no chain of type filter at the hook forward"), ("table ip t {\nx\n}", "line 2: 'x' is not understood in a table"), ("{", "without a name before it"),
    ("table ip t { chain c { type filter hook forward priority 0; } chain d { type filter hook forward priority 1; } }", "several chains"),
    ("table ip t { chain c { type filter hook forward priority 0; tcp dport { 80", "a set that does not end"), ("rules", "expected 'table FAMILY NAME {'"),
])
def test_what_is_no_ruleset_is_refused(text: str, problem: str) -> None:
    with pytest.raises(TableError, match=problem):
        parse_nftables(text)


WORDS = ["table", "ip", "inet", "t", "{", "}", "chain", "c", "type", "filter", "hook", "forward", ";", "\n", "policy", "drop", "accept", "tcp", "dport", "80", ",", "vmap",
         ":", "jump", "saddr", "10.0.0.0/8", "1.2.3.4-1.2.3.9", "!=", "@s", "set", "elements", "=", "ct", "state", "established", "iifname", '"lan"', "return", "goto", "log"]


@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_any_ruleset_is_read_or_refused(words: list[str]) -> None:
    inside = " ".join(words)
    for text in (inside, f"table ip t {{ chain c {{ type filter hook forward priority 0; {inside} }} }}"):
        try:
            made = filter_configuration(*parse_nftables(text), interfaces=["a", "b"])
        except TableError:
            continue
        Network().add_box("x", made)


def test_policies_are_read_from_a_file_of_a_box() -> None:
    assert parse_policy(POLICY, box(RULESET))
