"""The one question every hook asks before it loads a credential: where will it be sent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook, get_field
from google.auth.credentials import Credentials

from airflow_batch_gemini.batch.endpoints import check_token_uri, trusted_override

_UNKNOWN = "Google's own sign-in"
_ELSEWHERE = ("key_secret_name", "idp_issuer_url", "credential_config_file")
"""Fields of a connection by which the credential comes from elsewhere, whatever the environment names."""


def checked_override(hook: GoogleBaseHook, variable: str) -> str | None:
    """Return the local stand-in that *variable* points to, or ``None`` for Google itself.

    :raises EndpointError: when it points anywhere but to a trusted local host, or when the credential of the hook's
        connection is one that Google honours. No credential was loaded and nothing was sent.
    """
    hosts = os.environ.get("GEMINI_BATCH_TRUSTED_HOSTS", "")
    override = trusted_override(os.environ.get(variable), variable=variable, trusted_hosts=hosts)
    if override is not None:
        check_token_uri(_token_uri(hook), variable=variable, trusted_hosts=hosts)
    return override


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

    if override is None or isinstance(credentials, AnonymousCredentials):
        return credentials
    return LocalCredentials(credentials)


def _token_uri(hook: GoogleBaseHook) -> str | None:
    """Return where the connection's credential gets its tokens, without loading it; ``None`` for anonymous."""
    extras: dict[str, Any] = hook.extras
    if hook.impersonation_chain or get_field(extras, "impersonation_chain"):
        return _UNKNOWN
    if get_field(extras, "is_anonymous"):
        return None
    if any(get_field(extras, elsewhere) for elsewhere in _ELSEWHERE):
        return _UNKNOWN
    key: Any = get_field(extras, "keyfile_dict")
    try:
        if not key:
            path = get_field(extras, "key_path") or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
            key = Path(path).read_text()
        key = json.loads(key) if isinstance(key, str) else key
        return str(key["token_uri"]) if key.get("type") == "service_account" else _UNKNOWN
    except (OSError, ValueError, KeyError, AttributeError):
        return _UNKNOWN
