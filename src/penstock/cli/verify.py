"""``penstock verify``: what a configuration, or a network, does to every packet."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.progress import watched

if TYPE_CHECKING:
    from penstock.verify.box import Box
    from penstock.verify.network import Network
    from penstock.verify.policy import Assertion
    from penstock.verify.questions import Answer

__all__ = ["INTERMIXED", "add_arguments", "main"]

INTERMIXED = True
_MOST_CONDITIONS = 8
_MARK = {"yes": "holds", "no": "FAILS", "conditional": "FAILS", "undecided": "?"}


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    from penstock.verify.policy import GRAMMAR

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "assertions:\n  " + GRAMMAR.replace("\n", "\n  ") + (
        "\n\nA Click configuration alone is a network in which each of its interfaces leads to a host of that name.\n"
        "Exit status: 0 all assertions hold, 1 one does not or is undecided, 2 something cannot be understood.")
    parser.add_argument("file", nargs="?", help="a network (.toml, .json) or a Click configuration", metavar="FILE")
    parser.add_argument("assertion", nargs="*", help="assertions, one an argument", metavar="ASSERTION")
    parser.add_argument("--live", action="store_true", help="in the place of FILE: the domains that run, and the switches that join them")
    parser.add_argument("--flows", action="store_true", help="with --live: what boxes remember of running flows counts too")
    parser.add_argument("-p", "--policy", action="append", default=[], metavar="FILE", help="a file of assertions, one a line")
    parser.add_argument("--opaque", action="store_true", help="elements of unknown classes are no error: they may do anything")
    parser.add_argument("--budget", type=float, default=60.0, metavar="S", help="seconds that an assertion may take (60; 0: any time)")
    parser.add_argument("-b", "--brief", action="store_true", help="verdicts only")
    parser.add_argument("--replay", action="store_true", help="send each example through the compiled configurations, and compare")
    parser.add_argument("--pcap", metavar="FILE", help="write the examples as a capture")
    parser.add_argument("--summary", action="store_true", help="tell what a configuration does with packets, way by way")
    parser.add_argument("--classes", action="store_true",
                        help="of a network of routers: loops, and where every address leads from each host")
    parser.add_argument("--what-if", action="store_true", help="ask again without each box and each link, and tell what changes")
    parser.add_argument("--replace", action="append", default=[], metavar="BOX=FILE",
                        help="ask again with another configuration in the place of a box, and tell what changes")
    parser.add_argument("--insert", action="append", default=[], metavar="END=FILE",
                        help="ask again with a box of two interfaces put into the link at END (a host, or box:interface)")
    parser.add_argument("--same-as", metavar="FILE", help="tell whether another configuration (or network) does the same with every packet")
    parser.add_argument("--tenant", metavar="PREFIXES", help="tell whether a configuration may run for a tenant with these addresses")
    parser.add_argument("--may-send", metavar="PREFIXES", default="", help="with --tenant: where its packets may go besides")
    parser.add_argument("--graph", metavar="FILE", help="draw the examples' ways (SVG)")
    parser.add_argument("--junit", metavar="FILE", help="write the results for a CI system")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of a network's file, and do nothing else")


def _text(file: str) -> str:
    from penstock.verify.network import NetworkError

    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NetworkError(f"{file}: {getattr(error, 'strerror', None) or error}") from None


def _running(*, with_flows: bool) -> Network:
    from penstock.toolstack import Client, DomainError
    from penstock.verify.network import NetworkError
    from penstock.verify.platform import network_of

    try:
        with Client(start=False) as client:
            flows = (lambda name, number: client.tables(name=name, number=number)) if with_flows else None
            return network_of(client.list(), tables=flows)
    except DomainError as error:
        raise NetworkError(str(error)) from None


def _is_network(file: str) -> bool:
    return file.endswith((".toml", ".json"))


def _load(file: str, *, opaque: bool) -> Network:
    from penstock.verify.network import Network
    from penstock.verify.networkfile import load_network

    if _is_network(file):
        return load_network(file, opaque=opaque)
    text = _text(file)
    network = Network(opaque=opaque)
    name = Path(file).stem.replace(":", "_").replace(" ", "_") or "box"
    network.add_box(name, text, file=file)
    for interface in network.boxes[name].interfaces:
        network.add_host(interface)
        network.link(interface, f"{name}:{interface}")
    return network


def _assertions(args: argparse.Namespace, network: Network) -> list[Assertion]:
    from penstock.verify.policy import PolicyError, parse_policy

    found = parse_policy("\n".join(args.assertion), network)
    policies = list(args.policy)
    if not policies and not args.assertion and args.file and (beside := Path(args.file).with_suffix(".policy")).exists():
        policies = [str(beside)]
    for file in policies:
        try:
            found += parse_policy(Path(file).read_text("utf-8"), network)
        except PolicyError as error:
            raise PolicyError(f"{file}, {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    if not found:
        hosts = [h for h in network.hosts if (h, "") in network.links]
        found = parse_policy("\n".join(f"allow any from {a} to {b}" for a in hosts for b in hosts if a != b), network)
    return found


def main(name: str, args: argparse.Namespace) -> int:
    from penstock.lang.source import ConfigurationError
    from penstock.verify.errors import NotDecided
    from penstock.verify.network import NetworkError
    from penstock.verify.policy import PolicyError
    from penstock.verify.results import answer_of

    if args.schema:
        from penstock.verify.networkfile import schema

        print(json.dumps(schema(), indent=1))
        return 0
    if args.live and args.file is not None:
        # What stands there is an assertion.
        args.assertion.insert(0, args.file)
        args.file = None
    if args.file is None and not args.live:
        print("penstock verify: give a FILE, or --live", file=sys.stderr)
        return 2
    try:
        if args.live:
            network = _running(with_flows=args.flows)
        elif args.same_as:
            return _compare(args.file, args.same_as)
        elif args.summary:
            return _summary(args.file)
        elif args.tenant:
            return _admit(args.file, args.tenant, args.may_send)
        else:
            network = _load(args.file, opaque=args.opaque)
        if args.classes:
            return _classes(network, as_json=args.json)
        assertions = _assertions(args, network)
        if args.what_if or args.replace or args.insert:
            return _what_if(network, assertions, args.replace, args.insert)
        results: list[tuple[Assertion, Answer, float]] = []
        for assertion in watched(assertions, len(assertions)):
            started = time.perf_counter()
            try:
                answer = answer_of(assertion, network, budget_s=args.budget or None)
            except KeyboardInterrupt:
                print(f"interrupted at '{assertion.text}': {len(results)} of {len(assertions)} were answered", file=sys.stderr)
                return 130
            results.append((assertion, answer, time.perf_counter() - started))
            if not args.json:
                _show(assertion, answer, network, args)
    except ConfigurationError as error:
        for line in error.diagnostics.pretty_lines():
            print(line, file=sys.stderr)
        return 2
    except (NetworkError, PolicyError, NotDecided) as error:
        print(f"penstock verify: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps([_as_dict(*result, network, args) for result in results], indent=1))
    try:
        _write_files(args, results)
    except OSError as error:
        print(f"penstock verify: {error.filename or ''}: {error.strerror}", file=sys.stderr)
        return 2
    good = sum(answer.holds for _, answer, _ in results)
    if not args.json:
        for line in sorted({line for _, answer, _ in results for line in answer.assumptions}):
            print(f"assumed: {line}")
        print(f"{good} of {len(results)} hold")
    return 0 if good == len(results) else 1


def _what_if(network: Network, assertions: list[Assertion], replaced: list[str], inserted: list[str]) -> int:
    from penstock.verify.whatif import insertions, replacements, what_if

    others = [*replacements(network, _boxes("--replace", replaced)), *insertions(network, _boxes("--insert", inserted))]
    kept = count = 0
    total = len(others) or len(network.boxes) + len(network.links) // 2
    for variation, changes in watched(what_if(network, assertions, others or None), total):
        count += 1
        kept += not changes
        for change in changes:
            print(f"{variation.text}: {_MARK[change.after.verdict]}  {change.assertion.text}\n    {change.after.text}")
    print(f"{count} variation{'s' if count != 1 else ''}, {kept} of them change nothing")
    return 0


def _boxes(option: str, texts: list[str]) -> dict[str, Box]:
    """From ``NAME=FILE``, for each place one box."""
    from penstock.verify.box import Box
    from penstock.verify.network import NetworkError

    found: dict[str, Box] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals:
            raise NetworkError(f"{option} {text}: a name, =, and a file are expected")
        found[name] = Box(_text(file), name=Path(file).stem, file=file)
    return found


def _classes(network: Network, *, as_json: bool) -> int:
    from penstock.verify.classes import NotPlain, forwarding_classes
    from penstock.verify.survey import as_dict, survey

    try:
        found = forwarding_classes(network)
    except NotPlain as reason:
        print(f"penstock verify: --classes is for networks that decide by the destination alone; {reason}", file=sys.stderr)
        return 2
    print(json.dumps(as_dict(found)) if as_json else "\n".join(survey(found)))
    return 1 if found.loops else 0


def _summary(file: str) -> int:
    from penstock.verify.box import Box
    from penstock.verify.describe import changes_of, deciding_rule, describe_set
    from penstock.verify.traffic import EVERY_PROTOCOL, all_packets

    box = Box(_text(file), file=file)
    for interface in sorted(box.inputs):
        for protocol in EVERY_PROTOCOL:
            packet, path = all_packets(protocol)
            shown: dict[str, list[str]] = {}
            for ending in box.run(interface, packet, path):
                if ending.kind == "exit":
                    change = "; ".join(changes_of(packet, ending.packet, ending.path))
                    end = f"to {ending.interface}" + (f": {change}" if change else ", as it is")
                else:
                    why = deciding_rule(ending.steps) or ending.reason
                    end = f"{ending.kind} at {ending.place.element}" + (f" ({why})" if why else "")
                # What a checksum comes out as is of no interest here.
                where = [line for line in describe_set(ending.path) if not line.startswith("the checksum")]
                conditions = shown.setdefault(end, [])
                if (condition := " and ".join(where) or "always") not in conditions:
                    conditions.append(condition)
            print(f"{interface}, {protocol or 'other protocols'}:")
            for end, conditions in shown.items():
                print(f"    {end}")
                for condition in conditions[:_MOST_CONDITIONS]:
                    print(f"        where {condition}" if condition != "always" else "        always")
                if len(conditions) > _MOST_CONDITIONS:
                    print(f"        and in {len(conditions) - _MOST_CONDITIONS} more cases")
    return 0


def _admit(file: str, own: str, destinations: str) -> int:
    from penstock.verify.admission import Tenant, admit
    from penstock.verify.box import Box
    from penstock.verify.network import prefixes

    found = admit(Box(_text(file), file=file), Tenant(prefixes(own.split(",")), prefixes(destinations.split(",") if destinations else [])))
    for violation in found:
        print(violation)
    print("it may run" if not found else "it may not run")
    return 1 if found else 0


def _compare(one: str, other: str) -> int:
    from penstock.verify.box import Box
    from penstock.verify.describe import describe_frame
    from penstock.verify.difference import differences, network_differences
    from penstock.verify.network import NetworkError
    from penstock.verify.networkfile import load_network

    networks = [_is_network(file) for file in (one, other)]
    if any(networks) and not all(networks):
        raise NetworkError("--same-as compares two networks (.toml) or two configurations")
    if all(networks):
        compared = network_differences(load_network(one), load_network(other))
    else:
        compared = differences(*[Box(_text(file), file=file) for file in (one, other)])
    shown: set[tuple[object, ...]] = set()
    for found in compared:
        what = (found.where, _kinds(found.one), _kinds(found.other))
        if what in shown:
            continue
        shown.add(what)
        print(f"at {found.where}: {describe_frame(found.sent)}")
        for file, outcome in ((one, found.one), (other, found.other)):
            # Of several frames through one interface, which differ by chance, one is shown.
            last = {text.partition(" as ")[0]: text for text in outcome}
            print(f"    {file}: {'; '.join(map(_readable, last.values()))}")
    print("they differ" if shown else "they do the same with every packet (chance, time and other packets left aside)")
    return 1 if shown else 0


def _kinds(outcome: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.partition(" as ")[0] for text in outcome)


def _readable(text: str) -> str:
    from penstock.verify.describe import describe_frame

    where, _, frame = text.partition(" as ")
    return f"{where} as {describe_frame(bytes.fromhex(frame))}" if frame else where


def _show(assertion: Assertion, answer: Answer, network: Network, args: argparse.Namespace) -> None:
    from penstock.verify.contradiction import contradictions
    from penstock.verify.describe import describe_frame, describe_set, ends_of, steps_of

    print(f"{_MARK[answer.verdict]:5}  {assertion.text}")
    print(f"       {answer.text}")
    if args.brief:
        return
    witness = answer.witness
    if witness is None and not answer.holds:
        for line in ends_of(answer.ways):
            print(f"       end:     {line}")
        for contradiction in contradictions(network, answer.ways):
            print(f"       against: {contradiction}")
    if witness is not None:
        lines = describe_set(witness.way.path)
        if lines:
            print("       packets: " + "\n                ".join(lines))
        print(f"       example: {describe_frame(witness.sent)}")
        if witness.way.kind in ("delivered", "left"):
            print(f"       arrives: {describe_frame(witness.arrived)}")
        print("       way:     " + "\n                ".join(steps_of(witness.way)))
        if args.replay:
            print(f"       replay:  {_replayed(answer, network)}")


def _replayed(answer: Answer, network: Network) -> str:
    """What compiled code does with the example."""
    from penstock.verify.describe import describe_frame
    from penstock.verify.replay import as_predicted, replay

    witness = answer.witness
    assert witness is not None
    if not witness.is_first:
        return "not done: what is sent before it may leave other numbers behind than in the example"
    if any(box.opaque for box in network.boxes.values()):
        return "not done: there are elements of unknown classes"
    arrived = replay(network, witness.source, witness.sent)
    text = "; ".join(f"{where} gets {describe_frame(frame)}" for where, frame in arrived) or "nothing comes out"
    return text + (", as predicted" if as_predicted(witness, arrived) else ", NOT as predicted: please report this")


def _as_dict(assertion: Assertion, answer: Answer, seconds: float, network: Network, args: argparse.Namespace) -> dict[str, Any]:
    from penstock.verify.contradiction import contradictions
    from penstock.verify.describe import describe_set, fact_text

    against = contradictions(network, answer.ways) if not answer.holds and answer.witness is None else []
    found: dict[str, Any] = {
        "assertion": assertion.text, "line": assertion.line, "question": answer.question, "verdict": answer.verdict, "text": answer.text,
        "conditions": answer.conditions, "assumptions": answer.assumptions, "seconds": round(seconds, 6), "example": None,
        "contradictions": [dataclasses.asdict(contradiction) for contradiction in against],
    }
    witness = answer.witness
    if witness is not None:
        found["example"] = {
            "sent": witness.sent.hex(), "end": witness.way.kind, "node": witness.way.node,
            "arrived": witness.arrived.hex() if witness.way.kind in ("delivered", "left") else None,
            "packets": describe_set(witness.way.path),
            "way": [{"box": box, "element": s.element, "class": s.class_name, "at": s.at, "decisions": [
                {"condition": fact_text(f), "file": f.place.file, "line": f.place.line} for f in s.facts]} for box, s in witness.way.steps],
        }
        if args.replay:
            found["example"]["replay"] = _replayed(answer, network)
    return found


def _write_files(args: argparse.Namespace, results: list[tuple[Assertion, Answer, float]]) -> None:
    if args.pcap:
        _write_capture(args.pcap, results)
    if args.graph:
        from penstock.verify.drawing import draw

        Path(args.graph).write_text(draw([answer for _, answer, _ in results]), "utf-8")
    if args.junit:
        _write_junit(args.junit, args.file or "live", results)


def _write_capture(file: str, results: list[tuple[Assertion, Answer, float]]) -> None:
    from penstock.packet.capture import CaptureWriter

    writer = CaptureWriter(file)
    for number, (_, answer, _) in enumerate(results):
        if answer.witness is not None:
            writer.write(answer.witness.sent, number * 1_000_000_000)
    writer.close()


def _write_junit(file: str, subject: str, results: list[tuple[Assertion, Answer, float]]) -> None:
    from xml.etree import ElementTree

    suite = ElementTree.Element("testsuite", name=subject, tests=str(len(results)), failures=str(sum(not a.holds for _, a, _ in results)))
    for assertion, answer, seconds in results:
        case = ElementTree.SubElement(suite, "testcase", classname=subject, name=assertion.text, time=f"{seconds:.6f}")
        if not answer.holds:
            ElementTree.SubElement(case, "failure", message=answer.text)
    ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)
