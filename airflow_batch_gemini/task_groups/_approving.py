"""A person's answer that holds in a mapped group, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context


class GroupApproval(ApprovalOperator):
    """Airflow's, but that what is rejected is skipped in a mapped task group as well.

    There Airflow skips no task for a rejection (3.3): it looks for what was rejected under no map index. So this task
    is skipped itself, and what waits for it with it.
    """

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Return the answer; skip what comes after when it is no."""
        answer = super().execute_complete(context, event)
        mapped = context["ti"].map_index not in {None, -1}
        if mapped and self.APPROVE not in answer["chosen_options"]:
            raise AirflowSkipException("The batch was rejected. Nothing was sent.")
        return answer
