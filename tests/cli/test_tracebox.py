"""The commands tracebox, penstock trace and penstock campaign, as users type them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from penstock.cli.main import main as penstock
from penstock.cli.tracebox import main as tracebox
from penstock.packet.capture import CaptureWriter
from penstock.tracebox.network import RecordedNetwork
from tests.conftest import needs_root
from tests.tracebox.chain import Chain, needs_namespaces

SCRIPT = """
function short(ttl, ip, mods)
  print('short', ttl, ip)
  if ttl == 2 then return 1 end
end
function long(ttl, ip, sent, reply, mods)
  if mods and tostring(mods):find('MaxSegSize') then print('mss', ttl, ip, mods:partial()) end
end
print(argv[1], dn4(argv[1]))
pkt = IP / tcp{dst=80} / MSS / NOP
print(pkt:size(), pkt:tcp():getdest(), pkt:get(MSS), #pkt:bytes())
reply = tracebox(pkt, {callback='short'})
print(reply:tcp():hasflags(TCP.RST), reply:source())
tracebox(pkt, {callback='long'})
f = filter(pkt)
print(pkt:sendrecv{timeout=1}:source())
f:close()
set_ttl_range{1, 2}
tracebox(IP / UDP / raw('abc'))
"""


@needs_namespaces
def test_the_original_output_json_and_scripts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = tmp_path / "s.lua"
    script.write_text(SCRIPT)
    with Chain(3) as chain:
        chain.nft("r2", "filter hook forward priority 0", "tcp flags syn tcp option maxseg size set 1300")
        with chain.inside("client"):
            assert tracebox(["-n", "-v", "-p", "IP / TCP / mss(9000)", chain.server]) == 0
            values = capsys.readouterr().out.splitlines()
            assert tracebox([chain.server, "-n", "-p", "IP / TCP / mss(9000)", "-m", "20"]) == 0
            plain = capsys.readouterr().out.splitlines()
            assert tracebox(["-n", "-j", "-v", "-p", "IP / TCP / mss(9000)", chain.server]) == 0
            document = json.loads(capsys.readouterr().out)
            assert tracebox(["-n", "-6", "-u", chain.server6]) == 0
            wide = capsys.readouterr().out.splitlines()
            assert tracebox(["-n", "-s", str(script), chain.server]) == 0
            said = capsys.readouterr().out.splitlines()
        rules = chain.run("client", "nft list ruleset")
    assert values[0] == "tracebox to 10.9.3.2 (10.9.3.2): 64 hops max"
    assert values[1] == "1: 10.9.0.2 0ms "
    assert re.fullmatch(r"2: 10\.9\.1\.2 \d+ms IP::TTL \(2 -> 1\) IP::CheckSum \(0x\w+ -> 0x\w+\) ", values[2])
    assert re.fullmatch(r"3: 10\.9\.2\.2 \d+ms TCP::CheckSum \(0x\w+ -> 0x\w+\) IP::TTL \(3 -> 1\) IP::CheckSum \(0x\w+ -> 0x\w+\) "
                        r"TCPOptionMaxSegSize::MaxSegSize \(9000 -> 1300\) ", values[3])
    assert re.fullmatch(r"4: 10\.9\.3\.2 \d+ms ", values[4])
    assert plain[0].endswith("20 hops max")
    assert re.fullmatch(r"3: 10\.9\.2\.2 \d+ms TCP::CheckSum IP::TTL IP::CheckSum TCPOptionMaxSegSize::MaxSegSize ", plain[3])
    assert document["addr"] == "10.9.3.2" and document["max_hops"] == 64
    assert document["Hops"][1]["Modifications"][0] == {"IP::TTL": {"Expected": "2", "Received": "1"}}
    assert wide[0] == "tracebox to fd09:3::2 (fd09:3::2): 64 hops max"
    assert [line.split(" ")[1] for line in wide[1:]] == ["fd09::2", "fd09:1::2", "fd09:2::2", "fd09:3::2"]
    assert said[:6] == ["10.9.3.2\t10.9.3.2", "48\t80\tTCPOptionMaxSegSize(mss=1460)\t48", "short\t1\t10.9.0.2", "short\t2\t10.9.1.2",
                        "true\t10.9.3.2", "mss\t3\t10.9.2.2\tfalse"]
    assert said[6] == "10.9.3.2"
    assert said[7] == "tracebox to 10.9.3.2 (10.9.3.2): 2 hops max" and len(said) == 10
    assert rules == ""


@needs_namespaces
def test_verdicts_json_captures_and_their_replay(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capture = tmp_path / "all.pcap"
    with Chain(3) as chain:
        chain.nft("r2", "filter hook forward priority 0", "tcp flags syn tcp option maxseg size set 1300")
        with chain.inside("client"):
            assert penstock(["trace", "-n", "--explain", "--pcap", str(capture), chain.server]) == 0
            text = capsys.readouterr().out
            assert penstock(["trace", "-n", "--json", "--flows", "3", chain.server]) == 0
            document = json.loads(capsys.readouterr().out)
            assert penstock(["trace", "-n", "-t", "tcp-options", "-t", "dscp", chain.server]) == 0
            asked = capsys.readouterr().out.splitlines()
    assert "MSS clamper between hops 2 and 3: the MSS is lowered (1460 -> 1300); certain" not in text
    assert "MSS clamper between hops 2 and 3: the MSS is lowered (1460 -> 1300); likely" in text
    assert "hop 2 (10.9.1.2): quotes 64 bytes of 64: would show it, and does not" in text
    assert document["findings"][0] == {"kind": "MSS clamper", "text": "the MSS is lowered", "field": "TCPOptionMaxSegSize::MaxSegSize",
                                       "before": "1460", "after": "1300", "after_hop": 2, "by_hop": 3, "confidence": "likely"}
    assert asked[0].startswith("tcp-options: changed: MSS clamper") and asked[1] == "dscp: clean: the DSCP arrives as it was sent"
    # What was captured is traced again, without any network.
    assert penstock(["trace", "-n", "--json", "-i", f"pcap:{tmp_path / 'out.pcap'}:{capture}", "10.9.3.2"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [h["address"] for h in again["hops"]] == ["10.9.0.2", "10.9.1.2", "10.9.2.2", "10.9.3.2"]
    assert [f["kind"] for f in again["findings"]] == ["MSS clamper"]
    assert (tmp_path / "out.pcap").stat().st_size > 24 + 16 * 5
    assert again["notes"] == []
    assert penstock(["trace", "-n", "--json", "-p", "syn", "-i", f"pcap:{tmp_path / 'out.pcap'}:{capture}", "10.9.3.2"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == ["the capture was made with another probe: what differs may be that alone"]


@needs_namespaces
def test_a_campaign_from_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = tmp_path / "names"
    with Chain(2) as chain:
        chain.run("server", "ip route add local 10.10.0.0/16 dev lo")
        for i in range(3):
            chain.run(chain.names[i], f"ip route add 10.10.0.0/16 via 10.9.{i}.2")
        names.write_text("# a list\n" + "".join(f"10.10.0.{i}\n" for i in range(1, 31)))
        with chain.inside("client"):
            assert penstock(["campaign", "run", str(tmp_path / "c.db"), str(names), "-p", "syn", "--vantage", "lab"]) == 0
    assert "30 of 30 done, 0 failed" in capsys.readouterr().err
    assert penstock(["campaign", "status", str(tmp_path / "c.db")]) == 0
    assert capsys.readouterr().out == "30 of 30 done, 0 failed; probe: syn; vantage point: lab\n"
    assert penstock(["campaign", "report", str(tmp_path / "c.db"), "-o", str(tmp_path / "r.html")]) == 0
    assert penstock(["campaign", "export", str(tmp_path / "c.db"), str(tmp_path / "r.jsonl")]) == 0
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 30
    assert "Middleboxes on 30 paths" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(("words", "said"), [
    (["-p", "IP / TPC", "127.0.0.1"], "tracebox: probe, character 6: 'TPC' is not known (did you mean 'TCP'?)"),
    (["no-such-host.invalid"], "tracebox: 'no-such-host.invalid' has no IPv4 address"),
    (["-i", "nonesuch", "127.0.0.1"], "tracebox: there is no interface 'nonesuch'; 'ip link' lists them"),
    (["-p", "IP", "-s", "x", "127.0.0.1"], "tracebox: -p and -s exclude each other"),
    (["-s", "/nonexistent/x.lua", "127.0.0.1"], "tracebox: /nonexistent/x.lua: No such file or directory"),
    (["-l", "x = 3 +", "127.0.0.1"], "tracebox: line:1: unexpected symbol near <eof>"),
    (["-l", "IP:fly()", "127.0.0.1"], "tracebox: line: IP has no method 'fly'"),
    (["-m", "x", "127.0.0.1"], "tracebox: -m takes a number, not 'x'"),
    (["-m", "0", "127.0.0.1"], "tracebox: hops go from 1 to 255, the first not after the last: 1 to 0"),
    (["-i", "pcap:only", "127.0.0.1"], "tracebox: 'pcap:only': pcap:OUT:IN names two captures, the one to write and the one to read"),
    (["-c", "u", "127.0.0.1"], "tracebox: captures are not uploaded anywhere (-c, -C); -f FILE writes one"),
    (["-y"], "tracebox: option -y not recognized; 'tracebox -h' lists the options"),
])
@needs_root()
def test_errors_are_one_line_with_the_cause(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tracebox(["-n", *words]) != 0
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert "Traceback" not in captured.err


@needs_root()
def test_without_the_capability_it_says_which_one() -> None:
    program = "import os, sys; from penstock.cli import tracebox; import penstock.tracebox.classic, penstock.tracebox.api, penstock.tracebox.names, encodings.idna; os.setgid(65534); os.setuid(65534); sys.exit(tracebox.main(['-S', '-n', '127.0.0.1']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs the capability CAP_NET_RAW" in done.stderr and "setcap" in done.stderr


@needs_namespaces
def test_no_route_is_said_so() -> None:
    with Chain(0) as chain, chain.inside("client"):
        done = subprocess.run([sys.executable, "-c", "from penstock.cli.main import run; run()", "trace", "-n", "203.0.113.1"], capture_output=True, text=True,
                              env=dict(os.environ))
    assert done.returncode == 1
    assert done.stderr == "penstock trace: 203.0.113.1: no route; 'ip route get 203.0.113.1' tells more\n"


def test_a_capture_with_headers_that_are_cut_off_is_read(tmp_path: Path) -> None:
    with closing(CaptureWriter(str(tmp_path / "in.pcap"), link_type=101)) as writer:
        writer.write(b"\x60" + bytes(24), 1)
    with RecordedNetwork(str(tmp_path / "out.pcap"), str(tmp_path / "in.pcap")) as network:
        assert network.recorded_probe("2001:db8::1") is None
