"""From counts that add up to published tables: the gates, the one publish, and what the report says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.pricing import Price
from airflow_batch_gemini.batch.quality import QualityGates, check_quality
from airflow_batch_gemini.batch.report import Report, round_of
from airflow_batch_gemini.batch.tally import Tally, standing_of
from airflow_batch_gemini.exceptions import ServiceError
from airflow_batch_gemini.operators._lineage import tell
from airflow_batch_gemini.sql import telling
from airflow_batch_gemini.sql.plan import Landed, LoadPlan

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.lineage import Lineage
    from airflow_batch_gemini.operators._steps import Steps


def complete_tables(steps: Steps) -> LoadPlan:
    """Give the tables that are there the columns and fields that they lack; return the plan for what they have now.

    Somebody else may have made the table, or a column, since it was looked at. BigQuery assigns STRUCTs by the places
    of their fields, so that another order of them would put values under wrong names, and say nothing.
    """
    plan = steps.plan
    if plan.growing:
        steps.warehouse.grow_table(plan.results, plan.growing)
    if (extend := plan.extend()) is not None:
        steps.take("extend", extend)
    there = steps.warehouse.table_info(plan.results)
    plan = replace(plan, found=there.columns if there else ())
    if plan.growing:
        raise ServiceError(
            f"Table {plan.results} was changed while the load ran. Nothing was published; a retry goes by what it is "
            "now."
        )
    return plan


@dataclass(frozen=True)
class Publishing:
    """The last steps of a load, all of which follow from what was counted."""

    steps: Steps
    counted: Tally
    landed: Landed
    price: Price | None

    def judge(self, gates: QualityGates) -> None:
        """Raise when more rows would stand without a usable answer than the gates let through. Changes nothing."""
        if not gates.any:
            return
        plan, outcomes = self.steps.plan, self.counted.outcomes
        if (after := plan.standing_after()) is not None:
            outcomes = standing_of(self._rows("judge", after))
        check_quality(
            outcomes, gates, round=plan.manifest.round, table=str(plan.outcomes), answers=plan.answers
        )

    def publish(self, *, batch_date: str) -> None:
        """Give the tables what they lack, then publish results, errors and the round's row at once."""
        plan = complete_tables(self.steps)
        row = telling.row(plan, self.counted, self.landed, price=self.price, batch_date=batch_date)
        self.steps.take("publish", plan.publish(row))

    def report(self, *, notes: Sequence[str], now: float) -> Report:
        """Return the report of what was published.

        :param now: epoch seconds.
        """
        plan, standing, earlier = self.steps.plan, self.counted.outcomes, list[dict[str, Any]]()
        if plan.manifest.round:
            standing = standing_of(self._rows("standing", plan.standing()))
        if (asked := telling.earlier_rounds(plan)) is not None:
            earlier = [round_of(row) for row in self._rows("rounds", asked)]
        return telling.report(
            plan,
            self.counted,
            self.landed,
            standing=standing,
            earlier=earlier,
            price=self.price,
            notes=notes,
            loaded_at=now,
        )

    def lineage(self) -> Lineage:
        """Tell Airflow what was read and published, and return it."""
        found = telling.lineage(self.steps.plan)
        tell(found, self.steps.warehouse, self.steps.operator.log)
        return found

    def _rows(self, purpose: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self.steps.warehouse.job_rows(self.steps.take(purpose, query)))
