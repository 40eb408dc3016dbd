"""ProgressBar."""

from __future__ import annotations

import contextlib
import time

from penstock.elements import ConfigureError, Element, HandlerError
from penstock.elements.element import HandlerLookupError
from penstock.lang.arguments import Seconds, parse_bool
from penstock.lang.text import split_words

__all__ = ["ProgressBar"]

_WIDTH = 30


class ProgressBar(Element):
    """Print a bar on standard error that shows how far something is: the sum of handlers, of the sum of others.

    For example how much of a capture has been read: ``ProgressBar(d.filepos, d.filesize)``. Where the size is not known there
    is no bar, but the position, and how fast it changes.

    Arguments:
        POSHANDLER, SIZEHANDLER: read handlers, several with spaces between; without SIZEHANDLER the size is not known.
        UPDATE: time between two looks (0.1 s). BANNER: printed before it. ACTIVE: false waits. FIXED_SIZE: the size as a number.

    Handlers:
        active (read/write). mark_done (write): the last bar, at its end. mark_stopped (write): the last bar, where it is.
        pos, size (read): the sums.

    Example:
        InfiniteSource(LIMIT 50, STOP true) -> c :: Counter -> Discard; ProgressBar(c.count, FIXED_SIZE 50, BANNER packets);
    """

    ports = "0/0"

    def configure(self, poshandler: str, sizehandler: str = "", *, update: Seconds = 0.1, banner: str = "", active: bool = True,
                  fixed_size: float | None = None) -> None:
        if update <= 0:
            raise ConfigureError("UPDATE: must be > 0")
        self.positions, self.sizes = split_words(poshandler), split_words(sizehandler)
        if not self.positions:
            raise ConfigureError("POSHANDLER: required argument missing")
        self.update_ns, self.banner, self.active, self.fixed = int(update * 1e9), banner, active, fixed_size
        self.began_ns = 0
        self.shown = self.ended = False

    def started(self) -> None:
        self.router.calls.call_at(0, self._tick)

    def cleanup(self) -> None:
        if hasattr(self, "shown") and self.shown and not self.ended:
            with contextlib.suppress(HandlerError):
                self._show(end="\n")

    def add_handlers(self) -> None:
        self.add_read("active", lambda: self.active, flags="c")
        self.add_write("active", self._set_active)
        self.add_read("pos", lambda: self._sum(self.positions))
        self.add_read("size", self._size)
        self.add_write("mark_done", lambda text: self._end(is_done=True), flags="b")
        self.add_write("mark_stopped", lambda text: self._end(is_done=False), flags="b")

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())

    def _sum(self, handlers: list[str]) -> float:
        try:
            return sum(float(self.router.handlers.read(name, "", self.name).strip() or 0) for name in handlers)
        except HandlerLookupError as error:
            raise HandlerError(str(error)) from None
        except ValueError:
            raise HandlerError(f"{' '.join(handlers)}: a handler that gives no number") from None

    def _size(self) -> float | str:
        if self.fixed is not None:
            return self.fixed
        return self._sum(self.sizes) if self.sizes else ""

    def _tick(self) -> None:
        if self.ended:
            return
        if self.active:
            self.began_ns = self.began_ns or self._now_ns()
            try:
                self._show()
            except HandlerError as error:
                self.router.complain(str(error), self)
                self.ended = True
                return
        self.router.calls.call_at(self._now_ns() + self.update_ns, self._tick)

    def _now_ns(self) -> int:
        clock = self.router.clock
        return int(clock.time) if clock.simulated else time.time_ns()

    def _end(self, *, is_done: bool) -> None:
        if not self.ended:
            self._show(whole=is_done, end="\n")
            self.ended = True

    def _show(self, *, whole: bool = False, end: str = "") -> None:
        position, size = self._sum(self.positions), self._size()
        now_ns = self._now_ns()
        passed_s = max(now_ns - (self.began_ns or now_ns), 1) / 1e9
        front = f"\r{self.banner} " if self.banner else "\r"
        if isinstance(size, float) and size > 0:
            part = 1.0 if whole else min(position / size, 1.0)
            left = f"{(1 - part) / part * passed_s:5.0f} s left" if 0 < part < 1 else f"{passed_s:5.0f} s"
            text = f"{front}|{'*' * round(part * _WIDTH):{_WIDTH}}| {100 * part:3.0f}% {_amount(position)} {left}"
        else:
            text = f"{front}{_amount(position)} {_amount(position / passed_s)}/s"
        print(text, end=end, file=self.router.stderr, flush=True)
        self.shown = True


def _amount(value: float) -> str:
    for unit in ("", "K", "M", "G"):
        if abs(value) < 10_000:
            return f"{value:6.0f}{unit}"
        value /= 1000
    return f"{value:6.0f}T"
