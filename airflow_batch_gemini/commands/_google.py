"""How the commands reach Google: by an Airflow connection, or with a word on what to do where there is none."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.exceptions import ConfigurationError, GeminiBatchError, ServiceError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook


_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True, kw_only=True)
class Google:
    """The services that a command asks."""

    gcp_conn_id: str
    vertex: GeminiBatchHook
    workspace: WorkspaceHook

    def project(self, given: str | None) -> str:
        """Return the project that is meant: *given*, else the connection's."""
        return names.project_id(given or self.workspace.project_id)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the connection."""
    parser.add_argument(
        "--gcp-conn-id",
        default="google_cloud_default",
        help="the Airflow connection (default: %(default)s)",
    )


@contextmanager
def google(gcp_conn_id: str, *, fate: str) -> Iterator[Google]:
    """Lend the services. What Airflow logs meanwhile goes to standard error: standard output is the command's.

    :param fate: what an error says of the work, like ``"Nothing was cancelled"``.
    """
    with _logs_beside(), redirect_stdout(sys.stderr):
        vertex, workspace = _hooks(gcp_conn_id, fate)
        with closing(vertex), closing(workspace):
            yield Google(gcp_conn_id=gcp_conn_id, vertex=vertex, workspace=workspace)


@contextmanager
def _logs_beside() -> Iterator[None]:
    """Let what is written to standard output go to standard error: Airflow's loggers hold on to the one they knew."""
    sys.stdout.flush()
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _hooks(gcp_conn_id: str, fate: str) -> tuple[GeminiBatchHook, WorkspaceHook]:
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

    with connection_known(gcp_conn_id, fate=fate):
        return GeminiBatchHook(gcp_conn_id=gcp_conn_id), cloud_storage(gcp_conn_id, fate=fate)


def cloud_storage(gcp_conn_id: str, *, fate: str) -> WorkspaceHook:
    """Return the hook for ``gs://``, whose connection has credentials."""
    from airflow_batch_gemini.hooks._vertex import translated
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

    with connection_known(gcp_conn_id, fate=fate), translated("Reading the connection's credentials"):
        hook = WorkspaceHook(gcp_conn_id=gcp_conn_id)
        hook.get_credentials_and_project_id()  # it keeps them
    return hook


@contextmanager
def connection_known(gcp_conn_id: str, *, fate: str) -> Iterator[None]:
    """Say what to do where Airflow does not know the connection, or cannot make anything of it."""
    from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

    try:
        yield
    except GeminiBatchError:
        raise
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"Airflow knows no connection {gcp_conn_id}. {fate.rstrip('.')}; to use your own credentials set "
            f"AIRFLOW_CONN_{gcp_conn_id.upper()}=google-cloud-platform://"
        ) from error
    except AirflowException as error:
        raise ServiceError(
            f"The credentials of connection {gcp_conn_id} cannot be read ({str(error)[:300].rstrip('.')}). "
            f"{fate.rstrip('.')}; correct the connection."
        ) from error
