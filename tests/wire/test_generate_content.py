"""One direct call through the hook, against the local Vertex AI: what is billed, what is sent again, what is said."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.auth.exceptions import RefreshError

from airflow_batch_gemini.exceptions import (
    InvalidNameError,
    PaymentUnknownError,
    RefusedForNowError,
    RequestRefusedError,
    ServiceError,
)
from airflow_batch_gemini.hooks import _generating
from airflow_batch_gemini.hooks._endpoint import LocalCredentials
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

MARK = "planted-4711"
REQUEST = {"contents": [{"role": "user", "parts": [{"text": f"Say {MARK} 😀."}]}]}
CALL = "^POST .*:generateContent$"


@pytest.fixture
def hook(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[GeminiBatchHook]:
    """A hook on the local cloud, which is told to answer with the prompt; pauses are short."""
    monkeypatch.setattr(_generating, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(_generating, "_LONGEST_PAUSE", 0.002)
    cloud.knobs(answers="echo", retry_after_seconds=0)
    cloud.parts.admin.reset()
    hook = GeminiBatchHook()
    yield hook
    hook.close()


def ask(hook: GeminiBatchHook, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "project_id": "demo",
        "location": "us-central1",
        "model": "gemini-2.5-flash",
        "request": REQUEST,
    }
    return hook.generate_content(**(values | changes))


@contextmanager
def one_answer(answer: bytes) -> Iterator[str]:
    """Serve these bytes to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def billed(cloud: LocalCloud) -> int:
    """Calls that the local cloud has billed."""
    return sum(one["billed_rows"] for one in cloud.stats()["generate_content"].values())


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The address of every request that a session was told to send; a server counts one that it breaks off later."""
    found: list[str] = []
    post = requests.Session.post

    def counting(self: requests.Session, url: str, **options: Any) -> requests.Response:
        if "generateContent" in url:
            found.append(url)
        return post(self, url, **options)

    monkeypatch.setattr(requests.Session, "post", counting)
    return found


@pytest.mark.parametrize(
    "model",
    [
        "gemini-2.5-flash",
        "publishers/google/models/gemini-2.5-flash",
        "projects/demo/locations/us-central1/publishers/google/models/gemini-2.5-flash",
    ],
)
def test_a_call_is_answered_and_billed_once(
    hook: GeminiBatchHook, cloud: LocalCloud, model: str, posts: list[str]
) -> None:
    """By whichever name the model goes."""
    answer = ask(hook, model=model)
    assert answer["candidates"][0]["content"]["parts"][0]["text"] == f"Say {MARK} 😀."
    assert answer["usageMetadata"]["promptTokenCount"] > 0
    assert (billed(cloud), len(posts)) == (1, 1)


def test_a_storm_of_429_is_weathered_and_one_answer_billed(
    hook: GeminiBatchHook, cloud: LocalCloud, posts: list[str]
) -> None:
    """What was refused for want of quota was not billed, so it is sent again."""
    cloud.knobs(http_429_rate=0.8)
    for _ in range(5):
        assert ask(hook)["candidates"]
    assert billed(cloud) == 5
    assert len(posts) > 5


def test_a_storm_that_outlasts_the_patience_ends_as_refused_for_now(
    hook: GeminiBatchHook, cloud: LocalCloud, posts: list[str]
) -> None:
    """Also when nobody wants the answer any more: then after the first refusal."""
    cloud.knobs(http_429_rate=1.0)
    with pytest.raises(RefusedForNowError, match=r"no quota .* Nothing was billed") as caught:
        ask(hook, patience=0.05)
    assert caught.value.http_status == 429
    before = len(posts)
    with pytest.raises(RefusedForNowError):
        ask(hook, wanted=lambda: False)
    assert (len(posts) - before, billed(cloud)) == (1, 0)


@pytest.mark.parametrize(
    ("knobs", "status"),
    [
        ({"http_503_rate": 1.0}, 503),
        ({"reset_rate": 1.0}, None),
        ({"answer_lost_after_commit": 1, "lost_answer_routes": CALL}, None),
        ({"row_error_rate": 1.0, "row_error_code": 500}, 500),
        ({"row_error_rate": 1.0, "row_error_code": 499}, 499),
    ],
)
def test_what_may_have_been_billed_is_not_sent_again(
    hook: GeminiBatchHook, cloud: LocalCloud, knobs: dict[str, Any], status: int | None, posts: list[str]
) -> None:
    """Errors of the service, and answers that never came."""
    cloud.knobs(**knobs)
    with pytest.raises(PaymentUnknownError, match="may have been billed; it is not sent again") as caught:
        ask(hook)
    assert caught.value.http_status == status
    assert len(posts) == 1
    assert billed(cloud) == ("answer_lost_after_commit" in knobs)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"request": {"contents": [{"role": MARK, "parts": [{"text": "x"}]}]}}, 400),
        ({"request": {MARK: 1}}, 400),
        ({"model": "gemini-0.0-none"}, 404),
    ],
)
def test_a_refusal_is_definite_and_quotes_nothing(
    hook: GeminiBatchHook, cloud: LocalCloud, changes: dict[str, Any], status: int, posts: list[str]
) -> None:
    """Vertex AI's own words may quote the request: only the code is told."""
    with pytest.raises(RequestRefusedError, match=f"{status}") as caught:
        ask(hook, **changes)
    assert caught.value.http_status == status
    assert (billed(cloud), len(posts)) == (0, 1)
    assert MARK not in f"{caught.value} {caught.value.__cause__}"


def test_a_host_that_cannot_be_reached_is_tried_again_until_it_can(
    hook: GeminiBatchHook, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, posts: list[str]
) -> None:
    """Without a connection nothing was sent."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("VERTEX_AI_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        with pytest.raises(ServiceError, match="could not be reached") as caught:
            ask(hook, patience=1.0)
    assert not isinstance(caught.value, RefusedForNowError)
    assert len(posts) > 1


@pytest.mark.parametrize("body", [b"no JSON", b"", b"[" * 100_000, b"[1]"])
def test_an_answer_that_is_none_is_unknown_or_empty(
    hook: GeminiBatchHook, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """It came with 200, so it is billed; nothing of it is quoted."""
    with one_answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as url:
        monkeypatch.setenv("VERTEX_AI_EMULATOR_HOST", url)
        if body == b"[1]":
            assert ask(hook) == {}
        else:
            with pytest.raises(PaymentUnknownError, match="no JSON"):
                ask(hook)


def test_a_redirection_is_not_followed(
    hook: GeminiBatchHook, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, posts: list[str]
) -> None:
    """Prompt and token go to the host that was checked, and nowhere else."""
    with one_answer(
        f"HTTP/1.1 307 Moved\r\nLocation: {cloud.url}/x\r\nContent-Length: 0\r\n\r\n".encode()
    ) as url:
        monkeypatch.setenv("VERTEX_AI_EMULATOR_HOST", url)
        with pytest.raises(PaymentUnknownError, match="307"):
            ask(hook)
    assert not any("(no such route)" in call for call in cloud.stats()["calls"])


def test_names_are_checked_before_anything_is_sent(
    hook: GeminiBatchHook, cloud: LocalCloud, posts: list[str]
) -> None:
    """A model's name is part of the address."""
    for wrong in ({"model": "../x"}, {"location": "x/y"}, {"project_id": "p?q"}):
        with pytest.raises(InvalidNameError):
            ask(hook, **wrong)
    assert len(posts) == 0


def test_no_token_means_that_nothing_was_sent(
    hook: GeminiBatchHook, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, posts: list[str]
) -> None:
    """A retry asks again."""

    def refresh(*_: object, **__: object) -> None:
        raise RefreshError("expired")

    monkeypatch.setattr(LocalCredentials, "refresh", refresh)
    with pytest.raises(ServiceError, match=r"No token .* Nothing was sent"):
        ask(hook)
    assert len(posts) == 1, "it is not tried again"
    assert not cloud.stats()["generate_content"]


def test_nothing_of_prompt_and_answer_is_logged(
    hook: GeminiBatchHook, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even when somebody has told Google's libraries, and every other one, to tell all they can."""
    caplog.set_level(logging.DEBUG)
    ask(hook)
    google = logging.getLogger("google")
    level = google.level
    google.addHandler(caplog.handler)
    google.setLevel(logging.DEBUG)
    try:
        ask(hook)
    finally:
        google.removeHandler(caplog.handler)
        google.setLevel(level)
    assert caplog.records
    assert MARK not in "".join(str(vars(record)) for record in caplog.records)


def test_many_threads_may_ask_at_once(hook: GeminiBatchHook, cloud: LocalCloud) -> None:
    """Each gets its own answer."""
    found: list[str] = []

    def one(text: str) -> None:
        request = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        found.append(ask(hook, request=request)["candidates"][0]["content"]["parts"][0]["text"])

    threads = [threading.Thread(target=one, args=(f"number {index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"number {index}" for index in range(8)]
    assert billed(cloud) == 8
