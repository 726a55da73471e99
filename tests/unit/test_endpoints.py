"""Where requests and tokens may go."""

from __future__ import annotations

import pytest

from airflow_batch_gemini.batch.endpoints import check_token_uri, trusted_override, vertex_host
from airflow_batch_gemini.exceptions import EndpointError, NothingPaidError


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_every_kind_of_location_has_its_own_host(location: str, host: str) -> None:
    """The global location has no region in its host, the multi-regions have hosts of their own."""
    assert vertex_host(location) == host


@pytest.mark.parametrize(
    "value", ["http://127.0.0.1:9090", "http://localhost:1", "http://[::1]:8080/", "https://127.8.9.1"]
)
def test_an_override_to_loopback_is_taken(value: str) -> None:
    """Loopback needs no further trust."""
    assert trusted_override(value, variable="X") == value.rstrip("/")


@pytest.mark.parametrize("value", [None, ""])
def test_no_override_means_google(value: str | None) -> None:
    """An unset or empty variable overrides nothing."""
    assert trusted_override(value, variable="X") is None


@pytest.mark.parametrize(
    "value",
    [
        "http://10.0.0.5:9090",
        "https://evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost@evil.example",
        "http://user:secret@127.0.0.1:1",
        "ftp://127.0.0.1",
        "127.0.0.1:9090",
        "http://127.0.0.1:notaport",
        "http://[::1",
        "http://",
        "file:///etc/passwd",
    ],
)
def test_an_override_to_anything_else_is_refused_before_a_credential_is_loaded(value: str) -> None:
    """The message names the variable; the error is of the family that paid nothing."""
    with pytest.raises(EndpointError, match="STORAGE_EMULATOR_HOST") as caught:
        trusted_override(value, variable="STORAGE_EMULATOR_HOST")
    assert isinstance(caught.value, NothingPaidError)


def test_a_host_of_the_own_container_network_is_taken_only_when_named() -> None:
    """A compose service name counts as local because somebody listed it."""
    assert trusted_override("http://local-cloud:9090", variable="X", trusted_hosts="db, local-cloud")
    with pytest.raises(EndpointError):
        trusted_override("http://local-cloud:9090", variable="X", trusted_hosts="db")


@pytest.mark.parametrize("token_uri", [None, "http://127.0.0.1:9090/token"])
def test_anonymous_and_locally_minted_credentials_may_go_to_a_stand_in(token_uri: str | None) -> None:
    """Neither is worth anything to Google."""
    check_token_uri(token_uri, variable="X")


def test_a_credential_that_google_honours_never_goes_to_a_stand_in() -> None:
    """A real service account next to a leftover override is an error, not a leak."""
    with pytest.raises(EndpointError, match="oauth2"):
        check_token_uri("https://oauth2.googleapis.com/token", variable="VERTEX_AI_EMULATOR_HOST")
