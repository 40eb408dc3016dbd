"""What a router prints is heard over sockets, as long as somebody listens."""

import itertools
import socket
from pathlib import Path

import pytest

from penstock import Router


def _run(router: Router) -> None:
    """For a few turns: each looks at the sockets."""
    turns = itertools.count()
    router.driver.runcount = 1
    router.run(until=lambda: next(turns) > 3)


def _heard(reader: socket.socket) -> str:
    reader.settimeout(5)
    return reader.recv(65536).decode()


@pytest.mark.parametrize("quiet", [False, True])
def test_listeners_get_what_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str], quiet: bool) -> None:
    path = tmp_path / "chatter"
    text = f"s :: ChatterSocket(UNIX, {path}, QUIET {quiet}); i :: InfiniteSource(LIMIT 1, ACTIVE false) -> Print(seen) -> Discard"
    with Router.from_text(text) as router, socket.socket(socket.AF_UNIX) as reader:
        assert router.read("s.filename") == str(path)
        reader.connect(str(path))
        _run(router)
        router.write("i.active", "true")
        _run(router)
        said = _heard(reader)
        assert said.startswith("Click::ChatterSocket/1.0\r\nseen:") and said.endswith("\n")
        assert ("seen:" in capfd.readouterr().err) != quiet
        reader.close()
        _run(router)
        router.write("i.reset", "")
        router.write("i.active", "true")
        _run(router)
        assert "seen:" in capfd.readouterr().err
    assert not path.exists()


def test_a_hot_swap_keeps_listeners(capfd: pytest.CaptureFixture[str]) -> None:
    text = "s :: ChatterSocket(TCP, 0, LOCALHOST true, GREETING false); i :: InfiniteSource(LIMIT 1, ACTIVE false) -> Print({}) -> Discard"
    with Router.from_text(text.format("old")) as old, socket.socket() as reader:
        reader.connect(("127.0.0.1", int(old.read("s.port"))))
        _run(old)
        old.hotswap(text.format("new"))
        new = old.successor
        assert new is not None
        with new:
            new.write("i.active", "true")
            _run(new)
            assert _heard(reader).startswith("new:")
    assert "new:" in capfd.readouterr().err
