"""How calls that may be repeated are repeated, and calls that need no client library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.hooks._vertex import REQUEST_SECONDS

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from requests import Session


def reading() -> dict[str, Any]:
    """Return how a request that may be repeated is repeated."""
    return {"retry": again(45), "timeout": REQUEST_SECONDS}


def again(seconds: float) -> Retry:
    """Return what asks again for so long, while nothing but time is wanting."""
    from google.api_core.exceptions import GatewayTimeout
    from google.api_core.retry import Retry, if_exception_type, if_transient_error
    from requests.exceptions import Timeout

    slow = if_exception_type(GatewayTimeout, Timeout)
    return Retry(
        predicate=lambda error: if_transient_error(error) or slow(error),
        initial=0.3,
        maximum=8,
        timeout=seconds,
    )


def posted(session: Session, url: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Post *body* where it is meant to go and nowhere else, and return the answer."""
    import orjson
    from google.api_core.exceptions import from_http_response

    try:
        data = orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise ValueError("the request is nested too deeply") from None
    headers = {"Content-Type": "application/json"}
    response = session.post(url, data=data, headers=headers, timeout=REQUEST_SECONDS, allow_redirects=False)
    if response.status_code != 200:
        raise from_http_response(response)
    answer = response.json()
    if not isinstance(answer, dict) or "totalTokens" not in answer:
        raise ValueError("the answer has no totalTokens")
    return answer
