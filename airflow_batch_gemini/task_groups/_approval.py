"""The question to a person before a batch is paid for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperator, TriggerRule

from airflow_batch_gemini.exceptions import ConfigurationError
from airflow_batch_gemini.task_groups._options import check_names

SUBJECT = "Send this batch to Gemini?"

_HEEDED = ("all_success", "none_skipped")
"""Rules by which a task does not run when one before it was skipped."""
_BODY = """
{%- set parts = ti.xcom_pull(task_ids='TASK', map_indexes=INDEX) -%}
{%- set batch = parts if parts is mapping else parts[0] -%}
{%- set jobs = "1 job" if batch.parts == 1 else "%d jobs" | format(batch.parts) -%}
{%- macro usd(sum) -%}{{ "unknown" if sum is none else "%.4f USD" | format(sum) }}{%- endmacro -%}
**{{ "{:,}".format(batch.rows) }}** requests in {{ jobs }}, {{ batch.size | filesizeformat }}.

| cost: low | expected | high |
|---|---|---|
| {{ usd(batch.usd_low) }} | {{ usd(batch.usd_expected) }} | {{ usd(batch.usd_high) }} |

The requests lie under `{{ batch.workspace }}/requests/`.
{%- if batch.canary_rows %}

Of {{ batch.canary_rows }} rows that were asked beforehand, {{ batch.canary_failures or "none" }} failed. The answers
lie under `{{ batch.workspace }}/canary/`.
{%- endif %}
"""


def approval_task(options: Mapping[str, Any], *, prepare: BaseOperator, submit: BaseOperator) -> BaseOperator:
    """Return the task that asks, and holds no worker while nobody answers.

    :param options: arguments of ``ApprovalOperator`` that say something else than the group would.
    :param prepare: the task whose batch is in question.
    :param submit: the task that must not run when the answer is no.
    """
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    from airflow_batch_gemini.task_groups._approving import GroupApproval

    rule = TriggerRule(submit.trigger_rule).value
    if next(submit.iter_mapped_task_groups(), None) is not None and rule not in _HEEDED:
        raise ConfigurationError(
            f"With trigger_rule={rule!r} {submit.task_id} would send in a mapped group what was rejected: it wants "
            f"{' or '.join(_HEEDED)}. Nothing was sent."
        )
    check_names(ApprovalOperator, options, given="approval=", taken={"options", "multiple"})
    mapped = next(prepare.iter_mapped_task_groups(), None) is not None
    body = _BODY.replace("TASK", prepare.task_id).replace("INDEX", "ti.map_index" if mapped else "-1")
    arguments: dict[str, Any] = {"subject": SUBJECT, "body": body, **options}
    return GroupApproval(task_id="approve", **arguments)
