"""Tokens go to Google's hosts or to loopback, whatever the environment, a key file or a redirect says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow.providers.google.common.hooks import base_google

from airflow_batch_gemini.batch.names import DatasetName, GcsUri
from airflow_batch_gemini.exceptions import EndpointError, GeminiBatchError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook

JOB = "projects/demo/locations/us-central1/batchPredictionJobs/123"
TOKEN = "a-token-to-be-found"
VARIABLES = ("VERTEX_AI_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")
KEY = {"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "project_id": "p"}


class Server:
    """Remembers the headers of every request; gives a token to whoever asks, and sends all others to *target*."""

    def __init__(self) -> None:
        self.target: str | None = None
        self.seen: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                server.seen.append((self.path, self.headers.get("Authorization")))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, body = 404, {"Content-Type": "application/json"}, b"{}"
                if self.path == "/token":
                    status, body = 200, json.dumps({"access_token": TOKEN, "expires_in": 3600}).encode()
                elif server.target:
                    status, headers = 302, {"Location": server.target + self.path}
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """One that redirects to the other."""
    first, second = Server(), Server()
    first.target = second.url
    yield first, second
    first.close()
    second.close()


def connect(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    connection = {"conn_type": "google_cloud_platform", "extra": {"project": "demo", **extra}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))


@pytest.fixture
def local_key() -> dict[str, str]:
    """A key as the local cloud makes them; it says nothing yet of where tokens come from."""
    from airflow_batch_gemini.local.credentials import _new_key

    return {**KEY, "private_key": _new_key()}


def look_at_job() -> None:
    hook = GeminiBatchHook()
    try:
        hook.get(JOB)
    finally:
        hook.close()


def look_at_job_async() -> None:
    async def look() -> None:
        hook = GeminiBatchHook()
        try:
            await hook.aget(JOB)
        finally:
            await hook.aclose()

    asyncio.run(look())


def look_at_object() -> None:
    hook = WorkspaceHook()
    try:
        if hook.stat(GcsUri("bucket", "name")) is None:
            raise GeminiBatchError("There is none.")
    finally:
        hook.close()


def look_at_dataset() -> None:
    hook = WarehouseHook()
    try:
        hook.dataset_location(DatasetName("demo", "d"))
    finally:
        hook.close()


LOOKS = (look_at_job, look_at_job_async, look_at_object, look_at_dataset)
every_client = pytest.mark.parametrize("look", LOOKS)


@every_client
def test_no_client_takes_its_token_along_when_it_is_sent_elsewhere(
    look: Callable[[], None],
    servers: tuple[Server, Server],
    local_key: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server that it was meant for gets it; the one behind a redirect sees a request without it."""
    first, second = servers
    for variable in VARIABLES:
        monkeypatch.setenv(variable, first.url)
    connect(monkeypatch, keyfile_dict={**local_key, "token_uri": f"{first.url}/token"})
    with pytest.raises(GeminiBatchError):
        look()
    assert f"Bearer {TOKEN}" in {authorization for _, authorization in first.seen}
    assert second.seen
    assert {authorization for _, authorization in second.seen} == {None}


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential may be loaded, and nothing overrides Google's endpoints."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(
        base_google, "get_credentials_and_project_id", lambda **_: pytest.fail("a credential was loaded")
    )


@every_client
@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(
    "key",
    [{**KEY, "token_uri": "https://evil.example/token"}, {**KEY, "universe_domain": "evil.example"}],
    ids=["token_uri", "universe"],
)
def test_a_key_that_leads_away_from_google_is_not_even_loaded(
    look: Callable[[], None], key: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """However the connection names it."""
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key))
    for extra in (
        {"keyfile_dict": key},
        {"keyfile_dict": json.dumps(key)},
        {"key_path": str(path)},
        {"credential_config_file": str(path)},
    ):
        connect(monkeypatch, **extra)
        with pytest.raises(EndpointError, match=r"evil\.example"):
            look()
    connect(monkeypatch)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(EndpointError, match=r"evil\.example"):
        look()


@every_client
@pytest.mark.usefixtures("nothing_loads")
def test_another_universe_of_the_environment_is_refused(
    look: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BigQuery's client would go to ``bigquery.evil.example``."""
    connect(monkeypatch)
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "evil.example")
    with pytest.raises(EndpointError, match="GOOGLE_CLOUD_UNIVERSE_DOMAIN"):
        look()


@pytest.mark.usefixtures("nothing_loads")
def test_the_storage_clients_other_variable_is_no_way_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes ``API_ENDPOINT_OVERRIDE`` where the other one is not set; to Google itself it may lead."""
    connect(monkeypatch, keyfile_dict={**KEY, "token_uri": "https://oauth2.googleapis.com/token"})
    for value in ("https://evil.example", "http://storage.googleapis.com", "http://127.0.0.1:1"):
        monkeypatch.setenv("API_ENDPOINT_OVERRIDE", value)
        with pytest.raises(EndpointError, match="API_ENDPOINT_OVERRIDE"):
            look_at_object()
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", "https://storage-ours.p.googleapis.com")
    with pytest.raises(pytest.fail.Exception, match="a credential was loaded"):
        look_at_object()


@every_client
def test_no_proxy_reads_what_is_meant_for_a_stand_in(
    look: Callable[[], None],
    servers: tuple[Server, Server],
    local_key: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tokens and prompts go in clear text there; the message names the way out and not the proxy's password."""
    first, proxy = servers
    first.target = None
    for variable in VARIABLES:
        monkeypatch.setenv(variable, first.url)
    connect(monkeypatch, keyfile_dict={**local_key, "token_uri": f"{first.url}/token"})
    monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:secret@"))
    with pytest.raises(EndpointError, match="NO_PROXY") as refused:
        look()
    assert "secret" not in str(refused.value)
    assert (first.seen, meant_for(first, proxy)) == ([], [])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(GeminiBatchError):
        look()
    assert first.seen
    assert meant_for(first, proxy) == []


def meant_for(server: Server, proxy: Server) -> list[str]:
    """What *proxy* was given to pass on to *server*.

    The storage client asks for its bucket in a thread of its own, which may outlive the test it belongs to.
    """
    return [path for path, _ in proxy.seen if path.startswith(server.url)]


def test_the_universe_of_a_credential_from_elsewhere_is_looked_at_before_it_is_used() -> None:
    """As of one that came from Secret Manager: there was no file to read."""
    from google.auth.credentials import AnonymousCredentials

    from airflow_batch_gemini.hooks._endpoint import fitting_credentials

    class Foreign(AnonymousCredentials):  # type: ignore[misc]
        universe_domain = "evil.example"

    with pytest.raises(EndpointError, match="universe_domain"):
        fitting_credentials(Foreign(), None)
    plain = AnonymousCredentials()
    assert fitting_credentials(plain, None) is plain
