"""penstock verify, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from penstock.cli.main import main
from penstock.packet.capture import CaptureReader

EXAMPLES = Path(__file__).parents[2] / "examples" / "verify"
BOX = """FromDevice(lan) -> Strip(14) -> CheckIPHeader -> f :: IPFilter(deny dst host 8.8.8.8, allow tcp dst port 80, allow udp dst port 53, deny all)
  -> DecIPTTL -> rw :: IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop) -> Unstrip(14) -> ToDevice(wan);
FromDevice(wan) -> Strip(14) -> CheckIPHeader -> [1] rw; rw[1] -> Unstrip(14) -> ToDevice(lan);
"""


@pytest.fixture
def box(tmp_path: Path) -> str:
    file = tmp_path / "edge.click"
    file.write_text(BOX)
    return str(file)


def test_assertions_are_shown_with_packets_an_example_and_the_way(box: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", box, "allow tcp port 80 from lan to wan", "deny any to 8.8.8.8", "ip.src unchanged from lan to wan", "--replay"]) == 1
    out = capsys.readouterr().out
    assert "holds  allow tcp port 80 from lan to wan\n       SYN, SYN/ACK and ACK get through\n" in out
    assert "packets: syn.ip.dst is all but 8.8.8.8\n                syn.tcp.dst is 80\n" in out
    assert "example: 192.168.0.1:40000 > 198.51.100.1:80 TCP [S] ttl 64, 54 bytes\n" in out
    assert "edge/f :: IPFilter(deny dst host 8.8.8.8, allow tcp dst port 80," in out and f"{box}:1\n" in out
    assert "syn.ip.dst is not 8.8.8.8  (elements/classification.py:" in out
    assert "holds  deny any to 8.8.8.8\n       none gets there\n" in out
    assert "FAILS  ip.src unchanged from lan to wan\n       192.168.0.1 becomes 1.0.0.1 in the example\n" in out
    assert out.count(", as predicted") == 2 and "NOT" not in out
    assert out.endswith("2 of 3 hold\n") and "assumed: by their abstraction: Rewriter.first_free\n" in out


def test_without_assertions_it_is_told_who_reaches_whom(box: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", box, "-b"]) == 1
    out = capsys.readouterr().out
    assert "holds  allow any from lan to wan\n" in out and "FAILS  allow any from wan to lan\n       none arrives at lan: they are dropped at edge/rw" in out


def test_the_policy_beside_a_file_is_the_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(EXAMPLES / "mobile.toml"), "-b"]) == 0
    assert capsys.readouterr().out.endswith("6 of 6 hold\n")


def test_results_as_json_junit_and_capture(box: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "p"
    policy.write_text("# a comment\nallow udp from lan to wan\ndeny udp from lan to wan\n")
    assert main(["verify", box, "-p", str(policy), "--json", "--replay", "--junit", str(tmp_path / "j.xml"), "--pcap", str(tmp_path / "e.pcap")]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["verdict"], first["line"], second["verdict"]) == ("yes", 2, "no")
    assert first["example"]["node"] == "wan" and "as predicted" in first["example"]["replay"]
    assert [s["element"] for s in first["example"]["way"]][:3] == ["FromDevice@1", "Strip@2", "CheckIPHeader@3"]
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [len(case.findall("failure")) for case in suite] == [0, 1]
    with CaptureReader(str(tmp_path / "e.pcap")) as reader:
        frames = [p.data for p in reader]
    assert [f.hex() for f in frames] == [first["example"]["sent"], second["example"]["sent"]]


@pytest.mark.parametrize(("words", "problem"), [
    (["no.click"], "penstock verify: no.click: No such file or directory"), (["no.toml"], "penstock verify: no.toml: No such file or directory"),
    ([str(EXAMPLES / "mobile.toml"), "fly"], "penstock verify: line 1: 'fly' is not understood; a line is one of:\nallow PACKETS"),
    ([str(EXAMPLES / "mobile.toml"), "-p", "no.policy"], "penstock verify: no.policy: No such file or directory"),
])
def test_mistakes_are_told_in_a_line(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *words]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith(problem) and "Traceback" not in err


@pytest.mark.parametrize("option", ["--pcap", "--graph", "--junit"])
def test_a_file_that_cannot_be_written_is_told(option: str, box: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", box, "deny any to 8.8.8.8", option, "/no/such/folder/x"]) == 2
    assert capsys.readouterr().err == "penstock verify: /no/such/folder/x: No such file or directory\n"


def test_a_configuration_with_mistakes_is_shown_as_check_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.click").write_text("FromDevice(0) -> Strip(banana) -> ToDevice(1)")
    assert main(["verify", str(tmp_path / "x.click")]) == 2
    assert "Strip" in capsys.readouterr().err


def test_what_would_change_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(EXAMPLES / "mobile.toml"), "--what-if"]) == 0
    out = capsys.readouterr().out
    assert "without firewall: FAILS  allow tcp from mobile to server\n    the SYN leaves nat through 'outside', which is linked to nothing\n" in out
    assert out.endswith("5 variations, 0 of them change nothing\n")


def test_two_configurations_are_compared(box: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.click"
    other.write_text(BOX.replace("deny all", "deny icmp, deny all"))
    assert main(["verify", box, "--same-as", str(other)]) == 0
    assert capsys.readouterr().out == "they do the same with every packet (chance, time and other packets left aside)\n"
    other.write_text(BOX.replace("port 53", "port 54"))
    assert main(["verify", box, "--same-as", str(other)]) == 1
    out = capsys.readouterr().out
    assert "at lan: 192.168.0.1:40000 > 198.51.100.1:53 UDP" in out and f"    {other}: dropped\n" in out and out.endswith("they differ\n")


def test_a_tenant_s_configuration_is_admitted_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.click"
    file.write_text("FromDevice(0) -> Strip(14) -> CheckIPHeader -> StoreIPAddress(8.8.8.8, dst) -> Unstrip(14) -> ToDevice(0)")
    assert main(["verify", str(file), "--tenant", "10.1.0.0/16"]) == 1
    assert capsys.readouterr().out.startswith("destination: it sends to an address that it may not send to (example: 192.168.0.1")
    assert main(["verify", str(file), "--tenant", "10.1.0.0/16", "--may-send", "8.8.8.0/24"]) == 0
    assert main(["verify", str(file), "--tenant", "banana"]) == 2
    assert "address 'banana'" in capsys.readouterr().err


def test_what_a_configuration_does_is_summed_up(box: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", box, "--summary"]) == 0
    out = capsys.readouterr().out
    assert "lan, tcp:\n    dropped at f (rule 0: deny dst host 8.8.8.8)\n        where ip.dst is 8.8.8.8\n" in out
    assert "    to wan: ip.ttl = ip.ttl - 1; ip.src = 1.0.0.1\n" in out
    assert "lan, icmp:\n    dropped at f (rule 3: deny all)\n        always\n" in out or "lan, icmp:\n    dropped at f\n        always\n" in out
    assert "wan, tcp:\n    dropped at rw\n" in out and "the checksum" not in out
