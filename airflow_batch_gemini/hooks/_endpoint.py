"""The one question every hook asks before it loads a credential: where will it be sent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook, get_field
from google.auth.credentials import Credentials

from airflow_batch_gemini.batch.endpoints import (
    UNIVERSE,
    check_credential,
    check_token_uri,
    check_universe,
    is_google,
    trusted_override,
)
from airflow_batch_gemini.batch.names import principal
from airflow_batch_gemini.exceptions import EndpointError

_UNKNOWN = "Google's own sign-in"
_UNIVERSE = "GOOGLE_CLOUD_UNIVERSE_DOMAIN"
_ALSO_READ = {"STORAGE_EMULATOR_HOST": "API_ENDPOINT_OVERRIDE"}
"""Google's storage client reads it too, calls it experimental, and sends it whatever credential it has."""
_ELSEWHERE = ("key_secret_name", "idp_issuer_url", "credential_config_file")
"""Fields of a connection by which the credential comes from elsewhere, whatever the environment names."""


def checked_override(hook: GoogleBaseHook, variable: str) -> str | None:
    """Return the local stand-in that *variable* points to, or ``None`` for Google itself.

    :raises EndpointError: when it points anywhere but to a trusted local host, when the credential of the hook's
        connection is then one that Google honours, or when without it something else in the environment or in the
        credential leads away from Google. No credential was loaded and nothing was sent.
    """
    hosts = os.environ.get("GEMINI_BATCH_TRUSTED_HOSTS", "")
    check_universe(os.environ.get(_UNIVERSE), where=_UNIVERSE)
    for one in _impersonated(hook):
        principal(one)
    variable, value = _named(variable)
    override = trusted_override(value, variable=variable, trusted_hosts=hosts)
    if override is None:
        for document in _documents(hook):
            check_credential(document, trusted_hosts=hosts)
    else:
        check_token_uri(_token_uri(hook), variable=variable, trusted_hosts=hosts)
        _check_proxy(override)
    return override


def _named(variable: str) -> tuple[str, str | None]:
    """Return *variable* and what it says, or what another one says by which the same client is led elsewhere."""
    other = _ALSO_READ.get(variable, "")
    if os.environ.get(variable) or is_google(os.environ.get(other)):
        return variable, os.environ.get(variable)
    return (other, os.environ[other]) if os.environ.get(other) else (variable, None)


def _check_proxy(override: str) -> None:
    """Refuse a proxy on the way to a stand-in: it would read tokens and prompts in clear text."""
    from requests.utils import get_environ_proxies, select_proxy

    if select_proxy(override, get_environ_proxies(override)):
        raise EndpointError(
            f"A proxy of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) would carry what is meant for {override}."
            " No credential was loaded and nothing was sent; add its host to NO_PROXY."
        )


class LocalCredentials(Credentials):  # type: ignore[misc]  # mypy skips google.*: the base class is Any to it
    """Credentials for a local stand-in: they fetch their token there and ask Google nothing.

    A service account's own credentials look up at iamcredentials.googleapis.com where they may be used, in a thread of
    their own after every token, whatever endpoint they are meant for.
    """

    def __init__(self, credentials: Any) -> None:
        super().__init__()
        self._wrapped = credentials

    def refresh(self, request: Any) -> None:
        """Fetch a token."""
        self._wrapped.refresh(request)
        self.token, self.expiry = self._wrapped.token, self._wrapped.expiry


def fitting_credentials(credentials: Any, override: str | None) -> Any:
    """Return *credentials* as they should be sent to *override*, or to Google when that is ``None``."""
    from google.auth.credentials import AnonymousCredentials

    if override is None:
        # Of a credential that was not in a file, as from Secret Manager, nothing is known until it is loaded.
        universe = getattr(credentials, "universe_domain", UNIVERSE)
        check_universe(universe, where="The connection's credential has universe_domain")
    if override is None or isinstance(credentials, AnonymousCredentials):
        return credentials
    return LocalCredentials(credentials)


def _impersonated(hook: GoogleBaseHook) -> list[Any]:
    """Return whom the hook will ask tokens for, in the provider's reading of its argument and its connection."""
    chain = hook.impersonation_chain or get_field(hook.extras, "impersonation_chain") or []
    if isinstance(chain, str):
        chain = [one.strip() for one in chain.split(",")] if "," in chain else [chain]
    return list(chain)


def _token_uri(hook: GoogleBaseHook) -> str | None:
    """Return where the connection's credential gets its tokens, without loading it; ``None`` for anonymous."""
    extras: dict[str, Any] = hook.extras
    if _impersonated(hook):
        return _UNKNOWN
    if get_field(extras, "is_anonymous"):
        return None
    if any(get_field(extras, elsewhere) for elsewhere in _ELSEWHERE):
        return _UNKNOWN
    for key in _documents(hook):
        return str(key.get("token_uri") or _UNKNOWN) if key.get("type") == "service_account" else _UNKNOWN
    return _UNKNOWN


def _documents(hook: GoogleBaseHook) -> list[dict[str, Any]]:
    """Return the JSON of every credential that the connection names and that can be read without asking anybody."""
    extras: dict[str, Any] = hook.extras
    named = [get_field(extras, field) for field in ("keyfile_dict", "key_path", "credential_config_file")]
    if not any(named):
        named = [os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")]
    return [document for value in named if value and (document := _document(value)) is not None]


def _document(value: Any) -> dict[str, Any] | None:
    """Return a credential's JSON: itself, its text, or the file that *value* names."""
    try:
        if isinstance(value, str):
            value = json.loads(value if value.lstrip().startswith("{") else Path(value).read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
