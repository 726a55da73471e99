"""What a preparation says a batch will cost, held against what the local cloud then bills for it."""

from __future__ import annotations

import itertools
import json
import random
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from job_side import context
from prepare_side import SQL, TEMPLATE, KilledError, Place, Ti

from airflow_batch_gemini import EmbeddingTemplate, GeminiTemplate, Media
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.pricing import PRICES, cost
from airflow_batch_gemini.exceptions import ConfigurationError, GateError, NothingPaidError
from airflow_batch_gemini.hooks import gemini_batch
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.operators import _estimate
from airflow_batch_gemini.operators._files import RequestFiles
from airflow_batch_gemini.operators._tables import RequestTables
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_batch_gemini.local.server import LocalCloud

PROMPT = GeminiTemplate(prompt="Sum this up: {text}", generation_config={"maxOutputTokens": 50})
LOOK = GeminiTemplate(
    prompt="What is on it? {text}", media=[Media(column="file")], generation_config={"maxOutputTokens": 50}
)
VECTOR = EmbeddingTemplate(content="{text}")
OLD, NEW, EMBEDS = "gemini-2.5-flash", "gemini-3.5-flash", "gemini-embedding-001"
WORDS = ("planted", "lamp", "näher", "огонь", "灯塔", "x" * 40)
WAYS = ("worker", "bigquery")


def texts(count: int, *, words: tuple[str, ...] = WORDS[:2]) -> list[dict[str, Any]]:
    """Rows whose texts differ in length as those of people do: many short ones, a few very long."""
    dice = random.Random(7)
    return [
        {"key": f"row-{i}", "text": " ".join(dice.choices(words, k=int(dice.lognormvariate(3, 1)) + 1))}
        for i in range(count)
    ]


def png(width: int, height: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    )


def pictured(place: Place, count: int) -> list[dict[str, Any]]:
    """Rows of which every third has an image in one of four sizes, and every tenth a PDF instead."""
    sizes = ((100, 100), (960, 540), (1000, 1000), (2000, 700))
    files = [place.put(f"media/{i}.png", png(*size)) for i, size in enumerate(sizes)]
    pdf = place.put("media/a.pdf", b"%PDF /Type /Page /Type /Page /Type /Page")
    rows = texts(count)
    for i, row in enumerate(rows):
        row["file"] = pdf if i % 10 == 0 else files[i // 3 % 4] if i % 3 == 0 else None
    return rows


def source(place: Place, rows: list[dict[str, Any]], way: str) -> dict[str, Any]:
    """The rows as a file, or as the table that BigQuery makes requests of."""
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    uri = place.put("rows.jsonl", data)
    if way == "worker":
        return {"source_uri": uri}
    columns = ", ".join(f"JSON_VALUE(line, '$.{name}') AS {name}" for name in rows[0])
    values = ", ".join(f"JSON '''{json.dumps(row, ensure_ascii=False)}'''" for row in rows)
    place.warehouse.client("demo").query_and_wait(
        f"CREATE OR REPLACE TABLE `{place.dataset}.rows` AS SELECT {columns} FROM UNNEST([{values}]) AS line"
    )
    return {"source_table": f"{place.dataset}.rows", "requests_dataset": place.dataset}


def bought(manifest: Manifest, cloud: LocalCloud) -> dict[str, int]:
    """Send every part through the real operator, and return the tokens that were billed."""
    jobs = []
    for part in manifest.parts:
        submit = GeminiBatchSubmitOperator(
            task_id="submit", batch=manifest.ref.to_dict(), part=part.index, settle_seconds=0
        )
        jobs.append(submit.execute(context()))
    cloud.settle()
    bills = [cloud.stats()["jobs"][job] for job in jobs]
    return {
        name: sum(bill[name] for bill in bills) for name in ("prompt_tokens", "output_tokens", "billed_rows")
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    """A batch to buy."""

    rows: Callable[[Place], list[dict[str, Any]]]
    template: GeminiTemplate | EmbeddingTemplate = PROMPT
    model: str = OLD
    way: str = "worker"
    counted: int = 20


CASES = {
    "3,000 texts": Case(rows=lambda _: texts(3000)),
    "800 texts in BigQuery": Case(rows=lambda _: texts(800), way="bigquery"),
    "texts in many scripts": Case(rows=lambda _: texts(1500, words=WORDS)),
    "PDFs, images with a budget": Case(rows=lambda place: pictured(place, 600), template=LOOK, model=NEW),
    "PDFs, images of 1 to 10 tiles": Case(
        rows=lambda place: pictured(place, 1500), template=LOOK, counted=200
    ),
    "the same in BigQuery": Case(
        rows=lambda place: pictured(place, 600), template=LOOK, counted=200, way="bigquery"
    ),
    "vectors": Case(rows=lambda _: texts(1500), template=VECTOR, model=EMBEDS),
}


@pytest.mark.parametrize("name", CASES)
def test_the_bill_is_what_was_estimated(
    place: Place, cloud: LocalCloud, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Input within a tenth and within its bounds, and so is the whole bill."""
    case = CASES[name]
    made = case.rows(place)
    manifest = place.prepare(
        **source(place, made, case.way),
        template=case.template,
        model=case.model,
        max_rows_per_part=len(made) // 2,
        count_tokens_rows=case.counted,
    )
    estimate = manifest.estimate
    assert estimate is not None
    assert len(estimate.parts) == len(manifest.parts) >= 2
    assert (estimate.counted, estimate.assumed, estimate.total.rows) == (case.counted, (), len(made))
    bill = bought(manifest, cloud)
    assert bill["billed_rows"] == len(made)
    said = estimate.total.input_tokens
    off = said.expected / bill["prompt_tokens"] - 1
    told = (
        f"{name}, {case.counted} counted: input {round(said.expected):,} of {bill['prompt_tokens']:,} billed"
    )
    record_property("table", f"{told}: {off:+.1%}, bounds {round(said.low):,} to {round(said.high):,}")
    assert abs(off) < 0.1
    assert said.low <= bill["prompt_tokens"] <= said.high
    assert estimate.usd is not None
    paid = cost(PRICES[case.model], prompt=bill["prompt_tokens"], output=bill["output_tokens"])
    assert paid is not None
    assert estimate.usd.low <= paid <= estimate.usd.high


def test_images_that_differ_much_have_wide_bounds_when_few_are_counted(
    place: Place, cloud: LocalCloud
) -> None:
    """From one tile to ten: twenty counts do not tell the mean well, and the bounds say so."""
    made = pictured(place, 1500)
    manifest = place.prepare(**source(place, made, "worker"), template=LOOK, model=OLD)
    assert manifest.estimate is not None
    said = manifest.estimate.total.input_tokens
    assert said.low <= bought(manifest, cloud)["prompt_tokens"] <= said.high
    assert said.high > 1.2 * said.low


def test_counting_is_free_and_asked_no_oftener_than_wanted(place: Place, cloud: LocalCloud) -> None:
    """Twenty by default, none for 0, and none of a model that is not published."""
    where = source(place, texts(100), "worker")

    def calls(**arguments: Any) -> int:
        before = sum(n for route, n in cloud.stats()["calls"].items() if "countTokens" in route)
        place.prepare(**where, template=PROMPT, **arguments)
        return sum(n for route, n in cloud.stats()["calls"].items() if "countTokens" in route) - before

    billed = cloud.stats()["jobs"]
    assert [calls(), calls(count_tokens_rows=3), calls(count_tokens_rows=0)] == [20, 3, 0]
    assert calls(model="projects/demo/locations/us-central1/models/123") == 0
    assert cloud.stats()["jobs"] == billed


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_that_may_cost_too_much_is_not_prepared(place: Place, way: str) -> None:
    """Neither at first nor on a retry; with more to spend it is, and it is the same batch."""
    where = {**source(place, texts(60), way), "template": PROMPT, "max_rows_per_part": 25}
    whole = place.prepare(**where)
    assert whole.estimate is not None
    assert whole.estimate.usd is not None
    high = whole.estimate.usd.high
    tables = place.tables()
    for _ in range(2):
        with pytest.raises(GateError, match=r"may cost .* more than max_cost_usd=.*Nothing was sent"):
            place.prepare(**where, max_cost_usd=str(high / 2))
        assert place.manifest() is None
        assert place.files() == []
        assert place.tables() == tables
    again = place.prepare(**where, max_cost_usd=str(high))
    assert [again.fingerprint(i) for i in range(len(again.parts))] == [
        whole.fingerprint(i) for i in range(len(whole.parts))
    ]
    assert issubclass(GateError, NothingPaidError)


@pytest.mark.parametrize("knobs", [{"http_429_rate": 1.0}, {"http_503_rate": 1.0}, {"reset_rate": 1.0}])
def test_a_count_that_fails_does_not_fail_the_preparation(
    place: Place,
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    knobs: dict[str, float],
) -> None:
    """A warning and wider bounds, by which a budget is then judged; the requests are the same."""
    monkeypatch.setattr(gemini_batch, "COUNT_SECONDS", 0.2)
    where = {**source(place, texts(60), "worker"), "template": PROMPT}
    counted = place.prepare(**where)
    cloud.knobs(**knobs, fault_routes="countTokens")
    capsys.readouterr()
    uncounted = place.prepare(**where, max_cost_usd=1)
    told = capsys.readouterr().out
    assert "Tokens could not be counted with publishers/google/models/gemini-3.5-flash (" in told
    assert "The estimate is the wider for it." in told
    assert counted.estimate is not None
    assert uncounted.estimate is not None
    assert uncounted.estimate.counted == 0
    narrow, wide = counted.estimate.total.input_tokens, uncounted.estimate.total.input_tokens
    assert wide.low < narrow.low <= narrow.expected <= narrow.high < wide.high
    assert uncounted.parts == counted.parts
    assert uncounted.fingerprint(0) == counted.fingerprint(0)


def test_what_was_counted_before_a_count_failed_is_used(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is anybody asked after that, but for those who were being asked already."""
    count, asked = GeminiBatchHook.count_tokens, list[int]()
    numbers = itertools.count(1)

    def refused_later(self: GeminiBatchHook, **arguments: Any) -> int:
        asked.append(number := next(numbers))
        if number == 8:
            arguments["model"] = "publishers/google/models/gemini-none"
        elif number > 8:
            time.sleep(0.5)  # none of the later ones is done before that one has failed
        return count(self, **arguments)

    monkeypatch.setattr(GeminiBatchHook, "count_tokens", refused_later)
    manifest = place.prepare(**source(place, texts(60), "worker"), template=PROMPT)
    assert manifest.estimate is not None
    assert 8 <= len(asked) <= 16  # eight at a time, and the thread of the one that failed may begin another
    assert manifest.estimate.counted == len(asked) - 1
    assert "HTTP 404" in capsys.readouterr().out


def test_a_preparation_whose_time_is_over_while_it_counts_asks_no_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with those that were being asked, not with all that were to be."""
    asked, over = list[int](), threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            over.set()
            super().shutdown(wait=wait)

    def asking(*_: Any, **__: Any) -> int:
        asked.append(1)
        assert over.wait(30)
        return 1

    monkeypatch.setattr(GeminiBatchHook, "count_tokens", asking)
    monkeypatch.setattr(_estimate, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(_estimate, "wait", lambda *_, **__: raised(KilledError()))
    with pytest.raises(KilledError):
        place.prepare(**source(place, texts(60), "worker"), template=PROMPT, count_tokens_rows=60)
    assert len(asked) <= 8


@pytest.mark.parametrize("way", WAYS)
def test_a_preparation_killed_while_it_counts_leaves_nothing_that_looks_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The next attempt prepares the same batch, and that one is bought once."""
    where = {**source(place, texts(40), way), "template": PROMPT, "max_rows_per_part": 15}
    whole = place.prepare(**where)
    with monkeypatch.context() as patch:
        patch.setattr(GeminiBatchHook, "count_tokens", lambda *_, **__: raised(KilledError()))
        # Nothing is tidied up after kill -9.
        patch.setattr(RequestFiles, "__exit__", lambda *_: None)
        patch.setattr(RequestTables, "__exit__", lambda *_: None)
        with pytest.raises(KilledError):
            place.prepare(**where)
    assert place.manifest() is None
    again = place.prepare(**where)
    parts = range(len(whole.parts))
    assert [again.fingerprint(i) for i in parts] == [whole.fingerprint(i) for i in parts]
    assert again.estimate == whole.estimate


def raised(error: BaseException) -> Any:
    raise error


def test_two_attempts_buy_a_priced_batch_once(place: Place, cloud: LocalCloud) -> None:
    """The second adopts what the first one bought, whatever the estimate says by then."""
    where = {**source(place, texts(30), "worker"), "template": PROMPT}
    first = place.prepare(**where)
    bill = bought(first, cloud)
    second = place.prepare(**where, count_tokens_rows=0, price={"input": 9, "output": 9})
    assert second.estimate != first.estimate
    assert bought(second, cloud) == bill
    assert bill["billed_rows"] == 30


def test_nothing_of_a_request_is_told(
    place: Place, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the log, nor in XCom, nor in the manifest, nor in the error of a budget."""
    where = {**source(place, texts(50), "worker"), "template": PROMPT}
    operator = place.operator(**where)
    sent = operator.execute(the_context())
    stored = place.storage.read(place.folder.manifest)
    assert stored is not None
    with pytest.raises(GateError) as refused:
        place.prepare(**where, max_cost_usd=0)
    said = [capsys.readouterr().out, caplog.text, json.dumps(sent), stored.data.decode(), str(refused.value)]
    assert "What the batch will cost:" in said[0] + said[1]
    assert not any(word in "".join(said) for word in ("planted", "lamp", "Sum this up"))


def the_context() -> Context:
    return {"ti": Ti()}  # type: ignore[typeddict-item]


def test_every_part_says_what_the_batch_will_cost(place: Place) -> None:
    """The same sums in each, as its rows and bytes are the batch's."""
    where = {**source(place, texts(50), "worker"), "template": PROMPT, "max_rows_per_part": 20}
    sent = place.operator(**where).execute(the_context())
    assert len(sent) == 3
    assert len({(one["usd_low"], one["usd_expected"], one["usd_high"]) for one in sent}) == 1
    assert 0 < sent[0]["usd_low"] < sent[0]["usd_expected"] <= sent[0]["usd_high"]
    unknown = place.operator(**where, model="projects/demo/locations/us-central1/models/1")
    assert [one["usd_expected"] for one in unknown.execute(the_context())] == [None] * 3


def test_ready_made_requests_are_priced_by_their_own_limits(place: Place) -> None:
    """Each may set another one."""
    lines = [
        {
            "contents": [{"role": "user", "parts": [{"text": "x" * 400}]}],
            "generationConfig": {"maxOutputTokens": n},
        }
        for n in range(10, 30)
    ]
    uri = place.put("ready.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    manifest = place.prepare(source_uri=uri, template=None)
    assert manifest.estimate is not None
    total = manifest.estimate.total
    assert (total.input_tokens.expected, total.output_tokens.high) == (20 * 100, sum(range(10, 30)))


def test_a_budget_without_a_price_is_refused_before_a_row_is_read(place: Place) -> None:
    """With a price of one's own it is kept."""
    unknown: dict[str, Any] = {"source_uri": f"gs://{place.bucket}/none.jsonl", "model": "gemini-99"}
    with pytest.raises(ConfigurationError, match=r"price of gemini-99, .*Nothing was sent; give price="):
        place.prepare(**unknown, max_cost_usd="5")
    assert place.files() == []
    with pytest.raises(GateError, match="price as given"):
        place.prepare(sql=SQL, model="gemini-99", price={"input": 1, "output": 2}, max_cost_usd="0.001")


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_cost_usd": "much"},
        {"max_cost_usd": -1},
        {"price": {"input": 1}},
        {"price": {"input": "x", "output": 1}},
        {"count_tokens_rows": -1},
        {"count_tokens_rows": 1001},
        {"count_tokens_rows": True},
    ],
)
def test_wrong_arguments_are_refused_when_the_dag_is_parsed(place: Place, arguments: dict[str, Any]) -> None:
    """And a budget from a template once it has its value."""
    with pytest.raises(ConfigurationError, match="Nothing was sent"):
        place.operator(sql=SQL, template=TEMPLATE, **arguments)


def test_a_budget_may_come_from_a_template(place: Place) -> None:
    """Rendered to nothing it is none."""
    operator = place.operator(sql=SQL, max_cost_usd="{{ params.budget }}")
    assert "max_cost_usd" in operator.template_fields
    operator.max_cost_usd = ""
    assert operator.execute(the_context())
    operator.max_cost_usd = "0.0000001"
    with pytest.raises(GateError):
        operator.execute(the_context())
