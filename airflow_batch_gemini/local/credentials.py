"""Credentials that satisfy Google's clients and open nothing but this local cloud."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

FILE_NAME = "credentials.json"
EMAIL = "local-cloud@{project}.iam.gserviceaccount.com"


def write_credentials(data_dir: Path, *, project: str, url: str) -> Path:
    """Write the service-account file, readable by its owner alone, and return its path.

    The key is made once per data directory and never leaves it; ``token_uri`` follows the URL.
    """
    path = data_dir / FILE_NAME
    key = _known_key(path) or _new_key()
    account = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "local",
        "private_key": key,
        "client_email": EMAIL.format(project=project),
        "client_id": "100000000000000000000",
        "auth_uri": f"{url}/auth",
        "token_uri": f"{url}/token",
        "universe_domain": "googleapis.com",
    }
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(account, file, indent=2)
    draft.replace(path)
    return path


def _known_key(path: Path) -> str | None:
    try:
        key = json.loads(path.read_text())["private_key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, str) else None


def _new_key() -> str:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    # Every client takes the key apart when it is made, in a sixth of the time that 2,048 bits need; nobody checks what
    # is signed with it.
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # it opens nothing
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def environment(*, url: str, project: str, credentials: Path) -> dict[str, str]:
    """Return the variables that point Google's clients and Airflow at the local cloud."""
    connection: dict[str, Any] = {
        "conn_type": "google_cloud_platform",
        "extra": {"project": project, "key_path": str(credentials)},
    }
    return {
        "STORAGE_EMULATOR_HOST": url,
        "BIGQUERY_EMULATOR_HOST": url,
        "VERTEX_AI_EMULATOR_HOST": url,
        # Otherwise gcsfs asks the real service for a minute before its first call.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
        "GOOGLE_CLOUD_PROJECT": project,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection).replace("'", "\\u0027"),
    }


def env_file(variables: dict[str, str]) -> str:
    """Return the variables as lines that a shell (``set -a; . FILE``) and docker compose read alike.

    :raises ValueError: a value that no quoting carries through both.
    """
    return "".join(f"{name}={_quoted(name, value)}\n" for name, value in variables.items())


def _quoted(name: str, value: str) -> str:
    if value and all(letter.isalnum() or letter in "_-./:@%+," for letter in value):
        return value
    if "'" in value or "\n" in value:
        raise ValueError(
            f"{name}: {value!r} cannot be written so that a shell and docker compose both read it"
        )
    return f"'{value}'"


def routes(current_token: Callable[[], str]) -> list[Route]:
    """Return the token endpoint: everybody gets the current token, and nobody is asked for it."""

    async def token(_request: Request) -> JSONResponse:
        return JSONResponse({"access_token": current_token(), "expires_in": 3600, "token_type": "Bearer"})

    return [Route("/token", token, methods=["POST"])]
