"""Which rows deserve another try, and what is asked then: the policy of a repair, a table by outcome and cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from airflow_batch_gemini.batch.outcome import Outcome
from airflow_batch_gemini.exceptions import ConfigurationError

MAX_ROUNDS = 9


class Action(StrEnum):
    """What becomes of a row that did not succeed."""

    SAME = "same"
    """The same request once more."""
    MORE_TOKENS = "more_tokens"
    """The request with more output tokens; where there are no more to be had, with less thinking."""
    CORRECT = "correct"
    """The request with a sentence more in its system instruction: that the answer must fit the schema."""
    GIVE_UP = "give_up"
    """No other try: the row stays in the errors table."""


@dataclass(frozen=True)
class Rule:
    """What to do with the rows of one outcome.

    :param reason: of these only the ones with this reason; ``None``: whatever the reason.
    :param retryable: only those that may pass when they are sent again, or only the others; ``None``: both.
    """

    outcome: Outcome
    action: Action
    reason: str | None = None
    retryable: bool | None = None

    def meets(self, outcome: str, reason: str | None, *, retryable: bool) -> bool:
        """Whether a row is one that this rule speaks of."""
        return (
            outcome == self.outcome and self.reason in (None, reason) and self.retryable in (None, retryable)
        )


RULES = (
    Rule(Outcome.FAILED, Action.SAME, retryable=True),
    Rule(Outcome.MISSING, Action.SAME),
    Rule(Outcome.MISMATCHED, Action.SAME),
    Rule(Outcome.TRUNCATED, Action.MORE_TOKENS),
    Rule(Outcome.INVALID, Action.CORRECT),
    Rule(Outcome.BLOCKED, Action.GIVE_UP),
    Rule(Outcome.FAILED, Action.GIVE_UP),
    Rule(Outcome.REJECTED, Action.GIVE_UP),
)
"""The first that speaks of a row decides: spend again only where that may help."""

_REPAIRABLE = frozenset(Outcome) - {Outcome.SUCCEEDED, Outcome.REJECTED}


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """An action with its measures, ready to be taken."""

    action: Action
    times: int = 1
    """By how much there are more tokens, or less thinking."""
    before: int | None = None
    """By how much there were in the round before; ``None``: that was the first round."""
    most_tokens: int = 0
    """No more output tokens than these."""

    @property
    def earlier(self) -> Treatment | None:
        """What the same action meant in the round before; ``None``: that sent the request as it is."""
        return None if self.before is None else replace(self, times=self.before, before=None)


@dataclass(frozen=True, kw_only=True)
class RepairPolicy:
    """What to do with rows that did not succeed.

    :param rules: the first that speaks of a row decides; a row of which none speaks is given up.
    :param factor: how many times the output tokens of the round before a truncated row gets.
    :param max_output_tokens: no more than these; what the model gives at most.
    """

    rules: tuple[Rule, ...] = RULES
    factor: int = 2
    max_output_tokens: int = 65_536

    def __post_init__(self) -> None:
        if self.factor < 2 or self.max_output_tokens < 1:
            raise ConfigurationError(
                f"A repair with factor={self.factor} and max_output_tokens={self.max_output_tokens} asks for no more "
                "than before. Nothing was sent; factor is 2 or more."
            )
        for rule in self.rules:
            if rule.outcome not in _REPAIRABLE and rule.action is not Action.GIVE_UP:
                raise ConfigurationError(
                    f"Rows that are {rule.outcome} cannot be repaired: nothing of them was sent, or nothing is wrong "
                    "with them. Nothing was sent; leave them out of policy=."
                )

    @classmethod
    def of(cls, given: RepairPolicy | Mapping[str, str] | None) -> RepairPolicy:
        """Return a policy.

        :param given: one; or by outcome (``"invalid"``), or by outcome and reason (``"failed/NO_CANDIDATES"``), the
            action that is to be taken instead of the usual one; ``None``: the usual policy.
        """
        if isinstance(given, RepairPolicy):
            return given
        if given is None:
            return cls()
        if not isinstance(given, Mapping):
            raise _no_policy(given)
        # A reason is more than an outcome: it decides first.
        special = sorted((_rule(name, action) for name, action in given.items()), key=_special_first)
        return replace(cls(), rules=(*special, *RULES))

    def action(self, outcome: str, reason: str | None, *, retryable: bool) -> Action:
        """Return what becomes of a row."""
        found = (rule for rule in self.rules if rule.meets(outcome, reason, retryable=retryable))
        return next((rule.action for rule in found), Action.GIVE_UP)

    def treatment(self, action: Action, *, round: int) -> Treatment:  # noqa: A002  # the word of the tables
        """Return what an action means in a round; every one is taken on the request of the first round."""
        if action is not Action.MORE_TOKENS:
            return Treatment(action=action)
        return Treatment(
            action=action,
            times=self.factor**round,
            before=self.factor ** (round - 1) if round > 1 else None,
            most_tokens=self.max_output_tokens,
        )

    def treatments(self, *, round: int) -> tuple[Treatment, ...]:  # noqa: A002  # as above
        """Return every treatment of a round, each once, in the order of the actions."""
        actions = {rule.action for rule in self.rules} - {Action.GIVE_UP}
        return tuple(self.treatment(action, round=round) for action in Action if action in actions)


def _special_first(rule: Rule) -> bool:
    return rule.reason is None


def _rule(name: object, action: object) -> Rule:
    outcome, _, reason = str(name).partition("/")
    try:
        return Rule(Outcome(outcome), Action(str(action)), reason=reason or None)
    except ValueError as error:
        raise _no_policy({name: action}) from error


def _no_policy(given: Any) -> ConfigurationError:
    outcomes, actions = ", ".join(sorted(_REPAIRABLE)), ", ".join(Action)
    return ConfigurationError(
        f"policy= wants a RepairPolicy, or by outcome ({outcomes}) an action ({actions}), not {str(given)[:100]}. "
        "Nothing was sent."
    )
