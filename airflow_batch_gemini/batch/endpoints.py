"""Where a request may go: Google's own hosts, or an explicitly configured local stand-in.

A token never follows an endpoint that is neither, and a credential that Google honours never goes to a stand-in.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from airflow_batch_gemini.exceptions import EndpointError

_MULTI_REGIONS = frozenset({"us", "eu"})


def vertex_host(location: str) -> str:
    """Return Vertex AI's host for *location* (page "Batch inference", section on endpoints).

    ``global`` has the host without a region; the multi-regions ``us`` and ``eu`` have hosts of their own.
    """
    if location == "global":
        return "aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


def trusted_override(value: str | None, *, variable: str, trusted_hosts: str = "") -> str | None:
    """Return the endpoint override *value* without a trailing slash, or ``None`` when there is none.

    :param value: what the environment variable says: ``http://127.0.0.1:9090``.
    :param variable: that variable's name, for the message.
    :param trusted_hosts: comma-separated host names of the own container network that count as local.
    :raises EndpointError: for anything but plain http(s) to loopback or to a trusted host.
    """
    if not value:
        return None
    if _is_local(value, trusted_hosts):
        return value.rstrip("/")
    raise EndpointError(
        f"{variable}={value!r} is neither loopback nor listed in GEMINI_BATCH_TRUSTED_HOSTS. No credential was loaded "
        "and nothing was sent; unset it to talk to Google, or name the host there if it is your own local cloud."
    )


def check_token_uri(token_uri: str | None, *, variable: str, trusted_hosts: str = "") -> None:
    """Refuse to use a credential that Google would honour against a local stand-in.

    :param token_uri: where the credential gets its tokens; ``None`` for anonymous credentials.
    :raises EndpointError: when tokens come from anywhere but a local stand-in.
    """
    if token_uri is None or _is_local(token_uri, trusted_hosts):
        return
    raise EndpointError(
        f"{variable} points to a local stand-in, but the connection's credential gets its tokens from {token_uri!r}. "
        f"Nothing was sent; use the local cloud's own connection, or unset {variable}."
    )


def _is_local(url: str, trusted_hosts: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or parts.username or parts.password:
        return False
    named = {name.strip().lower() for name in trusted_hosts.split(",") if name.strip()}
    if host == "localhost" or host in named:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
