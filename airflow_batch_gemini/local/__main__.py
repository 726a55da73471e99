"""``python -m airflow_batch_gemini.local``: start a local cloud in the foreground."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from airflow_batch_gemini.local.knobs import ANSWERS, Knobs
from airflow_batch_gemini.local.page import NOTICE
from airflow_batch_gemini.local.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a local cloud to a parser."""
    add = parser.add_argument
    add("--port", type=int, default=9090, help="port to listen on; 0 takes a free one (default: %(default)s)")
    add("--data-dir", type=Path, required=True, help="folder that keeps everything; made when missing")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--project", default="demo", help="project id (default: %(default)s)")
    add("--location", default="us-central1", help="region of bucket and dataset (default: %(default)s)")
    add("--bucket", help="bucket to create at start")
    add("--dataset", help="dataset to create at start")
    add("--answers", choices=ANSWERS, default="schema", help="where answers come from (default: %(default)s)")
    add("--seed", type=int, default=7, help="same seed, same answers and troubles (default: %(default)s)")
    add(
        "--pace", default="seconds:5", help="immediate, looks:N or seconds:N per state (default: %(default)s)"
    )
    add(
        "--knob",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="turn a knob; repeatable, see --knobs",
    )
    add("--knobs", action=_ListKnobs, nargs=0, help="list the knobs and exit")
    add(
        "--openai-base-url",
        help="OpenAI-compatible server for --answers openai, such as http://127.0.0.1:11434/v1",
    )
    add("--openai-model", help="model to ask there")
    add("--openai-api-key", help="its key, when it wants one")
    add("--openai-concurrency", type=int, default=4, help="requests in flight at once (default: %(default)s)")
    add("--env", type=Path, metavar="FILE", help="write the environment variables to this file")
    add("--allow-network", action="store_true", help="allow a --host that other machines can reach")
    add("--advertise", metavar="URL", help="base URL under which others reach this local cloud")


class _ListKnobs(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        for item in fields(Knobs):
            print(f"{item.name}={item.default}\n    {item.metadata['says']}")
        parser.exit()


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings that parsed options stand for.

    :raises ValueError: they contradict each other, or a knob does not exist.
    """
    knobs: dict[str, object] = {}
    for pair in options.knob:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--knob takes KEY=VALUE, not {pair!r}")
        knobs[name] = value
    names = {item.name for item in fields(Settings)} - {"knobs"}
    return Settings(knobs=knobs, **{name: getattr(options, name) for name in names})


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    from airflow_batch_gemini.local.claims import DataDirInUseError
    from airflow_batch_gemini.local.credentials import env_file
    from airflow_batch_gemini.local.server import LocalCloud
    from airflow_batch_gemini.local.storage.errors import StorageError

    try:
        settings = settings_of(options)
        cloud = LocalCloud(settings, mortal=True)
        lines = env_file(cloud.environment())
        if options.env is not None:
            options.env.parent.mkdir(parents=True, exist_ok=True)
            options.env.write_text(lines)
    except (ValueError, OSError, DataDirInUseError, StorageError) as error:
        print(f"gemini-batch local: {error}", file=sys.stderr)
        return 2
    # Also while it starts: the server listens to signals of its own accord only once it runs.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: cloud.stop())
    print(banner(settings, url=cloud.url, lines=lines, env=options.env), flush=True)
    _collect_garbage_seldom()
    cloud.serve()
    print("gemini-batch local: stopped; the data stays where it is.", flush=True)
    return 0


def _collect_garbage_seldom() -> None:
    """Parsing a statement makes thousands of objects; going through all others for each took an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def banner(settings: Settings, *, url: str, lines: str, env: Path | None) -> str:
    """Return what a person should know about a local cloud that has just started."""
    answers = settings.first_knobs().answers
    if answers == "openai":
        source = f"Answers come from {settings.openai_model} at {settings.openai_base_url}, not from Gemini."
    else:
        source = f"{NOTICE[:-1]} (--answers {answers})."
    # A shell looks for a bare name in its PATH.
    found = f"./{env}" if env and env.name == str(env) else env
    where = (
        f"They are in {env}: set -a; . {found}; set +a" if env else "Give --env FILE to have them in a file."
    )
    return (
        f"Local cloud: Vertex AI, Cloud Storage and BigQuery at {url}\n"
        f"{source}\n"
        f"Data: {settings.data_dir.resolve()} · project {settings.project} · {settings.location} · Ctrl-C stops it\n"
        f"Environment of clients and Airflow (the connection is google_cloud_default). {where}\n\n{lines}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="gemini-batch local",
        description=f"Vertex AI, Cloud Storage and BigQuery on one port, for demo and tests. {NOTICE}",
    )
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
