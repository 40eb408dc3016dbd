"""Answers to many questions as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.verify.budget import budget
from penstock.verify.errors import NotDecided
from penstock.verify.network import Network
from penstock.verify.policy import Assertion, parse_policy
from penstock.verify.questions import Answer

if TYPE_CHECKING:
    import pandas

__all__ = ["Results", "answer_of", "check"]


@dataclass(frozen=True)
class Results(Sequence[Answer]):
    """One answer for each assertion, in their order."""

    assertions: tuple[Assertion, ...]
    answers: tuple[Answer, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.answers[index]

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def hold(self) -> bool:
        """Whether all of them hold."""
        return all(answer.holds for answer in self.answers)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each: assertion, line, verdict, text, conditions, and of the example the host, the frames and the end."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for assertion, answer in zip(self.assertions, self.answers):
            shown = answer.witness
            gets_there = shown is not None and shown.way.kind in ("delivered", "left")
            yield {
                "assertion": assertion.text, "line": assertion.line, "verdict": answer.verdict, "text": answer.text,
                "conditions": " and ".join(answer.conditions),
                "source": shown.source if shown else None, "sent": shown.sent if shown else None,
                "end": shown.way.kind if shown else None, "node": shown.way.node if shown else None,
                "arrived": shown.arrived if shown is not None and gets_there else None,
            }

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a table of pandas (``pip install penstock[pandas]``)."""
        import pandas

        return pandas.DataFrame(self.rows)


def check(network: Network, policy: str, *, budget_s: float | None = 60) -> Results:
    """All assertions of a policy. What cannot be decided, or not within ``budget_s`` seconds each, is an answer too. Raises PolicyError."""
    assertions = parse_policy(policy, network)
    return Results(tuple(assertions), tuple(answer_of(assertion, network, budget_s=budget_s) for assertion in assertions))


def answer_of(assertion: Assertion, network: Network, *, budget_s: float | None) -> Answer:
    """An assertion's answer; what is not decided in that time is undecided. Raises PolicyError."""
    try:
        with budget(budget_s):
            return assertion.check(network)
    except NotDecided as reason:
        return Answer(assertion.text, "undecided", str(reason))
