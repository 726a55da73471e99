"""The question to a person before a batch is paid for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperator

from airflow_batch_gemini.task_groups._options import check_names

SUBJECT = "Send this batch to Gemini?"

# What prepare did not work out, it does not say: those lines are left out then.
_BODY = """
{%- set parts = ti.xcom_pull(task_ids='TASK', map_indexes=ti.map_index) -%}
{%- set batch = parts if parts is mapping else parts[0] -%}
**{{ "{:,}".format(batch.rows) }}** requests in {{ batch.parts }} job(s), {{ "%.1f" | format(batch.size / 1e6) }} MB.
{%- if batch.get('usd_expected') is not none %}

| cost | |
|---|---|
| at least | {{ "%.4f" | format(batch.usd_low) }} USD |
| expected | {{ "%.4f" | format(batch.usd_expected) }} USD |
| at most | {{ "%.4f" | format(batch.usd_high) }} USD |
{%- endif %}
{%- if batch.get('canary_rows') %}

Of {{ batch.canary_rows }} rows that were asked beforehand, {{ batch.canary_failures }} failed.
{%- endif %}

They lie under `{{ batch.workspace }}/requests/`.
"""


def approval_task(options: Mapping[str, Any], *, prepare_id: str) -> BaseOperator:
    """Return the task that asks, and holds no worker while nobody answers.

    :param options: arguments of ``ApprovalOperator`` that say something else than the group would.
    :param prepare_id: the task whose batch is in question.
    """
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    check_names(ApprovalOperator, options, given="approval=", taken={"options", "multiple"})
    body = _BODY.replace("TASK", prepare_id)
    arguments: dict[str, Any] = {"subject": SUBJECT, "body": body, **options}
    return ApprovalOperator(task_id="approve", **arguments)
