"""Every element has a complete reference, and its example runs, alike in both engines."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from penstock.elements import catalog
from penstock.elements.reference import Reference, reference_of
from penstock.lang.load import flatten
from penstock.lang.source import ConfigurationError
from penstock.packet.capture import CaptureWriter
from penstock.runtime.router import Router
from tests.harness import START_NS, read_all, run_packets, run_until_quiet
from tests.traffic import Sent, mixture

CLASSES = [name for name in catalog.class_names() if name not in ("Feed", "Sink")]
SOURCES = ("InfiniteSource", "FromDump", "FromIPSummaryDump", "RatedSource", "TimedSource", "MemSource", "ICMPPingSource")
#: what an example is about may itself be the source, or need what a test machine does not give every time
DEVICES = ("FromDevice", "ToDevice", "KernelTun", "KernelTap", "FromHost", "ToHost", "Socket", "FromSocket", "ToSocket", "RawSocket", "FromRawSocket", "KernelFilter",
           "ToRawSocket")
OUTSIDE = (*DEVICES, "ChatterSocket", "ControlSocket", "Script", "DriverManager", "Error", "ToDump", "ToIPSummaryDump")


def reference(name: str) -> Reference:
    cls = catalog.find(name)
    assert cls is not None
    return reference_of(cls)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that examples speak of."""
    monkeypatch.chdir(tmp_path)
    writer = CaptureWriter("f.pcap", snap_bytes=65535)
    for packet in mixture(40, 1, "ether"):
        writer.write(packet.data, packet.timestamp_ns)
    writer.close()
    lines = ["!IPSummaryDump 1.3", "!data ip_src sport ip_dst dport ip_proto", "1.0.0.1 5 2.0.0.2 80 T", "- - - - U", "bad"]
    Path("f.dump").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("name", CLASSES)
def test_reference_names_every_argument_and_handler(name: str) -> None:
    page = reference(name)
    assert page.summary.endswith("."), "the first line is one sentence"
    assert page.example
    missing = [a.keyword for a in page.arguments if not a.rest and a.keyword not in page.argument_words]
    whole = "every other argument" in page.sections.get("Arguments", "")
    assert not missing or not page.own_arguments or whole, f"arguments that the documentation does not name: {missing}"


@pytest.mark.parametrize("name", [n for n in CLASSES if n not in ("Error", *DEVICES)])
@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
def test_example_runs(name: str, engine: str, files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Router.from_text(reference(name).example, engine=engine, simulated_start_ns=START_NS, seed=1) as router:
        assert any(e.class_name == name for e in router.elements), "the example uses the element"
        run_until_quiet(router, 30)
        read_all(router, router.elements)
        assert router.driver.faults == 0
    text = capfd.readouterr().err
    assert "Traceback" not in text


def test_error_stops_configuration() -> None:
    with pytest.raises(ConfigurationError, match="this configuration is not finished"):
        Router.from_text(reference("Error").example)


def _under_test(name: str) -> str | None:
    """The element's example with Feed for its sources and Sinks for what ends a packet; None where that makes no sense."""
    if name in SOURCES or name in OUTSIDE:
        return None
    flat = flatten(reference(name).example, known_classes=catalog.is_known)
    if not flat.connections:
        return None
    fed = False
    for use in flat.elements:
        if use.class_name in SOURCES:
            use.class_name, use.arguments = ("Idle", "") if fed else ("Feed", "")
            use.name = use.name if fed else "feed"
            fed = True
        elif use.class_name == "Discard" and name != "Discard":
            use.class_name, use.arguments = "Sink", ""
        elif use.class_name in ("Print", "IPPrint") and name not in ("Print", "IPPrint"):
            use.class_name, use.arguments = "Null", ""
        elif use.class_name in ("UDPIPEncap", "CheckIPHeader", "Strip", "MarkIPHeader") and use.class_name != name:
            # Everything is to reach the element, bad headers too.
            use.class_name, use.arguments = "Null", ""
    return flat.text() if fed else None


DIFFERENTIAL = [n for n in CLASSES if _under_test(n) is not None]


@pytest.mark.parametrize("shape", ["ether", "ip", "raw"])
@pytest.mark.parametrize("name", DIFFERENTIAL)
def test_engines_agree_on_good_and_bad_packets(name: str, shape: str, files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = _under_test(name)
    assert text is not None
    packets: list[Sent] = mixture(60, len(name), shape)
    compiled = run_packets(text, packets)
    compiled_lines = capfd.readouterr().err
    interpreted = run_packets(text, packets, engine="interpreter")
    interpreted_lines = capfd.readouterr().err
    assert compiled.packets == interpreted.packets
    assert compiled.handlers == interpreted.handlers
    assert compiled.state == interpreted.state
    assert compiled.free == interpreted.free
    assert compiled_lines == interpreted_lines


def test_most_elements_are_compared() -> None:
    assert len(DIFFERENTIAL) > 0.75 * len(CLASSES)


def test_example_files_are_those_the_fixture_makes() -> None:
    for name in CLASSES:
        for file in re.findall(r"\b(\w+\.(?:pcap|dump))\b", reference(name).example):
            assert file in ("f.pcap", "f.dump", "out.pcap"), f"{name}: {file}"
    assert os.sep == "/"
