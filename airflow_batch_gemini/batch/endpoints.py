"""Where a request may go: Google's own hosts, or an explicitly configured local stand-in.

A token never follows an endpoint that is neither, and a credential that Google honours never goes to a stand-in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from airflow_batch_gemini.exceptions import EndpointError

UNIVERSE = "googleapis.com"
"""The domain of Google's public APIs; other universes have other hosts, and none of them is known here."""

_MULTI_REGIONS = frozenset({"us", "eu"})
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~:@-]*)*)"
)
"""Nothing that two readers could take for two hosts: no user, no query or fragment, no escapes, no white space."""
_TOKEN_PLACES = (
    "token_uri",
    "token_url",
    "token_info_url",
    "service_account_impersonation_url",
    "revoke_url",
)
"""Fields of a credential's JSON that say where it sends itself, or a token that it got."""


def vertex_host(location: str) -> str:
    """Return Vertex AI's host for *location* (page "Batch inference", section on endpoints).

    ``global`` has the host without a region; the multi-regions ``us`` and ``eu`` have hosts of their own.
    """
    if location == "global":
        return f"aiplatform.{UNIVERSE}"
    if location in _MULTI_REGIONS:
        return f"aiplatform.{location}.rep.{UNIVERSE}"
    return f"{location}-aiplatform.{UNIVERSE}"


def trusted_override(value: str | None, *, variable: str, trusted_hosts: str = "") -> str | None:
    """Return the endpoint override *value* without a trailing slash, or ``None`` when there is none.

    :param value: what the environment variable says: ``http://127.0.0.1:9090``.
    :param variable: that variable's name, for the message.
    :param trusted_hosts: comma-separated host names of the own container network that count as local.
    :raises EndpointError: for anything but plain http(s) to loopback or to a trusted host.
    """
    if not value:
        return None
    if _is_local(value, trusted_hosts, path=False):
        return value.rstrip("/")
    raise EndpointError(
        f"{_shown(variable, value)} is not http(s)://HOST:PORT with a HOST that is loopback or listed in "
        "GEMINI_BATCH_TRUSTED_HOSTS. No credential was loaded and nothing was sent; unset it to talk to Google, or "
        "name the host there if it is your own local cloud."
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


def check_credential(document: Mapping[str, Any], *, trusted_hosts: str = "") -> None:
    """Refuse a credential that would send itself, or a token, to a host that is neither Google's nor local.

    What a service account signs to get a token is good for a token from Google, whoever reads it on its way.

    :param document: a key file, or another credential's JSON.
    """
    for name in _TOKEN_PLACES:
        place = document.get(name)
        if place is not None and not (is_google(place) or _is_local(place, trusted_hosts)):
            raise EndpointError(
                f"The connection's credential has {_shown(name, place)}, which is neither Google's nor loopback. "
                "Nothing was sent; get the credential's file from Google anew."
            )
    check_universe(document.get("universe_domain"), where="The connection's credential has universe_domain")


def check_universe(universe: object, *, where: str) -> None:
    """Refuse any universe but Google's public one: its hosts are not the ones that are trusted here."""
    if universe not in (None, "", UNIVERSE):
        raise EndpointError(
            f"{_shown(where, universe)}: its hosts are not those of {UNIVERSE}, the only ones that a token is sent to. "
            "Nothing was sent; unset it."
        )


def is_google(url: object) -> bool:
    """Return whether *url* is one of Google's own, by https."""
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    if match is None or match["scheme"] != "https" or match["port"] not in (None, "443"):
        return False
    host = match["host"].lower()
    return host == "accounts.google.com" or host.endswith(f".{UNIVERSE}")


def _is_local(url: object, trusted_hosts: str, *, path: bool = True) -> bool:
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    if match is None or int(match["port"] or 0) > 65535 or (match["path"].strip("/") and not path):
        return False
    host = match["host"].lower().strip("[]")
    named = {name.strip().lower() for name in trusted_hosts.split(",") if name.strip()}
    if host == "localhost" or host in named:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(name: str, value: object) -> str:
    """Return ``name=value`` with what might be a password left out."""
    text = re.sub(r"//.*@", "//…@", str(value), flags=re.DOTALL)
    return f"{name}={text[:200]!r}"
