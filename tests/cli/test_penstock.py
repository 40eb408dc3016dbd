"""The ``penstock`` command's subcommands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from penstock.cli.main import SUBCOMMANDS, main

ROOT = Path(__file__).parents[2]
FIREWALL = str(ROOT / "boxes/firewall/firewall.click")


def penstock(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(list(arguments))
    out = capsys.readouterr()
    return status, out.out, out.err


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"penstock {name}" in capsys.readouterr().out


def test_unknown_subcommand_is_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = penstock(capsys, "chek")
    assert status == 2 and "did you mean 'check'" in err


def test_check_finds_everything_and_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = penstock(capsys, "check", "--json", "-e", "Idle -> Queu -> Discard;\nx :: Strip(y); Idle -> x -> Discard")
    found = json.loads(out)
    assert status == 1
    assert found[0]["line"] == 1 and found[0]["column"] == 9 and "Queue" in found[0]["suggestion"]
    status, out, err = penstock(capsys, "check", "-e", "Idle -> Strip(y) -> Discard")
    assert status == 1 and "Strip(y)" in err and "LENGTH" in err


def test_check_does_not_touch_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = penstock(capsys, "check", "-e", f"FromDump({tmp_path}/none.pcap) -> ToDump({tmp_path}/out.pcap)")
    assert status == 0 and "2 elements" in out
    assert list(tmp_path.iterdir()) == []


def test_fmt_writes_and_diffs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "x.click"
    file.write_text("Idle->Strip( 14 )->Discard // end\n")
    status, out, _ = penstock(capsys, "fmt", "--diff", str(file))
    assert status == 1 and "+Idle -> Strip(14) -> Discard;  // end" in out
    assert penstock(capsys, "fmt", "-w", str(file))[0] == 0
    assert file.read_text() == "Idle -> Strip(14) -> Discard;  // end\n"
    assert penstock(capsys, "fmt", "--diff", str(file))[0] == 0


def test_graph_is_well_formed_and_has_every_element(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = penstock(capsys, "graph", FIREWALL)
    assert status == 0
    drawing = ElementTree.fromstring(out)
    text = "".join(drawing.itertext())
    for name in ("fw/rules", "allowed", "kind", "ToDump"):
        assert name in text
    status, out, _ = penstock(capsys, "graph", "--format", "dot", FIREWALL)
    assert status == 0 and out.startswith("digraph") and out.count(" -> ") >= 20


def test_run_gives_counters_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = penstock(capsys, "run", "--json", "-e", "InfiniteSource(LIMIT 9, STOP true) -> c :: Counter -> Discard")
    assert status == 0 and json.loads(out)["counters"]["c"]["count"] == 9


def test_run_stops_after_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = penstock(capsys, "run", "--time", "0.3", "--json", "-e", "RatedSource(RATE 1000) -> c :: Counter -> Discard")
    assert status == 0
    assert 0.2 < json.loads(out)["seconds"] < 5


def test_run_shows_compile_errors_of_own_elements_without_a_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("from penstock.elements import Element, Packet, datapath\n\nclass Bad(Element):\n    @datapath\n"
                                     "    def simple_action(self, p: Packet) -> Packet | None:\n        while p.length:\n            pass\n        return p\n")
    status, _, err = penstock(capsys, "run", "--elements", str(tmp_path / "bad.py"), "-e", "Idle -> Bad -> Discard; InfiniteSource -> Bad -> Discard")
    assert status == 1 and f"{tmp_path}/bad.py:6" in err and "bounded loop" in err


def test_explain_follows_a_packet_through_a_queue(capsys: pytest.CaptureFixture[str]) -> None:
    text = ("InfiniteSource(LIMIT 3, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> CheckIPHeader -> DecIPTTL -> Queue -> Unqueue "
            "-> IPMirror -> Discard")
    status, out, _ = penstock(capsys, "explain", "--json", "-n", "2", "-e", text)
    assert status == 0
    steps = {s["class"]: s for s in json.loads(out)["steps"]}
    assert "ip.ttl 250 -> 249" in steps["DecIPTTL"]["changes"]
    assert "ip.src 1.0.0.1 -> 2.0.0.2" in steps["IPMirror"]["changes"]
    assert any("ip.ttl <= 1" in d["source"] and not d["answer"] for d in steps["DecIPTTL"]["decisions"])
    assert [s["class"] for s in json.loads(out)["steps"]][-1] == "Discard"


def test_explain_says_where_a_packet_was_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = penstock(capsys, "explain", FIREWALL, "--pcap", str(ROOT / "examples/office.pcap"), "-n", "1", "-D", "OUT=/dev/null")
    assert status == 0 and "not_ip" in out and "ends here" in out
    status, _, err = penstock(capsys, "explain", FIREWALL, "--pcap", str(ROOT / "examples/office.pcap"), "-n", "100000", "-D", "OUT=/dev/null")
    assert status == 1 and "691 packets" in err


def test_elements_lists_and_corrects(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = penstock(capsys, "elements", "--group", "aqm")
    assert status == 0 and "RED" in out and "Queue" not in out
    status, _, err = penstock(capsys, "elements", "Cunter")
    assert status == 1 and "Counter" in err
    assert json.loads(penstock(capsys, "elements", "--json", "Queue")[1])["processing"] == "h/lh"
    assert penstock(capsys, "elements", "--markdown", "Queue")[1].startswith("# Queue\n")


@pytest.mark.parametrize("arguments, words", [
    (["run", "/no/such/file.click"], "No such file"), (["run", "-e", "FromDevice(nosuchdev) -> Discard"], "nosuchdev"),
    (["run", "-e", "ToDump(/proc/x.pcap); Idle -> Discard"], ""), (["flatten", "-e", "Idle ->"], "error"),
    (["handlers", "-c", "127.0.0.1:1", "-r", "c.count"], "refused"), (["elements", "--elements", "/no/file.py"], "No such file"),
])
def test_bad_input_gives_a_line_and_a_status(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = penstock(capsys, *arguments)
    assert status != 0 and words in err and "Traceback" not in err and err.strip()


def test_broken_pipe_is_quiet() -> None:
    done = subprocess.run(f"{sys.executable} -m penstock.cli.main elements | head -1", shell=True, capture_output=True, text=True,
                          env={**os.environ})
    assert done.stdout and "Traceback" not in done.stderr


def test_live_table_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    done = subprocess.run(["script", "-qec", f"{sys.executable} -m penstock.cli.main run --time 1 -e 'RatedSource(RATE 1000) -> c :: Counter -> Discard'",
                           "/dev/null"], capture_output=True, text=True, timeout=30)
    assert "packets" in done.stdout and "Counter" in done.stdout
