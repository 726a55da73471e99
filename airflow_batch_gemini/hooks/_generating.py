"""Calls beside the job service; generateContent is asked again only where nothing can have been billed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.exceptions import (
    GeminiBatchError,
    PaymentUnknownError,
    RefusedForNowError,
    RequestRefusedError,
    ServiceError,
)
from airflow_batch_gemini.hooks._vertex import AMBIGUOUS

if TYPE_CHECKING:
    from requests import PreparedRequest, Session

CONNECT_SECONDS = 30.0
ANSWER_SECONDS = 300.0
"""A model that thinks takes its time; nothing comes before its answer is whole."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 16.0


class _NotReachedError(ServiceError):
    """No connection came about: nothing was sent."""


class DirectCalls:
    """Connections for direct calls, one a location. Several threads may ask at once.

    :param endpoint_of: returns a location's endpoint, and the credentials that may be sent there.
    """

    def __init__(self, endpoint_of: Callable[[str], tuple[str, Any]]) -> None:
        self._endpoint_of = endpoint_of
        self._open: dict[str, tuple[str, Session]] = {}
        self._opening = threading.Lock()

    def ask(
        self,
        location: str,
        path: str,
        request: Mapping[str, Any],
        patience: float,
        wanted: Callable[[], bool],
    ) -> dict[str, Any]:
        """POST *request* and return the response.

        :param patience: seconds for which refusals for want of quota, and hosts out of reach, are tried again.
        :param wanted: asked before it is tried again.
        """
        import orjson
        from google.api_core.exceptions import RetryError
        from google.api_core.retry import Retry

        endpoint, session = self.session(location)
        body = orjson.dumps(request)
        again = Retry(
            predicate=lambda error: isinstance(error, RefusedForNowError | _NotReachedError) and wanted(),
            initial=_FIRST_PAUSE,
            maximum=_LONGEST_PAUSE,
            timeout=patience,
        )
        try:
            response: dict[str, Any] = again(lambda: _once(session, endpoint + path, body))()
        except RetryError as error:
            if isinstance(error.cause, GeminiBatchError):
                raise error.cause from None
            raise
        return response

    def session(self, location: str) -> tuple[str, Session]:
        """Return endpoint and session: the client library would take seconds and 80 MB to load."""
        with self._opening:
            if location not in self._open:
                endpoint, credentials = self._endpoint_of(location)
                self._open[location] = (endpoint, _signing_session(credentials))
            return self._open[location]

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        while self._open:
            self._open.popitem()[1][1].close()


def _signing_session(credentials: Any) -> Session:
    """Return a session that sends *credentials* along.

    Google's own session tells prompts and answers to whoever has set its logger to DEBUG; this one tells nobody.
    """
    import requests
    from google.auth.transport.requests import Request

    fetch = Request()

    def signed(request: PreparedRequest) -> PreparedRequest:
        credentials.before_request(fetch, request.method, request.url, request.headers)
        return request

    session = requests.Session()
    session.auth = signed
    return session


def _once(session: Session, url: str, body: bytes) -> dict[str, Any]:
    """Send one request. What Vertex AI says in an error may quote the prompt, so only its code is told."""
    import requests
    from google.auth.exceptions import GoogleAuthError

    try:
        answer = session.post(
            url,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            allow_redirects=False,  # a token goes to the host that was checked, and nowhere else
        )
    except GoogleAuthError as error:
        raise ServiceError(
            f"No token for a direct call could be had ({type(error).__name__}). Nothing was sent; a retry asks again."
        ) from error
    except requests.RequestException as error:
        if _never_connected(error):
            raise _NotReachedError(
                f"Vertex AI could not be reached ({type(error).__name__}). Nothing was sent; a retry asks again."
            ) from None
        raise _unknown(type(error).__name__) from None
    if answer.status_code != 200:
        raise _error(answer.status_code)
    try:
        response = answer.json()
    except (ValueError, RecursionError):
        raise _unknown("an answer that is no JSON") from None
    return response if isinstance(response, dict) else {}


def _error(code: int) -> GeminiBatchError:
    if code == 429:
        return RefusedForNowError(
            "Vertex AI has no quota left for direct calls (429). Nothing was billed; a retry asks again.",
            http_status=code,
        )
    if 400 <= code < 500 and code not in AMBIGUOUS:
        return RequestRefusedError(
            f"Vertex AI refused a request ({code}). Nothing was billed for it; correct it.", http_status=code
        )
    return _unknown(f"{code}", http_status=code)


def _never_connected(error: Exception) -> bool:
    """Whether *error* came before a connection did; anything later may have reached the model."""
    import requests
    from urllib3.exceptions import MaxRetryError, NewConnectionError

    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _unknown(told: str, *, http_status: int | None = None) -> PaymentUnknownError:
    return PaymentUnknownError(
        f"A direct call got no clear answer ({told}). It may have been billed; it is not sent again.",
        http_status=http_status,
    )
