"""Images: reproducible, cached by content, rebuilt when anything about a cache entry is wrong."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.datapath.llvm.compile import compile_text, link
from penstock.runtime.image import Image, ImageCache
from penstock.runtime.router import Router

TEXT = "MemSource(LIMIT 100, STOP true) -> Strip(14) -> CheckIPHeader -> IPFilter(allow udp, deny all) -> c :: Counter -> Discard"


def build(text: str, cache: ImageCache | None = None) -> Router:
    router = Router.from_text(text, cache=cache)
    router.build()
    return router


def test_same_configuration_gives_same_bytes() -> None:
    a, b = build(TEXT), build(TEXT)
    assert a.image is not None and b.image is not None
    assert a.image.code == b.image.code
    assert a.assembly() == b.assembly()
    assert link(compile_text(a.assembly()), ["run"])[0] == a.image.code


def test_same_bytes_in_another_process_with_another_hash_seed() -> None:
    code = f"from penstock import Router; import hashlib; print(hashlib.sha256(Router.from_text({TEXT!r}).build().code).hexdigest())"
    digests = {subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
                              check=True).stdout for seed in ("1", "2")}
    assert len(digests) == 1


def test_second_build_comes_from_the_cache(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    first, second = build(TEXT, cache), build(TEXT, cache)
    assert (first.image_from_cache, second.image_from_cache) == (False, True)
    assert first.image == second.image
    second.run()
    assert second.read("c.count") == "100"


@pytest.mark.parametrize("other", [TEXT.replace("allow udp", "allow tcp"), TEXT.replace("Strip(14)", "Strip(10)"), TEXT.replace("c ::", "d ::")])
def test_other_constants_have_other_keys(other: str, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    build(TEXT, cache)
    again = build(other, cache)
    if "d ::" in other:
        return  # a name alone may share
    assert not again.image_from_cache


def test_what_packet_code_does_not_see_is_not_in_the_key(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "images")
    text = f"InfiniteSource(LIMIT 3, STOP true) -> Print(a) -> ToDump({tmp_path}/a.pcap)"

    def from_cache(configuration: str) -> bool:
        with build(configuration, cache) as router:
            return router.image_from_cache

    assert not from_cache(text)
    assert from_cache(text.replace("a.pcap", "b.pcap").replace("Print(a)", "Print(b)"))
    assert not from_cache(text.replace("Print(a)", "Print(a, 10)"))


def test_what_a_set_of_rules_holds_is_data(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    rules = [", ".join(f"deny src host 10.{net}.{i}.1" for i in range(60)) for net in (0, 1)]
    images = [build(f"MemSource(LIMIT 1, STOP true) -> Strip(14) -> CheckIPHeader -> IPFilter({r}, allow all) -> Discard", cache)
              for r in rules]
    assert [r.image_from_cache for r in images] == [False, True]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign", "writable", "other key"])
def test_damaged_entries_are_built_again(damage: str, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    build(TEXT, cache)
    (entry,) = tmp_path.iterdir()
    data = bytearray(entry.read_bytes())
    if damage == "cut":
        entry.write_bytes(data[:-9])
    elif damage == "flip":
        data[-20] ^= 1
        entry.write_bytes(data)
    elif damage == "empty":
        entry.write_bytes(b"")
    elif damage == "foreign":
        if os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        os.chown(entry, 12345, -1)
    elif damage == "writable":
        entry.chmod(0o666)
    else:
        image = Image(b"\xc3" * 64, {"run": 0})
        entry.write_bytes(ImageCache.encode(image, "0" * 64))
    again = build(TEXT, cache)
    assert not again.image_from_cache
    again.run()
    assert again.read("c.count") == "100"


@given(st.binary(max_size=200))
def test_any_bytes_are_no_image(data: bytes) -> None:
    assert ImageCache.decode(data, "k") is None
    assert ImageCache.decode(b"PNSTKIM1" + data, "k") is None


@given(st.binary(min_size=1, max_size=300), st.dictionaries(st.text(max_size=5), st.integers(0, 400), max_size=3))
def test_entries_read_back_what_was_written_and_entry_points_lie_inside(code: bytes, entries: dict[str, int]) -> None:
    image = Image(code, entries)
    good = all(v < len(code) for v in entries.values())
    assert ImageCache.decode(ImageCache.encode(image, "k"), "k") == (image if good else None)


def _build_in(folder: str) -> None:
    build(TEXT, ImageCache(Path(folder)))


def test_two_processes_building_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_build_in, args=(str(tmp_path),)) for _ in range(2)]
    for p in processes:
        p.start()
    for p in processes:
        p.join(60)
        assert p.exitcode == 0
    assert [p.name.startswith(".new-") for p in tmp_path.iterdir()] == [False]
    assert build(TEXT, ImageCache(tmp_path)).image_from_cache


def test_unwritable_cache_only_costs_time() -> None:
    assert build(TEXT, ImageCache(Path("/proc/nowhere"))).image is not None
