"""What the linter says of files before the importer that decides: both through jobs of the real client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from request_corpus import Request, importer_traps, requests

from airflow_batch_gemini.batch.lint import RULES
from airflow_batch_gemini.batch.lint_file import FileLinter
from airflow_batch_gemini.batch.lint_lines import LineLinter
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.workspace import GcsUri, WorkspaceHook

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.local.server import LocalCloud

TRAPS = list(importer_traps())
PLAIN = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
BROKEN_LINES = {
    "no JSON": ("GB131", [b'{"key":"a"', b""]),
    "no UTF-8": ("GB131", [b'{"key":"a","request":{"contents":"\xff"}}']),
    "a list": ("GB131", [b"[1]"]),
    "no request": ("GB133", [b'{"key":"a"}']),
    "a request alone": ("GB139", [json.dumps(PLAIN).encode()]),
    "no line": ("GB138", []),
    "a byte order mark": ("GB134", [b"\xef\xbb\xbf" + json.dumps({"request": PLAIN}).encode()]),
    "a bad name beside the request": ("GB101", [json.dumps({"my-tag": 1, "request": PLAIN}).encode()]),
    "an empty object beside the request": ("GB102", [json.dumps({"tag": {}, "request": PLAIN}).encode()]),
    "null in a list beside the request": ("GB104", [json.dumps({"tag": [None], "request": PLAIN}).encode()]),
}


@pytest.fixture
def vertex(cloud: LocalCloud) -> Iterator[GeminiBatchHook]:
    """The client of the local Vertex AI."""
    assert cloud is not None
    hook = GeminiBatchHook()
    yield hook
    hook.close()


def lines_of(given: Sequence[Request]) -> list[bytes]:
    return [json.dumps({"key": f"k_{n}", "request": one}).encode() for n, one in enumerate(given)]


def ended(
    vertex: GeminiBatchHook, cloud: LocalCloud, bucket: str, files: dict[str, list[bytes]]
) -> dict[str, Job]:
    """Run a job over each file, side by side, and return them all at their ends."""
    storage, jobs = WorkspaceHook(), {}
    for number, (name, lines) in enumerate(files.items()):
        uri = GcsUri.parse(f"gs://{bucket}/in-{number}.jsonl")
        storage.write(uri, b"\n".join(lines))
        model = "gemini-embedding-001" if "embedding" in name else "gemini-3.5-flash"
        jobs[name] = vertex.create(
            project_id="demo",
            location="us-central1",
            display_name="lint",
            model=f"publishers/google/models/{model}",
            source_uri=str(uri),
            destination_uri=f"gs://{bucket}/out-{number}",
            labels={},
        )
    storage.close()
    cloud.settle()
    return {name: vertex.get(job.name) for name, job in jobs.items()}


def files_of(corpus: dict[str, Request]) -> dict[str, dict[str, Request]]:
    """Put requests that the linter lets stand in one file together, embeddings apart."""
    linters: list[FileLinter] = []
    files: list[dict[str, Request]] = []
    for name, request in corpus.items():
        data = json.dumps(request).encode()
        for number, (linter, file) in enumerate(zip(linters, files, strict=True)):
            same_kind = ("embedding" in name) == ("embedding" in next(iter(file)))
            # A request that is only tried says nothing about those that stay.
            tried = replace(linter, _spelled=dict(linter._spelled), _shapes=FileLinter()._shapes)
            if same_kind and not tried.findings(data, request):
                linters[number] = tried
                file[name] = request
                break
        else:
            linters.append(FileLinter())
            files.append({name: request})
            assert not linters[-1].findings(data, request)
    return {next(iter(file)): file for file in files}


def broken_rules(lines: Sequence[bytes]) -> set[str]:
    linter = LineLinter()
    return {one.rule.id for one in [*linter.take(lines), *linter.finish()]}


def test_every_importer_rule_breaks_a_job_unbilled_and_is_found_beforehand(
    vertex: GeminiBatchHook, cloud: LocalCloud, bucket: str
) -> None:
    """One file a trap: the job fails at import with Google's message, and the linter names the rule."""
    files = {what: lines_of(given) for _, what, given in TRAPS}
    files |= {what: lines for what, (_, lines) in BROKEN_LINES.items()}
    rules = {what: rule for rule, what, _ in TRAPS} | {what: rule for what, (rule, _) in BROKEN_LINES.items()}
    billed = cloud.stats()["jobs"]
    for what, job in ended(vertex, cloud, bucket, files).items():
        assert (what, job.state) == (what, "JOB_STATE_FAILED")
        assert "Failed to import data" in job.error_message
        assert billed.get(job.name, {"billed_rows": 0})["billed_rows"] == 0
        assert rules[what] in broken_rules(files[what]), what
    importer = {rule.id for rule in RULES.values() if rule.importer and rule.severity == "error"}
    assert importer - {rule for rule, _, _ in TRAPS} == {"GB115"}


def test_a_file_of_every_kind_of_request_is_imported_and_found_good(
    vertex: GeminiBatchHook, cloud: LocalCloud, bucket: str
) -> None:
    """Some three hundred and more, in as few files as the linter says they fit: the importer says the same."""
    files = files_of(requests())
    lines = {name: lines_of(list(file.values())) for name, file in files.items()}
    assert sum(map(len, lines.values())) > 300
    jobs = ended(vertex, cloud, bucket, lines)
    refused = {name: job.error_message for name, job in jobs.items() if job.state != "JOB_STATE_SUCCEEDED"}
    assert refused == {}
    assert {name: rules for name, file in lines.items() if (rules := broken_rules(file))} == {}
