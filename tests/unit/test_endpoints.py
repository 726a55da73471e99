"""Where requests and tokens may go."""

from __future__ import annotations

import pytest

from airflow_batch_gemini.batch.endpoints import (
    check_credential,
    check_token_uri,
    check_universe,
    is_google,
    trusted_override,
    vertex_host,
)
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
        "http://localhost.evil.example",
        "http://127.0.0.1.nip.io",
        "http://2130706433",
        "http://0x7f000001",
        "http://0177.0.0.1",
        "http://127.1",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::ffff:10.0.0.1]",
        "http://[fe80::1%25eth0]",
        "http://@127.0.0.1",
        "http://127.0.0.1\\@evil.example",
        "http://evil.example\\@127.0.0.1",
        "http://127.0.0.1#@evil.example",
        "http://127.0.0.1?@evil.example",
        "http://127.0.0.1/@evil.example",
        "http://127.0.0.1/prefix",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:",
        "http://127.0.0.1\n.evil.example",
        "http://evil.example\t",
        " http://127.0.0.1",
        "http://127.0.0.1 ",
        "http://127。0。0。1",
        "http://ⓛocalhost",
        "HTTP://127.0.0.1",
        "http:127.0.0.1",
        "http:///127.0.0.1",
    ],
)
def test_an_override_to_anything_else_is_refused_before_a_credential_is_loaded(value: str) -> None:
    """The message names the variable; the error is of the family that paid nothing."""
    with pytest.raises(EndpointError, match="STORAGE_EMULATOR_HOST") as caught:
        trusted_override(value, variable="STORAGE_EMULATOR_HOST")
    assert isinstance(caught.value, NothingPaidError)
    assert "secret" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("url", "google"),
    [
        ("https://oauth2.googleapis.com/token", True),
        ("https://accounts.google.com/o/oauth2/token", True),
        ("https://sts.googleapis.com:443/v1/token", True),
        ("https://oauth2-ours.p.googleapis.com/token", True),
        ("https://storage.mtls.googleapis.com", True),
        ("http://oauth2.googleapis.com/token", False),
        ("https://oauth2.googleapis.com:8443/token", False),
        ("https://googleapis.com.evil.example/token", False),
        ("https://evilgoogleapis.com/token", False),
        ("https://evil.example/oauth2.googleapis.com", False),
        ("https://user@oauth2.googleapis.com/token", False),
        ("https://evil.example\\.googleapis.com/", False),
        ("https://evil.example#.googleapis.com", False),
        ("https://evil.example?.googleapis.com", False),
        ("https://google.com/token", False),
        ("", False),
        (None, False),
    ],
)
def test_googles_own_hosts_are_known_by_their_domain_and_https(url: object, google: bool) -> None:
    """Private endpoints are below the same domain."""
    assert is_google(url) is google


@pytest.mark.parametrize(
    "document",
    [
        {"token_uri": "https://evil.example/token"},
        {"token_url": "http://sts.googleapis.com/v1/token"},
        {
            "token_uri": "https://oauth2.googleapis.com/token",
            "service_account_impersonation_url": "https://evil.example",
        },
        {"token_info_url": ["https://sts.googleapis.com"]},
        {"universe_domain": "evil.example"},
    ],
)
def test_a_credential_that_would_send_itself_elsewhere_is_refused(document: dict[str, object]) -> None:
    """What it signs to get a token is good at Google's, whoever gets it."""
    with pytest.raises(EndpointError, match="Nothing was sent"):
        check_credential(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token"},
        {"token_uri": "http://127.0.0.1:9090/token", "universe_domain": "googleapis.com"},
        {
            "type": "external_account",
            "token_url": "https://sts.googleapis.com/v1/token",
            "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
            "a@p.iam.gserviceaccount.com:generateAccessToken",
        },
    ],
)
def test_credentials_as_google_makes_them_are_taken(document: dict[str, object]) -> None:
    """And the local cloud's."""
    check_credential(document)


def test_only_googles_public_universe_is_known() -> None:
    """Another one has other hosts."""
    for universe in (None, "", "googleapis.com"):
        check_universe(universe, where="X")
    with pytest.raises(EndpointError, match=r"X='evil\.example'"):
        check_universe("evil.example", where="X")
