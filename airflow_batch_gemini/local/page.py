"""One plain page for people: what lies in this local cloud and what its jobs were billed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

NOTICE = "Answers come from this local stand-in, not from Gemini."
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 0 0 2rem; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd }
td.n { text-align: right } .notice { color: #8a4b00 }
"""


def render_page(
    *, url: str, data_dir: str, buckets: Iterable[str], datasets: Iterable[str], stats: dict[str, Any]
) -> str:
    """Return the page as HTML."""
    jobs = [
        (
            job.get("display_name", name),
            name.rpartition("/")[2],
            job["state"].removeprefix("JOB_STATE_"),
            job["model"],
            job.get("rows") if job.get("rows") is not None else "",
            job["billed_rows"],
            job["prompt_tokens"],
            job["output_tokens"] + job["thoughts_tokens"],
        )
        for name, job in stats["jobs"].items()
    ]
    columns = ("name", "job", "state", "model", "rows", "billed rows", "prompt tokens", "output tokens")
    calls = sorted(stats["calls"].items(), key=lambda item: -item[1])
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8><title>Local cloud</title>",
            f"<style>{_STYLE}</style><h1>Local cloud</h1><p class=notice>{NOTICE}</p>",
            f"<p>{escape(url)} · data in <code>{escape(data_dir)}</code></p>",
            "<p><a href=/admin/stats>stats</a> · <a href=/admin/knobs>knobs</a></p>",
            "<h2>Batch prediction jobs</h2>",
            _table(columns, jobs),
            "<h2>Buckets</h2>",
            _table(("bucket",), [(name,) for name in buckets]),
            "<h2>Datasets</h2>",
            _table(("dataset",), [(name,) for name in datasets]),
            "<h2>Calls</h2>",
            _table(("route", "calls"), calls),
        ]
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "<p>None yet.</p>"
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    number = " class=n" if isinstance(value, int) else ""
    return f"<td{number}>{escape(str(value))}</td>"
