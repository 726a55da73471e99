"""The app shell of the local cloud: its process, its troubles, its counts."""

import http.server
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cloud_side import as_new

from airflow_batch_gemini.local.__main__ import banner, main
from airflow_batch_gemini.local.claims import DataDirInUseError
from airflow_batch_gemini.local.credentials import env_file
from airflow_batch_gemini.local.server import LocalCloud
from airflow_batch_gemini.local.settings import Settings
from airflow_batch_gemini.local.vertex.pace import Pace

JOBS = "/v1/projects/demo/locations/us-central1/batchPredictionJobs"
MODEL = "publishers/google/models/gemini-2.5-flash"
BODY = {
    "displayName": "job",
    "model": MODEL,
    "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://bucket-1/in.jsonl"]}},
    "outputConfig": {
        "predictionsFormat": "jsonl",
        "gcsDestination": {"outputUriPrefix": "gs://bucket-1/out"},
    },
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(
        Settings(data_dir=tmp_path_factory.mktemp("cloud"), bucket="bucket-1", answers="echo")
    ) as cloud:
        yield cloud


@pytest.fixture
def cloud(running: LocalCloud) -> Iterator[LocalCloud]:
    yield running
    as_new(running)


def call(url: str, method: str = "GET", body: Any = None) -> tuple[int, Any, dict[str, str]]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=30) as answer:
            return answer.status, json.loads(answer.read()), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), dict(error.headers)


def line(key: str, text: str = "hello") -> str:
    return (
        json.dumps({"key": key, "request": {"contents": [{"role": "user", "parts": [{"text": text}]}]}})
        + "\n"
    )


def put(cloud: LocalCloud, count: int) -> None:
    with cloud.parts.storage.writer("bucket-1", "in.jsonl") as file:
        file.write("".join(line(f"k{number}", f"text {number}") for number in range(count)).encode())


def run(cloud: LocalCloud) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    job = call(cloud.url + JOBS, "POST", BODY)[1]
    cloud.settle(30)
    job = call(f"{cloud.url}/v1/{job['name']}")[1]
    name = job["outputInfo"]["gcsOutputDirectory"].removeprefix("gs://bucket-1/") + "/predictions.jsonl"
    with cloud.parts.storage.open("bucket-1", name) as file:
        return job, [json.loads(text) for text in file]


# Troubles of rows


def test_troubles_of_rows_come_at_about_their_rates_and_repeat(cloud: LocalCloud) -> None:
    """Each trouble shows in the output; the bill counts what was answered, once."""
    rates = {
        "row_error_rate": 0.05,
        "truncate_rate": 0.05,
        "blocked_rate": 0.05,
        "missing_rate": 0.05,
        "duplicate_rate": 0.05,
        "swap_echo_rate": 0.05,
        "thought_rate": 0.05,
        "cached_rate": 0.05,
    }
    put(cloud, 1000)
    cloud.knobs(**rates)
    job, lines = run(cloud)
    keys = [item["key"] for item in lines]
    failed = [item for item in lines if item["status"].startswith("Too Many Requests: ")]
    answered = [item for item in lines if item["status"] == ""]
    blocked = [item for item in answered if "promptFeedback" in item["response"]]
    finishes = [c["finishReason"] for item in answered for c in item["response"].get("candidates", [])]
    usages = [item["response"]["usageMetadata"] for item in answered]
    swapped = [
        i for i in answered if i["request"]["contents"][0]["parts"][0]["text"] != f"text {i['key'][1:]}"
    ]
    counts = {
        "failed": len(failed),
        "missing": 1000 - len(set(keys)),
        "duplicated": len(keys) - len(set(keys)),
        "blocked": len({item["key"] for item in blocked}),
        "truncated": finishes.count("MAX_TOKENS"),
        "swapped": len({item["key"] for item in swapped}),
        "thoughts": sum("thoughtsTokenCount" in usage for usage in usages),
        "cached": sum("cachedContentTokenCount" in usage for usage in usages),
    }
    assert all(20 <= count <= 90 for count in counts.values()), counts
    stats = job["completionStats"]
    assert int(stats["failedCount"]) == counts["failed"]
    assert int(stats["incompleteCount"]) == counts["missing"]
    bill = cloud.stats()["jobs"][job["name"]]
    once = {item["key"]: item["response"]["usageMetadata"] for item in answered}
    assert bill["billed_rows"] == len(once) == int(stats["successfulCount"])
    assert bill["prompt_tokens"] == sum(usage["promptTokenCount"] for usage in once.values())
    assert bill["output_tokens"] == sum(usage.get("candidatesTokenCount", 0) for usage in once.values())
    assert bill["thoughts_tokens"] == sum(usage.get("thoughtsTokenCount", 0) for usage in once.values())


def test_retryable_row_errors_pass_in_another_job_and_blocked_rows_do_not(cloud: LocalCloud) -> None:
    """What makes repair rounds worth their money."""
    put(cloud, 200)
    cloud.knobs(row_error_rate=0.2, row_error_code=503, blocked_rate=0.1)
    found = []
    for _ in range(2):
        _, lines = run(cloud)
        failed = {item["key"] for item in lines if item["status"].startswith("Service Unavailable: ")}
        found.append((failed, {i["key"] for i in lines if "promptFeedback" in i["response"]} | failed))
    (failed_1, hurt_1), (failed_2, hurt_2) = found
    assert failed_1
    assert failed_1 != failed_2
    blocked_1, blocked_2 = hurt_1 - failed_1 - failed_2, hurt_2 - failed_1 - failed_2
    assert blocked_1
    assert blocked_1 == blocked_2


def test_spoiled_json_does_not_parse(cloud: LocalCloud) -> None:
    """invalid_json_rate = 1 spoils every answer."""
    put(cloud, 3)
    cloud.knobs(invalid_json_rate=1)
    _, lines = run(cloud)
    for item in lines:
        with pytest.raises(ValueError, match=r"."):
            json.loads(item["response"]["candidates"][0]["content"]["parts"][0]["text"])


# Troubles of calls


@pytest.mark.parametrize(
    ("knob", "code", "status"),
    [("http_429_rate", 429, "RESOURCE_EXHAUSTED"), ("http_503_rate", 503, "UNAVAILABLE")],
)
def test_refused_calls_do_nothing_and_say_when_to_come_back(
    cloud: LocalCloud, knob: str, code: int, status: str
) -> None:
    """Retry-After, Google's error shape, no job, and the call is counted under its route."""
    cloud.knobs(**{knob: 1.0, "retry_after_seconds": 7})
    found, body, headers = call(cloud.url + JOBS, "POST", BODY)
    assert (found, body["error"]["status"], headers["retry-after"]) == (code, status, "7")
    assert cloud.stats()["jobs"] == {}
    assert cloud.stats()["calls"]["POST /v1/projects/{project}/locations/{location}/batchPredictionJobs"] == 1
    assert call(cloud.url + "/admin/stats")[0] == 200


def test_an_answer_can_be_lost_after_its_job_exists(cloud: LocalCloud) -> None:
    """The connection is reset; the next creation is answered again; both jobs are there."""
    put(cloud, 1)
    cloud.knobs(answer_lost_after_commit=1)
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        call(cloud.url + JOBS, "POST", BODY)
    assert call(cloud.url + JOBS, "POST", BODY)[0] == 200
    assert len(call(cloud.url + JOBS)[1]["batchPredictionJobs"]) == 2
    assert cloud.parts.admin.board.now.answer_lost_after_commit == 0


def test_a_job_deleted_at_the_moment_it_ends_leaves_the_others_alone(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees a job ended may delete it before the thread that ended it has put it down."""
    put(cloud, 1)
    engine = cloud.parts.vertex.engine
    end = engine._end

    def end_and_delete(job: Any, state: str, **changes: Any) -> None:
        end(job, state, **changes)
        engine.forget(job.id)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_end", end_and_delete)
        name = call(cloud.url + JOBS, "POST", BODY)[1]["name"]
        cloud.settle(10)
    assert call(f"{cloud.url}/v1/{name}")[0] == 404
    for _ in range(3):
        assert run(cloud)[0]["state"] == "JOB_STATE_SUCCEEDED"


def test_a_reset_call_does_nothing(cloud: LocalCloud) -> None:
    """The connection is cut before the call takes effect."""
    cloud.knobs(reset_rate=1, fault_routes="POST .*batchPredictionJobs$")
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        call(cloud.url + JOBS, "POST", BODY)
    assert call(cloud.url + JOBS)[1] == {"batchPredictionJobs": []}


def test_a_slow_answer_comes_after_the_call_took_effect(cloud: LocalCloud) -> None:
    """A client that gives up meanwhile has made a job."""
    put(cloud, 1)
    cloud.knobs(slow_answer_seconds=2)
    request = urllib.request.Request(cloud.url + JOBS, json.dumps(BODY).encode(), method="POST")
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(request, timeout=0.5)
    cloud.knobs(slow_answer_seconds=0)
    assert len(call(cloud.url + JOBS)[1]["batchPredictionJobs"]) == 1


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"nope": 1}, "no knob named nope"),
        ({"row_error_rate": 1.5}, "not between"),
        ({"row_error_rate": "x"}, "not a float"),
        ({"row_error_rate": True}, "not a float"),
        ({"row_error_code": 418}, "not one of"),
        ({"output_shards": 1.5}, "whole number"),
        ({"expire": "maybe"}, "neither true nor false"),
        ({"pace": "fast"}, "pace is"),
        ({"pace": "looks:x"}, "pace is"),
        ({"answers": "magic"}, "not one of"),
        ({"fault_routes": "("}, "regular expression"),
        ([], "JSON object"),
    ],
)
def test_a_knob_that_cannot_be_turned_so_changes_nothing(
    cloud: LocalCloud, changes: Any, fragment: str
) -> None:
    """400 naming the knob; knobs given beside it stay as they were."""
    both = {"stuck_pending": True, **changes} if isinstance(changes, dict) else changes
    status, body, _ = call(cloud.url + "/admin/knobs", "PUT", both)
    assert status == 400
    assert fragment in body["error"]["message"]
    assert call(cloud.url + "/admin/knobs")[1]["stuck_pending"] is False


def test_a_reset_of_the_counts_keeps_jobs_and_knobs(cloud: LocalCloud) -> None:
    """Bills and calls begin anew."""
    put(cloud, 3)
    job, _ = run(cloud)
    assert call(cloud.url + "/admin/stats")[1]["billed_rows"] == 3
    assert call(cloud.url + "/admin/reset", "POST")[0] == 200
    stats = call(cloud.url + "/admin/stats")[1]
    assert stats["billed_rows"] == 0
    assert stats["jobs"][job["name"]]["state"] == "JOB_STATE_SUCCEEDED"


def test_an_unknown_route_is_refused_by_name(cloud: LocalCloud) -> None:
    """In Google's shape, naming method and path."""
    status, body, _ = call(cloud.url + "/v1/nowhere", "DELETE")
    assert (status, body["error"]["status"]) == (404, "NOT_FOUND")
    assert "DELETE /v1/nowhere" in body["error"]["message"]


def test_the_page_shows_jobs_with_their_bill_and_says_where_answers_come_from(cloud: LocalCloud) -> None:
    """Plain HTML; what users named is escaped."""
    put(cloud, 1)
    call(cloud.url + JOBS, "POST", BODY | {"displayName": "<b>hostile</b>"})
    cloud.settle()
    with urllib.request.urlopen(cloud.url + "/") as answer:
        page = answer.read().decode()
    assert "not from Gemini" in page
    assert "&lt;b&gt;hostile" in page
    assert "bucket-1" in page
    with urllib.request.urlopen(cloud.url + "/healthz") as answer:
        assert answer.status == 200


# Real answers


class Completions(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = asked["messages"][-1]["content"]
        code = 429 if text == "text 3" else 200
        answer = {
            "model": asked["model"],
            "choices": [{"message": {"content": text.upper()}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2},
        }
        data = json.dumps(answer if code == 200 else {"error": "slow down"}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def completion_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Completions) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


def test_answers_come_from_an_openai_compatible_server(tmp_path: Path) -> None:
    """Its answers, counts and model name are passed on; its refusal becomes a row error."""
    with completion_server() as url:
        settings = Settings(
            data_dir=tmp_path, bucket="bucket-1", answers="openai", openai_base_url=url, openai_model="llama"
        )
        with LocalCloud(settings) as cloud:
            put(cloud, 6)
            job, lines = run(cloud)
            bill = cloud.stats()["jobs"][job["name"]]
    by_key = {item["key"]: item for item in lines}
    assert by_key["k1"]["response"]["candidates"][0]["content"]["parts"] == [{"text": "TEXT 1"}]
    assert by_key["k1"]["response"]["modelVersion"] == "llama"
    assert by_key["k3"]["status"].startswith('Too Many Requests: {"error": {"code": 429')
    assert (bill["billed_rows"], bill["prompt_tokens"], bill["output_tokens"]) == (5, 25, 10)


def test_an_answering_server_that_is_down_is_a_row_error(tmp_path: Path) -> None:
    """Errors of the answering server never end a job."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        settings = Settings(
            data_dir=tmp_path, bucket="bucket-1", answers="openai", openai_base_url=url, openai_model="llama"
        )
        with LocalCloud(settings) as cloud:
            put(cloud, 2)
            job, lines = run(cloud)
    assert job["completionStats"] == {"failedCount": "2"}
    assert all(item["status"].startswith("Service Unavailable: ") for item in lines)


# The process


class Process:
    """A local cloud in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.env_file = folder.parent / "local.env"
        self.env_file.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "airflow_batch_gemini.local",
            "--port",
            "0",
            "--data-dir",
            str(folder),
        ]
        self.popen = subprocess.Popen(
            [*command, "--bucket", "bucket-1", "--env", str(self.env_file), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.popen.stdout is not None
        self.said = ""
        while "GOOGLE_CLOUD_DEFAULT" not in self.said:
            read = self.popen.stdout.readline()
            self.said += read
            if not read:
                pytest.fail(f"it ended with {self.end(signal.SIGTERM)}: {self.said}")
        pairs = (text.partition("=") for text in self.env_file.read_text().splitlines())
        self.environment = {name: value.strip("'") for name, _, value in pairs}
        self.url = self.environment["VERTEX_AI_EMULATOR_HOST"]

    def end(self, number: signal.Signals) -> int:
        self.popen.send_signal(number)
        code = self.popen.wait(20)
        assert self.popen.stdout is not None
        self.said += self.popen.stdout.read()
        self.popen.stdout.close()
        return code


def put_folder(folder: Path, count: int) -> None:
    (folder / "storage" / "bucket-1").mkdir(parents=True, exist_ok=True)
    text = "".join(line(f"k{number}", f"text {number}") for number in range(count))
    (folder / "storage" / "bucket-1" / "in.jsonl").write_text(text)


@pytest.mark.parametrize(("env", "found"), [("local.env", "./local.env"), ("/a/local.env", "/a/local.env")])
def test_the_line_for_a_shell_finds_the_file(tmp_path: Path, env: str, found: str) -> None:
    """``.`` looks for a bare name in the PATH, and not here."""
    said = banner(Settings(data_dir=tmp_path), url="http://127.0.0.1:9", lines="", env=Path(env))
    assert f"set -a; . {found}; set +a" in said


def test_a_process_says_what_it_is_and_stops_cleanly(tmp_path: Path) -> None:
    """Its environment file can be read by a shell; a second process on its data is refused; SIGTERM ends it with 0."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = Process(tmp_path / "data")
    try:
        assert "not from Gemini" in process.said
        shell = subprocess.run(
            ["sh", "-c", f"set -a; . {process.env_file}; env"], capture_output=True, text=True, check=True
        )
        seen = dict(text.split("=", 1) for text in shell.stdout.splitlines() if "=" in text)
        connection = json.loads(seen["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
        assert seen["STORAGE_EMULATOR_HOST"] == seen["BIGQUERY_EMULATOR_HOST"] == process.url
        key_path = Path(connection["extra"]["key_path"])
        assert str(key_path) == seen["GOOGLE_APPLICATION_CREDENTIALS"]
        assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
        assert json.loads(key_path.read_text())["token_uri"] == f"{process.url}/token"
        second = subprocess.run(
            [
                sys.executable,
                "-m",
                "airflow_batch_gemini.local",
                "--port",
                "0",
                "--data-dir",
                tmp_path / "data",
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 2
        assert f"process {process.popen.pid}" in second.stderr
    finally:
        code = process.end(signal.SIGTERM)
    assert code == 0
    assert "stopped" in process.said
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Two starts of the process, by the processor's clock: a busy machine makes neither fail.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 8


def test_a_job_killed_in_the_middle_goes_on_and_bills_each_row_once(tmp_path: Path) -> None:
    """kill -9 while rows are being answered; the next process ends the job with every row once."""
    folder = tmp_path / "data"
    put_folder(folder, 4000)
    process = Process(folder, "--pace", "seconds:0.8", "--answers", "echo")
    try:
        job = call(process.url + JOBS, "POST", BODY)[1]
        deadline = time.monotonic() + 20
        seen = 0
        while seen == 0 and time.monotonic() < deadline:
            looked = call(f"{process.url}/v1/{job['name']}")[1]
            seen = int(looked.get("completionStats", {}).get("successfulCount", 0))
        assert 0 < seen < 4000
    finally:
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    settings = Settings(data_dir=folder, answers="echo", pace="immediate")
    with LocalCloud(settings) as cloud:
        before = cloud.stats()["jobs"][job["name"]]["billed_rows"]
        cloud.settle(30)
        ended = call(f"{cloud.url}/v1/{job['name']}")[1]
        name = ended["outputInfo"]["gcsOutputDirectory"].removeprefix("gs://bucket-1/") + "/predictions.jsonl"
        with cloud.parts.storage.open("bucket-1", name) as file:
            keys = [json.loads(text)["key"] for text in file]
        assert before >= seen
        assert ended["state"] == "JOB_STATE_SUCCEEDED"
        assert sorted(keys) == sorted(f"k{number}" for number in range(4000))
        assert cloud.stats()["jobs"][job["name"]]["billed_rows"] == 4000
        assert ended["completionStats"] == {"successfulCount": "4000"}


def test_a_job_goes_on_after_a_stop_in_the_middle_of_its_import(tmp_path: Path) -> None:
    """A stop does not wait for a long import, and loses nothing."""
    put_folder(tmp_path, 30_000)
    with LocalCloud(Settings(data_dir=tmp_path, bucket="bucket-1", answers="echo")) as cloud:
        job = call(cloud.url + JOBS, "POST", BODY)[1]
    with LocalCloud(Settings(data_dir=tmp_path, answers="echo")) as cloud:
        assert call(f"{cloud.url}/v1/{job['name']}")[1]["state"] != "JOB_STATE_FAILED"
        cloud.settle(60)
        ended = call(f"{cloud.url}/v1/{job['name']}")[1]
        assert ended["completionStats"] == {"successfulCount": "30000"}
        assert cloud.stats()["billed_rows"] == 30_000


def test_a_local_cloud_that_is_stopped_at_once_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither its lock nor its threads, whether or not it had come to serve."""
    before = threading.active_count()
    for _ in range(3):
        with LocalCloud(Settings(data_dir=tmp_path, bucket="bucket-1")):
            pass
    assert threading.active_count() == before


def test_two_local_clouds_cannot_share_a_data_directory(tmp_path: Path) -> None:
    """The second says who has it; afterwards it is free again."""
    with LocalCloud(Settings(data_dir=tmp_path)), pytest.raises(DataDirInUseError, match=str(os.getpid())):
        LocalCloud(Settings(data_dir=tmp_path))
    with LocalCloud(Settings(data_dir=tmp_path)) as cloud:
        assert cloud.stats()["jobs"] == {}


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"host": "example.com"}, "--allow-network"),
        ({"port": 70_000}, "between 0 and 65535"),
        ({"advertise": "local-cloud:9090"}, "base URL"),
        ({"answers": "openai"}, "OpenAI-compatible"),
        ({"pace": "slow"}, "pace is"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, changes: dict[str, Any], fragment: str
) -> None:
    """Before anything is opened."""
    with pytest.raises(ValueError, match=fragment):
        Settings(data_dir=tmp_path, **changes)


@pytest.mark.parametrize(
    ("pace", "looks", "elapsed", "share", "next_step"),
    [
        ("immediate", 0, 0.0, 1.0, 0.0),
        ("looks:2", 1, 9.0, 1 / 3, None),
        ("looks:0", 1, 0.0, 1.0, None),
        ("seconds:10", 9, 2.5, 0.25, 1.0),
        ("seconds:10", 0, 9.5, 0.95, 0.5),
        ("seconds:10", 0, 11.0, 1.0, 0.0),
        ("seconds:0", 0, 0.0, 1.0, 0.0),
    ],
)
def test_a_pace_says_how_far_a_stage_is(
    pace: str, looks: int, elapsed: float, share: float, next_step: float | None
) -> None:
    """By looks or by time; and when it is worth going on."""
    parsed = Pace.parse(pace)
    assert parsed.share(looks=looks, elapsed=elapsed) == pytest.approx(share)
    assert parsed.next_step(elapsed=elapsed) == next_step


def test_the_command_line_lists_its_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its default and what it does."""
    with pytest.raises(SystemExit):
        main(["--knobs"])
    said = capsys.readouterr().out
    assert "row_error_rate=0.0" in said
    assert "answer_lost_after_commit=0" in said


def test_a_taken_port_and_a_host_for_everybody_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both with one line, and without leaving the data directory locked."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["--port", port, "--data-dir", str(tmp_path)]) == 2
    assert "in use" in capsys.readouterr().err
    everybody = ".".join("0000")
    assert main(["--port", "0", "--data-dir", str(tmp_path), "--host", everybody]) == 2
    assert "--allow-network" in capsys.readouterr().err
    assert main(["--port", "0", "--data-dir", str(tmp_path), "--knob", "nope=1"]) == 2
    assert "no knob named nope" in capsys.readouterr().err
    with LocalCloud(Settings(data_dir=tmp_path)) as cloud:
        assert cloud.url.startswith("http://127.0.0.1:")


def test_the_key_stays_and_the_advertised_url_is_written_everywhere(tmp_path: Path) -> None:
    """A container is reached by its service's name."""
    with LocalCloud(Settings(data_dir=tmp_path)) as cloud:
        first = json.loads(cloud.credentials_path.read_text())
    advertised = "http://local-cloud:9090"
    with LocalCloud(Settings(data_dir=tmp_path, advertise=advertised)) as cloud:
        second = json.loads(cloud.credentials_path.read_text())
        assert cloud.environment()["STORAGE_EMULATOR_HOST"] == advertised
    assert first["private_key"] == second["private_key"]
    assert second["token_uri"] == f"{advertised}/token"


def test_values_no_quoting_can_carry_are_refused() -> None:
    """A shell and docker compose must read the same."""
    assert env_file({"A": "x y", "B": "plain"}) == "A='x y'\nB=plain\n"
    with pytest.raises(ValueError, match="A"):
        env_file({"A": "it's"})
    assert os.sep in env_file({"P": os.sep})
