"""Domain files: xl's configuration format as ClickOS uses it, and the same keys in TOML.

xl's format is a list of ``key = value`` with strings, numbers and lists of strings. Keys of xl that mean nothing here
(disks, PCI devices) are taken and reported. Every error names file and line.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DomainFileError", "DomainSpec", "VifSpec", "from_saved", "from_values", "load", "parse", "saved", "schema"]

_MAC = re.compile(r"(?:[0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}")
_NAME = re.compile(r"[A-Za-z0-9_.:+-]{1,120}")
_ACTIONS = ("destroy", "restart", "preserve")
_MAX_VIFS, _MAX_MEMORY_MIB, _MAX_WEIGHT = 16, 960, 65535
#: keys of xl's format that say something about hardware that a domain does not have here
_WITHOUT_EFFECT = frozenset({
    "acpi", "apic", "bios", "boot", "builder", "console", "cpuid", "cpus_soft", "device_model_override",
    "device_model_version", "disk", "dtdev", "extra", "firmware", "gpu_passthru", "hap", "hvm", "ioports", "irqs",
    "kernel", "localtime", "max_grant_frames", "max_maptrack_frames", "maxmem", "maxvcpus", "nestedhvm", "nics",
    "nographic", "numa", "on_start", "on_watchdog", "pae", "pci", "pool", "pvh", "ramdisk", "root", "rtc_timeoffset",
    "sdl", "seclabel", "serial", "shadow_memory", "spice", "stdvga", "timer_mode", "tsc_mode", "type", "usb",
    "usbdevice", "vfb", "vga", "viridian", "vkb", "vnc", "vncconsole", "vtpm", "xen_platform_pci",
})


class DomainFileError(Exception):
    """What is wrong with a domain file, and where."""


@dataclass(frozen=True)
class VifSpec:
    """One network interface.

    ``bridge`` says what is at its other side: a switch (``vale…``), a Linux bridge, or another interface of this machine, whose
    frames it receives and sends; without it, a port for a program in the same process.
    """

    mac: str = ""
    bridge: str = ""
    script: str = ""
    vifname: str = ""


@dataclass(frozen=True)
class DomainSpec:
    """What a domain is made from. ``memory`` is in MiB, rings included; ``weight`` and ``cap`` are xl's (256 and percent)."""

    name: str
    memory: int = 16
    vcpus: int = 1
    cpus: str = ""
    vif: tuple[VifSpec, ...] = ()
    click: str = ""
    isolation: str = ""
    weight: int = 256
    cap: int = 0
    on_poweroff: str = "destroy"
    on_reboot: str = "restart"
    on_crash: str = "destroy"
    uuid: str = ""
    #: what the file says that has no effect here
    ignored: tuple[str, ...] = field(default=(), compare=False)

    def changed(self, **values: Any) -> DomainSpec:
        return dataclasses.replace(self, **values)


def load(path: str | Path) -> DomainSpec:
    """Read a domain file; a relative ``click`` is looked for beside it."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DomainFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DomainFileError(f"{path}: not a text file") from None
    spec = parse(text, file=str(path), toml=path.suffix == ".toml")
    if spec.click and not Path(spec.click).is_absolute() and not Path(spec.click).exists():
        spec = spec.changed(click=str(path.parent / spec.click))
    return spec


def parse(text: str, *, file: str = "domain", toml: bool = False) -> DomainSpec:
    """A domain from the text of its file."""
    if toml:
        try:
            values = {key: (value, 0) for key, value in tomllib.loads(text).items()}
        except tomllib.TOMLDecodeError as error:
            raise DomainFileError(f"{file}: {error}") from None
    else:
        values = _Reader(text, file).values()
    return _spec(values, file)


# xl's format

_TOKEN = re.compile(r"""(?P<blank>[ \t\r\f]+|\#[^\n]*)|(?P<end>[\n;])|(?P<string>"[^"\n]*"|'[^'\n]*')|(?P<number>0[xX][0-9a-fA-F]+|\d+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>[=,\[\]])""", re.VERBOSE)


class _Reader:
    def __init__(self, text: str, file: str):
        self.file, self.line = file, 1
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                rest = text[at : at + 12].split("\n")[0]
                unclosed = rest[:1] in "\"'"
                raise DomainFileError(f"{file}:{self.line}: " + ("a string that does not end" if unclosed else f"unexpected '{rest}'"))
            kind = str(found.lastgroup)
            if kind != "blank":
                self.tokens.append((kind, found[0], self.line))
            self.line += found[0].count("\n")
            at = found.end()
        self.tokens.append(("end", "", self.line))
        self.at = 0

    def fail(self, message: str, line: int) -> DomainFileError:
        return DomainFileError(f"{self.file}:{line}: {message}")

    def next(self, *, across_lines: bool = False) -> tuple[str, str, int]:
        while across_lines and self.at < len(self.tokens) - 1 and self.tokens[self.at][1] == "\n":
            self.at += 1
        token = self.tokens[min(self.at, len(self.tokens) - 1)]
        self.at += 1
        return token

    def values(self) -> dict[str, tuple[Any, int]]:
        found: dict[str, tuple[Any, int]] = {}
        while self.at < len(self.tokens):
            kind, word, line = self.next()
            if kind == "end":
                continue
            if kind != "name":
                raise self.fail(f"a key was expected, not '{word}'", line)
            if self.next()[1] != "=":
                raise self.fail(f"'{word}' needs '=' and a value", line)
            found[word] = (self.value(word), line)
            kind, extra, at = self.next()
            if kind != "end":
                raise self.fail(f"'{extra}' after the value of '{word}'", at)
        return found

    def value(self, key: str) -> Any:
        kind, word, line = self.next()
        if kind == "string":
            return word[1:-1]
        if kind == "number":
            return int(word, 0)
        if word != "[":
            raise self.fail(f"the value of '{key}' must be a string, a number or a list", line)
        items: list[Any] = []
        while True:
            kind, word, at = self.next(across_lines=True)
            if word == "]":
                return items
            if kind not in ("string", "number"):
                raise self.fail(f"the list of '{key}' does not end" if not word else f"'{word}' in the list of '{key}'", at)
            items.append(word[1:-1] if kind == "string" else int(word, 0))
            kind, word, at = self.next(across_lines=True)
            if word == "]":
                return items
            if word != ",":
                raise self.fail(f"',' or ']' was expected in the list of '{key}'", at)


# What the values mean

def saved(spec: DomainSpec) -> dict[str, Any]:
    """A domain as JSON can say it, in snapshots and migrations; ``from_saved`` makes it again."""
    values = dataclasses.asdict(spec)
    del values["ignored"]
    return {"vif": values.pop("vif"), "spec": values}


def from_saved(values: dict[str, Any], file: str) -> DomainSpec:
    """A domain from what ``saved`` gave; checked as a file is."""
    return from_values({**values["spec"], "vif": values["vif"]}, file)


def from_values(values: dict[str, Any], file: str) -> DomainSpec:
    """A domain from keys and values that are at hand; checked as those of a file."""
    return _spec({key: (value, 0) for key, value in values.items()}, file)


_FIELDS = {f.name: f for f in dataclasses.fields(DomainSpec) if f.name != "ignored"}
_ALIASES = {"cpu_weight": "weight"}


def _spec(values: dict[str, tuple[Any, int]], file: str) -> DomainSpec:
    def fail(key: str, message: str) -> DomainFileError:
        line = values[key][1] if key in values else 0
        return DomainFileError(f"{file}{f':{line}' if line else ''}: {key}: {message}")

    given: dict[str, Any] = {}
    ignored: list[str] = []
    for key, (value, _) in values.items():
        name = _ALIASES.get(key, key)
        if name in _WITHOUT_EFFECT:
            ignored.append(key)
        elif name not in _FIELDS:
            raise fail(key, f"no such key (there are {', '.join(sorted(_FIELDS))})")
        elif name == "vif":
            if not isinstance(value, list) or len(value) > _MAX_VIFS:
                raise fail(key, f"a list of at most {_MAX_VIFS} interfaces")
            given[name] = tuple(_vif(item, lambda message: fail("vif", message)) for item in value)
        elif isinstance(_FIELDS[name].default, int):
            if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and value.isdigit())):
                raise fail(key, f"a number is needed, not {value!r}")
            given[name] = int(value)
        else:
            if isinstance(value, int) and not isinstance(value, bool) and name == "cpus":
                value = str(value)
            if not isinstance(value, str):
                raise fail(key, f"a string is needed, not {value!r}")
            given[name] = value
    if not given.get("name"):
        raise DomainFileError(f"{file}: 'name' is missing")
    _check(given, fail)
    return DomainSpec(**given, ignored=tuple(ignored))


def _check(given: dict[str, Any], fail: Any) -> None:
    if not _NAME.fullmatch(given["name"]) or given["name"].isdigit():
        raise fail("name", "letters, digits and _.:+- (and not digits alone)")
    ranges = {"memory": (1, _MAX_MEMORY_MIB), "vcpus": (1, 1), "weight": (1, _MAX_WEIGHT), "cap": (0, 100)}
    for key, (low, high) in ranges.items():
        if key in given and not low <= given[key] <= high:
            more = "; a domain has one virtual CPU" if key == "vcpus" else ""
            raise fail(key, f"{given[key]} is not between {low} and {high}{more}")
    for key in ("on_poweroff", "on_reboot", "on_crash"):
        if key in given and given[key] not in _ACTIONS:
            raise fail(key, f"'{given[key]}' is none of {', '.join(_ACTIONS)}")
    if given.get("isolation", "") not in ("", "kvm", "process", "inline"):
        raise fail("isolation", f"'{given['isolation']}' is none of kvm, process, inline")
    if given.get("cpus"):
        try:
            cpu_set(given["cpus"])
        except ValueError:
            raise fail("cpus", f"'{given['cpus']}' is no list of CPUs such as 0-2,4") from None


def _vif(item: Any, fail: Any) -> VifSpec:
    if isinstance(item, dict):
        pairs = {str(k): v for k, v in item.items()}
    elif isinstance(item, str):
        pairs = {}
        for part in filter(None, (p.strip() for p in item.split(","))):
            key, equals, value = part.partition("=")
            if not equals:
                raise fail(f"'{part}' is no key=value")
            pairs[key.strip()] = value.strip()
    else:
        raise fail(f"{item!r} is no interface")
    known = {f.name for f in dataclasses.fields(VifSpec)}
    taken = {k: v for k, v in pairs.items() if k in known}
    for key in pairs.keys() - known - {"backend", "type", "model", "ip", "rate", "backend-id", "accel", "gatewaydev", "devid"}:
        raise fail(f"an interface has no '{key}' (there are {', '.join(sorted(known))})")
    if any(not isinstance(v, str) for v in taken.values()):
        raise fail("the values of an interface are strings")
    mac = taken.get("mac", "")
    if mac:
        if not _MAC.fullmatch(mac):
            raise fail(f"'{mac}' is no MAC address")
        taken["mac"] = ":".join(f"{int(b, 16):02x}" for b in mac.split(":"))
        if int(taken["mac"][:2], 16) & 1:
            raise fail(f"'{mac}' is a group address")
    return VifSpec(**taken)


def cpu_set(text: str) -> set[int]:
    """The CPUs of a list such as ``0-2,4``; "all" is none in particular."""
    found: set[int] = set()
    if text.strip() == "all":
        return found
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        first, last = int(low), int(high) if dash else int(low)
        if last < first or last > 4095:
            raise ValueError(text)
        found |= set(range(first, last + 1))
    return found


def schema() -> dict[str, Any]:
    """JSON schema of the TOML format, made from the classes above."""
    def of(default: Any) -> dict[str, Any]:
        if isinstance(default, int):
            return {"type": "integer", "default": default}
        return {"type": "string", **({"default": default} if isinstance(default, str) else {})}

    vif = {f.name: of(f.default) for f in dataclasses.fields(VifSpec)}
    properties: dict[str, Any] = {name: of(f.default) for name, f in _FIELDS.items()}
    properties["vif"] = {"type": "array", "maxItems": _MAX_VIFS,
                         "items": {"type": "object", "properties": vif, "additionalProperties": False}}
    for key in ("on_poweroff", "on_reboot", "on_crash"):
        properties[key]["enum"] = list(_ACTIONS)
    properties["isolation"]["enum"] = ["", "kvm", "process", "inline"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Penstock domain", "type": "object",
            "properties": properties, "required": ["name"], "additionalProperties": False}
