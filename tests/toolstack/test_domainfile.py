"""Domain files, in xl's format and in TOML."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.toolstack.domainfile import DomainFileError, DomainSpec, VifSpec, load, parse, schema

SAMPLE = """# a ClickOS domain
name    = 'click0'
kernel  = "/root/clickos_x86_64"; vcpus = '1'
cpus = 0
memory  = 8
vif     = [ 'mac=0:15:17:15:5d:74,bridge=br0,script=vif-bridge',  # the first
            'mac=00:15:17:15:5d:75' ]
on_poweroff = 'destroy'
on_start = 'pause'
on_crash = 'preserve'
disk = [ 'phy:/dev/x,xvda,w' ]
pvh = 1
click = "x.click"
"""


def test_files_of_the_original_are_taken_as_they_are() -> None:
    assert parse(SAMPLE) == DomainSpec("click0", memory=8, cpus="0", on_crash="preserve", click="x.click", vif=(
        VifSpec("00:15:17:15:5d:74", "br0", "vif-bridge"), VifSpec("00:15:17:15:5d:75")))
    assert parse(SAMPLE).ignored == ("kernel", "on_start", "disk", "pvh")


def test_toml_says_the_same() -> None:
    assert parse('name = "a"\nmemory = 32\nweight = 512\n[[vif]]\nmac = "02:00:00:00:00:01"\nbridge = "br0"\n', toml=True) == DomainSpec(
        "a", memory=32, weight=512, vif=(VifSpec("02:00:00:00:00:01", "br0"),))


@pytest.mark.parametrize(("text", "message"), [
    ("memory = 8", "'name' is missing"), ("name =", "f:1: the value of 'name'"), ("name = 'a", "f:1: a string that does not end"),
    ("name = 'a'\nfoo = 1", "f:2: foo: no such key"), ("name = 'a'\nmemory = 'x'", "f:2: memory: a number is needed"),
    ("name = 'a'\nmemory = 0", "f:2: memory: 0 is not between 1"), ("name = 'a'\nvcpus = 2", "a domain has one virtual CPU"),
    ("name = 'a'\nvif = ['mac=zz']", "f:2: vif: 'zz' is no MAC address"), ("name = 'a'\nvif = ['mac=01:00:00:00:00:00']", "group address"),
    ("name = 'a'\nvif = ['colour=red']", "an interface has no 'colour'"), ("name = 'a'\nvif = [ 'mac=1',", "f:2: the list of 'vif' does not end"),
    ("name = 'a' b", "f:1: 'b' after the value"), ("name = '17'", "name:"), ("name = 'a'\non_crash = 'x'", "none of destroy, restart, preserve"),
    ("name = 'a'\ncpus = 'x'", "no list of CPUs"), ("name = 'a'\nisolation = 'xen'", "none of kvm, process, inline"), ("= 3", "a key was expected"),
    ("name = 'a'\n}", "unexpected '}'"),
])
def test_errors_name_the_place_and_the_cause(text: str, message: str) -> None:
    with pytest.raises(DomainFileError) as caught:
        parse(text, file="f")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@given(st.text(max_size=200) | st.from_regex(r"(name|vif|memory|x) ?= ?('[a-z=,:0-9]*'|\d+|\[('[a-z]*',? ?)*\]?)[\n;]?"))
def test_any_text_is_a_domain_or_an_error(text: str) -> None:
    for toml in (False, True):
        try:
            parse(text, toml=toml)
        except DomainFileError as error:
            assert str(error)


def test_a_click_file_is_looked_for_beside_the_domain_file(tmp_path: Path) -> None:
    (tmp_path / "x.click").write_text("Idle -> Discard")
    (tmp_path / "d.cfg").write_text(SAMPLE)
    assert load(tmp_path / "d.cfg").click == str(tmp_path / "x.click")
    with pytest.raises(DomainFileError, match="No such file"):
        load(tmp_path / "none.cfg")


def test_the_schema_names_every_key() -> None:
    made = schema()
    assert set(made["properties"]) == {"name", "memory", "vcpus", "cpus", "vif", "click", "isolation", "weight", "cap", "on_poweroff",
                                       "on_reboot", "on_crash", "uuid"}
    assert made["required"] == ["name"]
