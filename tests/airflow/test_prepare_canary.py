"""A canary within the prepare operator: what it lets through, what it stops, what it tells, what it costs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import canary_deaths
import pytest
from prepare_side import KilledError, Place, Ti
from pydantic import BaseModel

from airflow_batch_gemini import EmbeddingTemplate, GeminiTemplate
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.exceptions import ConfigurationError, EndpointError, GateError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators._files import RequestFiles
from airflow_batch_gemini.operators._manifest import ManifestKeeper

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

MARK = "planted-4711"
ROWS = 40
WAYS = ["worker", "bigquery"]


class Label(BaseModel):
    """An answer."""

    topic: str


TEMPLATE = GeminiTemplate(prompt=f"{MARK}: what is {{text}}?", response_schema=Label)


@dataclass
class Scene:
    """Forty rows, laid down as a file or as a query."""

    place: Place
    cloud: LocalCloud
    way: str

    def execute(self, *, attempt: int = 1, **options: Any) -> list[dict[str, Any]]:
        """Prepare, and return what travels through XCom."""
        source: dict[str, Any] = (
            {"rows": lambda: ({"key": f"k{n}", "text": f"thing {n}"} for n in range(ROWS))}
            if self.way == "worker"
            else {
                "sql": "SELECT CONCAT('k', CAST(n AS STRING)) AS key, CONCAT('thing ', CAST(n AS STRING)) AS text "
                f"FROM UNNEST(GENERATE_ARRAY(0, {ROWS - 1})) AS n",
                "requests_dataset": self.place.dataset,
            }
        )
        options = {"template": TEMPLATE, "canary_rows": 20, **source, **options}
        ti = Ti(id=f"attempt-{attempt}")
        found: list[dict[str, Any]] = self.place.operator(**options).execute({"ti": ti})  # type: ignore[arg-type]
        return found

    def prepare(self, **options: Any) -> Manifest:
        """Prepare, and return what the workspace then holds."""
        self.execute(**options)
        manifest = self.place.manifest()
        assert manifest is not None
        return manifest

    @property
    def billed(self) -> int:
        """Direct calls that the local cloud has billed; it never bills a job here."""
        stats = self.cloud.stats()
        assert stats["billed_rows"] == 0
        return sum(one["billed_rows"] for one in stats["generate_content"].values())

    @property
    def answers(self) -> list[dict[str, Any]]:
        """What the workspace keeps of the canary."""
        stored = [
            self.place.storage.read(GcsUri.parse(info.uri))
            for info in self.place.storage.list(self.place.folder.folder / "canary")
        ]
        return [json.loads(one.data) for one in stored if one is not None]


@pytest.fixture
def place(cloud: LocalCloud, bucket: str, dataset: str) -> Iterator[Place]:
    """A bucket and a dataset of this test's own, nothing billed yet."""
    cloud.settle()
    cloud.parts.admin.reset()
    cloud.knobs(retry_after_seconds=0)
    place = Place(bucket, dataset, WorkspaceHook(), WarehouseHook())
    yield place
    place.storage.close()
    place.warehouse.close()


@pytest.fixture
def scene(place: Place, cloud: LocalCloud) -> Scene:
    """Rows that pass the worker."""
    return Scene(place, cloud, "worker")


@pytest.fixture(params=WAYS)
def both(place: Place, cloud: LocalCloud, request: pytest.FixtureRequest) -> Scene:
    """Both ways to prepare: through the worker, and in BigQuery."""
    return Scene(place, cloud, request.param)


def test_paying_must_be_asked_for(scene: Scene) -> None:
    """Without canary_rows= nothing is asked, and the figures are none."""
    manifest = scene.prepare(canary_rows=0)
    assert (manifest.canary, scene.billed, scene.answers) == (None, 0, [])
    assert (manifest.ref.canary_rows, manifest.ref.canary_failures) == (0, 0)


def test_a_canary_measures_what_the_estimate_then_takes_for_an_answer(both: Scene) -> None:
    """Twenty rows are asked, wherever the requests are made, and their tokens replace the longest answer."""
    blind = both.prepare(canary_rows=0)
    manifest = both.prepare()
    found, estimate = manifest.canary, manifest.estimate
    assert found is not None
    assert estimate is not None
    assert blind.estimate is not None
    assert (found.rows, found.outcomes, both.billed) == (20, {"succeeded": 20}, 20)
    assert found.paid_output_tokens is not None
    assert estimate.output_from == "canary"
    assert estimate.total.output_tokens.expected == round(ROWS * found.paid_output_tokens.expected)
    assert estimate.usd is not None
    assert blind.estimate.usd is not None
    assert estimate.usd.high < blind.estimate.usd.high
    assert len(both.answers) == 20
    assert manifest.fingerprint(0) == blind.fingerprint(0), "informative only"


def test_xcom_has_counts_of_the_canary_and_nothing_else_of_it(scene: Scene) -> None:
    """Every part says the same, and can be read back."""
    scene.cloud.knobs(invalid_json_rate=1.0)
    found = scene.execute(max_rows_per_part=15)
    assert [(one["canary_rows"], one["canary_failures"], one["part"]) for one in found] == [
        (20, 20, 0),
        (20, 20, 1),
        (20, 20, 2),
    ]
    assert MARK not in json.dumps(found)
    assert BatchRef.from_xcom(found).canary_failures == 20


def test_a_batch_of_fewer_rows_is_asked_whole(scene: Scene) -> None:
    """Then nothing is estimated of its failures: the interval is a point."""
    found = scene.prepare(canary_rows=500).canary
    assert found is not None
    assert (found.rows, scene.billed) == (ROWS, ROWS)
    assert found.failure_rate is not None
    assert found.failure_rate.low == found.failure_rate.high == 0


@pytest.mark.parametrize(
    ("knobs", "outcome"),
    [
        ({"invalid_json_rate": 1.0}, "invalid"),
        ({"blocked_rate": 1.0}, "blocked"),
        ({"truncate_rate": 1.0}, "truncated"),
        ({"row_error_rate": 1.0, "row_error_code": 500}, "failed"),
    ],
)
def test_a_batch_that_fails_too_often_is_not_prepared(
    both: Scene, knobs: dict[str, Any], outcome: str
) -> None:
    """No manifest, no request file or table; the answers stay, and the message says counts only."""
    both.cloud.knobs(**knobs)
    with pytest.raises(GateError, match=rf"20 did not succeed \(20 {outcome}\).*No job was sent") as caught:
        both.execute(max_failure_rate=0.1)
    assert both.place.manifest() is None
    assert [name for name in both.place.files() if not name.startswith("canary/")] == []
    assert both.place.tables() == []
    assert len(both.answers) == 20
    assert MARK not in str(caught.value)


def test_answers_that_do_not_fit_the_schema_count_as_they_will_in_the_load(both: Scene) -> None:
    """A required property is missing in each: the load would have no row of them, so the gate lets none through."""
    both.prepare()
    for info in both.place.storage.list(both.place.folder.folder / "canary"):
        uri = GcsUri.parse(info.uri)
        stored = both.place.storage.read(uri)
        assert stored is not None
        kept = json.loads(stored.data)
        kept["response"]["candidates"][0]["content"]["parts"] = [{"text": "{}"}]
        both.place.storage.write(uri, json.dumps(kept).encode(), if_generation=info.generation)
    with pytest.raises(GateError, match=r"20 did not succeed \(20 invalid\)"):
        both.execute(max_failure_rate=0.1)
    assert both.billed == 20


def test_a_batch_that_fails_seldom_enough_passes_the_gate(scene: Scene) -> None:
    """The rate is told with its interval, and the lower bound is what counts."""
    scene.cloud.knobs(truncate_rate=0.5)
    found = scene.prepare(max_failure_rate=0.9).canary
    assert found is not None
    assert 0 < found.failures < 20


def test_one_refused_by_its_canary_passes_once_it_is_mended(scene: Scene) -> None:
    """Another template is another question: it is asked anew; the same one is not."""
    scene.cloud.knobs(blocked_rate=1.0)
    for _ in range(2):
        with pytest.raises(GateError):
            scene.execute(max_failure_rate=0.1)
    assert scene.billed == 20
    scene.cloud.knobs(blocked_rate=0.0)
    with pytest.raises(GateError):
        scene.execute(max_failure_rate=0.1)
    assert (
        scene.prepare(max_failure_rate=0.1, template=GeminiTemplate(prompt="And {text}?")).canary is not None
    )
    assert scene.billed == 40


def test_no_canary_is_paid_for_a_batch_that_costs_too_much_anyway(scene: Scene) -> None:
    """Its input alone is more than it may cost."""
    with pytest.raises(GateError, match=r"costs at least .* the canary was not asked"):
        scene.execute(max_cost_usd=0.000001)
    assert scene.billed == 0


def test_a_budget_that_only_a_canary_shows_to_be_enough(scene: Scene) -> None:
    """The longest answers would cost more than the budget; those that were measured do not."""
    with pytest.raises(GateError, match="Nothing was sent"):
        scene.execute(canary_rows=0, max_cost_usd=0.05)
    assert scene.prepare(max_cost_usd=0.05).rows == ROWS


def test_a_budget_that_the_measured_answers_exceed_stops_the_batch(scene: Scene) -> None:
    """The message says that the canary is paid for."""
    estimate = scene.prepare().estimate
    assert estimate is not None
    assert estimate.usd is not None
    budget = float(estimate.usd.high) * 0.99
    with pytest.raises(GateError, match=r"No job was sent, and the canary's few answers are paid for"):
        scene.execute(max_cost_usd=budget)
    assert scene.billed == 20


def test_ready_made_requests_are_asked_as_they_are(scene: Scene) -> None:
    """Whether there is a key around them or not."""
    contents = [{"role": "user", "parts": [{"text": "Say it."}]}]
    lines = [
        json.dumps({"key": "a", "request": {"contents": contents}}),
        json.dumps({"contents": contents, "system_instruction": {"parts": [{"text": "Short."}]}}),
        json.dumps({"contents": contents, "generationConfig": {"maxOutputTokens": 5}}),
    ]
    uri = scene.place.put("ready.jsonl", "\n".join(lines).encode())
    found = scene.prepare(template=None, rows=None, source_uri=uri).canary
    assert found is not None
    assert (found.outcomes, scene.billed) == ({"succeeded": 3}, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"template": EmbeddingTemplate(content="{text}"), "model": "gemini-embedding-001"},
        {"canary_rows": 1},
        {"canary_rows": -1},
        {"canary_rows": True},
        {"canary_rows": 1001},
        {"canary_rows": "20"},
        {"max_failure_rate": 1.1},
        {"max_failure_rate": "0.1"},
        {"max_failure_rate": 0.1, "canary_rows": 0},
    ],
)
def test_a_canary_that_cannot_sing_is_refused_when_the_dag_is_parsed(
    scene: Scene, options: dict[str, Any]
) -> None:
    """The message says what to give."""
    with pytest.raises(ConfigurationError, match=r"(canary_rows|max_failure_rate).*Nothing was sent"):
        scene.place.operator(**{"rows": list, "canary_rows": 20, **options})


def test_rows_whose_call_was_refused_on_this_side_are_asked_once_it_is_corrected(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing left this machine, so none of them counts as asked, let alone as paid for."""
    with monkeypatch.context() as patch:
        patch.setenv("VERTEX_AI_EMULATOR_HOST", "http://vertex.example:9")
        with pytest.raises(EndpointError):
            scene.execute(canary_rows=3, count_tokens_rows=0)
    assert (scene.answers, scene.billed) == ([], 0)
    canary = scene.prepare(canary_rows=3).canary
    assert canary is not None
    assert (canary.rows, canary.judged, scene.billed) == (3, 3, 3)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(RequestFiles, "verify"), (ManifestKeeper, "keep"), (GeminiBatchHook, "close")],
)
def test_a_preparation_that_dies_after_its_canary_pays_for_none_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """Two attempts, a kill between: the second one finds every answer, and its figures are the same."""

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KilledError):
            scene.execute(count_tokens_rows=0)
    assert (scene.place.manifest(), scene.billed) == (None, 20)
    found = scene.prepare(attempt=2, count_tokens_rows=0).canary
    assert found is not None
    assert (found.rows, found.lost, scene.billed) == (20, 0, 20)


def test_a_kill_at_any_moment_of_the_canary_pays_no_row_twice(place: Place, cloud: LocalCloud) -> None:
    """SIGKILL with several calls on their way; the next process prepares the batch with what is left to ask."""
    models = [canary_deaths.model(moment) for moment in range(canary_deaths.MOMENTS + 1)]
    cloud.knobs(extra_models=",".join(models))
    done = subprocess.run(
        [sys.executable, canary_deaths.__file__, place.bucket],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    runs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [run["lived"] for run in runs] == [False] * canary_deaths.MOMENTS + [True]
    assert all(run["again"] for run in runs), done.stderr[-3000:]
    bills = cloud.stats()["generate_content"]
    billed = [bills.get(model, {"billed_rows": 0})["billed_rows"] for model in models]
    assert max(billed) == billed[-1] == canary_deaths.ROWS
    assert sum(billed) > len(models) * canary_deaths.ROWS / 2, "most deaths cost no answer"


def test_a_task_that_is_told_to_stop_asks_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow calls on_kill and lets execute go on: no call begins after that."""
    source = {"rows": lambda: ({"key": f"k{n}", "text": f"thing {n}"} for n in range(ROWS))}
    operator = scene.place.operator(template=TEMPLATE, canary_rows=20, count_tokens_rows=0, **source)
    ask, asked = GeminiBatchHook.generate_content, 0

    def once(self: GeminiBatchHook, **more: Any) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        operator.on_kill()
        return ask(self, **more)

    monkeypatch.setattr(GeminiBatchHook, "generate_content", once)
    with pytest.raises(Exception, match="told to stop"):
        operator.execute({"ti": Ti()})  # type: ignore[arg-type]
    assert 1 <= asked <= 4
    assert scene.billed == asked == len(scene.answers)
    assert scene.place.manifest() is None


def test_logs_and_manifest_have_counts_and_nothing_that_was_asked_or_answered(
    scene: Scene, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The prompt is planted, and the answer repeats it; both are in the workspace only."""
    caplog.set_level(logging.DEBUG)
    scene.cloud.knobs(answers="echo", truncate_rate=0.2, row_error_rate=0.2, row_error_code=503)
    scene.execute(count_tokens_rows=0)
    told = capsys.readouterr().out
    assert "20 rows were asked" in told
    assert "at the standard price" in told
    everything = told + "".join(str(vars(record)) for record in caplog.records)
    stored = scene.place.storage.read(scene.place.folder.manifest)
    assert stored is not None
    assert MARK not in everything + stored.data.decode()
    assert MARK in json.dumps(scene.answers)
