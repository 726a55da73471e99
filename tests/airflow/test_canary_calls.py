"""The canary's calls against the local cloud: what is asked, what is billed, what is left, whatever ends an attempt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_batch_gemini.batch.canary import CanaryFigures
from airflow_batch_gemini.batch.canary_answer import CanaryAnswer, Fate
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.pricing import price_of
from airflow_batch_gemini.batch.sampling import SampledLine
from airflow_batch_gemini.batch.schema import Shape
from airflow_batch_gemini.exceptions import ConfigurationError, RefusedForNowError, ServiceError
from airflow_batch_gemini.hooks import _generating
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.workspace import PreconditionLost, WorkspaceHook
from airflow_batch_gemini.operators import _canary
from airflow_batch_gemini.operators._canary import Canary

if TYPE_CHECKING:
    from airflow_batch_gemini.local.server import LocalCloud

CALL = "^POST .*:generateContent$"
MODEL = "publishers/google/models/gemini-3.5-flash"
STEPS = ("read", "write", "call", "write again")


class KilledError(BaseException):
    """The process dies here: nothing after it happens."""


def line(row: int, text: str | None = None) -> SampledLine:
    said = text or f"Say number {row}."
    request = {"contents": [{"role": "user", "parts": [{"text": said}]}]}
    return SampledLine(part=0, row=row, line=json.dumps({"key": f"k_{row}", "request": request}).encode())


SAMPLE = [line(row) for row in range(6)]


@dataclass
class Scene:
    """A workspace, and the attempts to ask a sample there."""

    cloud: LocalCloud
    places: Workspace
    storage: WorkspaceHook
    attempts: list[GeminiBatchHook] = field(default_factory=list)

    def canary(
        self, *, storage: WorkspaceHook | None = None, vertex: GeminiBatchHook | None = None, **more: Any
    ) -> Canary:
        self.attempts.append(vertex or GeminiBatchHook())
        options: dict[str, Any] = {
            "project": "demo",
            "location": "us-central1",
            "model": MODEL,
            "killed": lambda: False,
        }
        return Canary(self.attempts[-1], storage or self.storage, self.places, **(options | more))

    def measure(self, sample: list[SampledLine] = SAMPLE, **more: Any) -> CanaryFigures:
        return self.canary(**more).measure(
            sample, sample, population=1000, shape=Shape.TEXT, price=price_of(MODEL)
        )

    @property
    def billed(self) -> int:
        return sum(one["billed_rows"] for one in self.cloud.stats()["generate_content"].values())

    @property
    def kept(self) -> list[CanaryAnswer]:
        """What the workspace has, in the order of the rows."""
        found = [
            self.storage.read(GcsUri.parse(one.uri))
            for one in self.storage.list(self.places.folder / "canary")
        ]
        read = [json.loads(one.data) for one in found if one is not None]
        return [
            CanaryAnswer(**{**one, "fate": Fate(one["fate"])})
            for one in sorted(read, key=lambda one: str(one["key"]))
        ]


@pytest.fixture
def scene(cloud: LocalCloud, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Nothing billed yet; pauses are short."""
    monkeypatch.setattr(_generating, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(_generating, "_LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(_canary, "_AT_ONCE", 1)
    cloud.knobs(answers="echo", retry_after_seconds=0)
    cloud.parts.admin.reset()
    found = Scene(cloud, Workspace(GcsUri.parse(f"gs://{bucket}/w")), WorkspaceHook())
    yield found
    for hook in found.attempts:
        hook.close()
    found.storage.close()


def dying(step: str, row: int) -> tuple[type[WorkspaceHook], type[GeminiBatchHook]]:
    """Return hooks that die at this step of this row's turn, before or right after its effect."""
    moment, _, name = step.partition(" ")
    turns: dict[str, int] = {"read": 0, "write": 0, "call": 0}

    def at(what: str, act: Callable[[], Any]) -> Any:
        turns[what] += 1
        due = {"read": row + 1, "call": row + 1, "write": 2 * row + 1, "write again": 2 * row + 2}[name]
        mine = name.removesuffix(" again") == what and turns[what] == due
        if mine and moment == "before":
            raise KilledError
        found = act()
        if mine:
            raise KilledError
        return found

    class Storage(WorkspaceHook):
        def read(self, *args: Any) -> Any:
            return at("read", lambda: super(Storage, self).read(*args))

        def write(self, *args: Any, **more: Any) -> Any:
            return at("write", lambda: super(Storage, self).write(*args, **more))

    class Vertex(GeminiBatchHook):
        def generate_content(self, **more: Any) -> Any:
            return at("call", lambda: super(Vertex, self).generate_content(**more))

    return Storage, Vertex


def test_every_request_of_the_sample_is_asked_and_kept(scene: Scene) -> None:
    """The figures are those of the answers; the answers lie in the workspace, by row."""
    found = scene.measure()
    assert found.outcomes == {"succeeded": 6}
    assert (found.rows, found.lost, found.unasked, scene.billed) == (6, 0, 0, 6)
    assert found.cost_usd is not None
    assert [one.key for one in scene.kept] == [f"k_{row}" for row in range(6)]
    texts = [one.response["candidates"][0]["content"]["parts"][0]["text"] for one in scene.kept]
    assert texts == [f"Say number {row}." for row in range(6)]


def test_a_repeated_attempt_pays_nothing_and_measures_the_same(scene: Scene) -> None:
    """Also when it takes its rows in another order, or when there is one more: only that is asked."""
    first = scene.measure()
    assert scene.measure() == scene.measure(SAMPLE[::-1]) == first
    assert scene.billed == 6
    assert scene.measure([*SAMPLE, line(6)]).rows == 7
    assert scene.billed == 7


def test_another_model_or_another_request_is_asked_anew(scene: Scene) -> None:
    """An answer to another question is none."""
    scene.measure()
    scene.measure(model="publishers/google/models/gemini-2.5-flash")
    scene.measure([line(row, f"Whisper {row}.") for row in range(6)])
    assert scene.billed == 18


def test_rows_that_ask_the_same_are_asked_once(scene: Scene) -> None:
    """They count as one answer that stands for both."""
    found = scene.measure([line(0, "Same."), line(1, "Same."), line(2)])
    assert (found.rows, scene.billed) == (2, 2)


@pytest.mark.parametrize("row", [0, 3, 5])
@pytest.mark.parametrize("step", [f"{moment} {name}" for moment in ("before", "after") for name in STEPS])
def test_a_kill_at_any_step_pays_no_row_twice(scene: Scene, step: str, row: int) -> None:
    """Two attempts, a kill between: at most as many bills as rows; a row whose answer was lost is not asked again."""
    storage_class, vertex_class = dying(step, row)
    storage = storage_class()
    with pytest.raises(KilledError):
        scene.measure(storage=storage, vertex=vertex_class())
    storage.close()
    found = scene.measure()
    lost = {"after write": 1, "before call": 1, "after call": 1, "before write again": 1}.get(step, 0)
    assert (found.rows, found.lost, found.unasked) == (6, lost, 0)
    never_sent = step in {"after write", "before call"}
    assert scene.billed == 6 - never_sent
    assert found.cost_usd is None if lost else found.cost_usd is not None


def test_over_many_kills_no_more_is_billed_than_the_sample_has_rows(scene: Scene) -> None:
    """Every attempt dies at the next step; the last one lives."""
    for row in range(6):
        for step in ("after call", "before write again", "after write"):
            storage_class, vertex_class = dying(step, row=0)
            storage = storage_class()
            try:
                scene.measure(storage=storage, vertex=vertex_class())
            except KilledError:
                pass
            finally:
                storage.close()
        assert scene.billed <= row * 2 + 2
    found = scene.measure()
    assert found.rows == 6
    assert scene.billed <= 6


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_a_storm_of_429_bills_every_row_once(scene: Scene, rate: float) -> None:
    """Refused for want of quota is not billed, so it is asked again within the same attempt."""
    scene.cloud.knobs(http_429_rate=rate)
    found = scene.measure()
    assert (found.outcomes, scene.billed) == ({"succeeded": 6}, 6)


def test_a_storm_that_does_not_end_leaves_no_note_and_a_retry_asks_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was surely not billed is as if it had never been begun."""
    monkeypatch.setattr(_canary, "CANARY_SECONDS", 2.0)
    scene.cloud.knobs(http_429_rate=1.0)
    with pytest.raises(RefusedForNowError, match="Nothing was billed"):
        scene.measure()
    assert (scene.kept, scene.billed) == ([], 0)
    monkeypatch.setattr(_canary, "CANARY_SECONDS", 60.0)
    scene.cloud.knobs(http_429_rate=0.0)
    assert (scene.measure().rows, scene.billed) == (6, 6)


def test_what_could_not_be_asked_in_time_is_told_as_such(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are of what was answered."""
    calls = 0

    class Slow(GeminiBatchHook):
        def generate_content(self, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 2:
                raise RefusedForNowError("Nothing was billed.", http_status=429)
            return super().generate_content(**more)

    found = scene.measure(vertex=Slow())
    assert (found.rows, found.unasked, found.judged, scene.billed) == (2, 4, 2, 2)
    assert len(scene.kept) == 2


@pytest.mark.parametrize(
    ("knobs", "fate", "billed"),
    [
        ({"answer_lost_after_commit": 6, "lost_answer_routes": CALL}, Fate.ASKED, 6),
        ({"reset_rate": 1.0}, Fate.ASKED, 0),
        ({"http_503_rate": 1.0}, Fate.FAILED, 0),
        ({"row_error_rate": 1.0, "row_error_code": 500}, Fate.FAILED, 0),
    ],
)
def test_what_may_have_been_billed_is_not_asked_again(
    scene: Scene, knobs: dict[str, Any], fate: Fate, billed: int
) -> None:
    """Neither in the same attempt nor in the next one, when the trouble is over."""
    scene.cloud.knobs(**knobs)
    first = scene.measure()
    scene.cloud.knobs(reset_rate=0.0, http_503_rate=0.0, row_error_rate=0.0, answer_lost_after_commit=0)
    again = scene.measure()
    assert first == again
    assert (again.lost, again.outcomes) == ((6, {}) if fate is Fate.ASKED else (0, {"failed": 6}))
    assert scene.billed == billed
    assert {one.fate for one in scene.kept} == {fate}


def test_a_request_that_was_refused_is_asked_again_by_the_next_attempt(scene: Scene) -> None:
    """It was not billed, and the reason may be gone; here it is not."""
    wrong = SampledLine(
        part=0, row=9, line=b'{"key":"k_9","request":{"contents":[{"role":"x","parts":[{"text":"a"}]}]}}'
    )
    for _ in range(2):
        found = scene.measure([*SAMPLE, wrong])
        assert (found.outcomes, found.rows) == ({"succeeded": 6, "failed": 1}, 7)
    assert scene.billed == 6
    assert scene.kept[-1].code == 400
    assert scene.kept[-1].fate is Fate.REFUSED


def test_a_request_that_cannot_be_sent_is_left_out(scene: Scene) -> None:
    """So deep a nesting fits into a table of requests, and through no door of Vertex AI."""
    deep = b'{"key":"k_9","request":' + b'{"a":' * 300 + b"1" + b"}" * 301
    found = scene.measure([*SAMPLE, SampledLine(part=0, row=9, line=deep)])
    assert (found.rows, found.unasked, scene.billed) == (6, 0, 6)


def test_a_model_that_is_not_served_there_ends_it_with_the_reason(scene: Scene) -> None:
    """Nothing was billed; once that is corrected, all rows are asked."""
    with pytest.raises(
        ConfigurationError, match=r"refused every request .*404.* No job was sent and nothing was billed"
    ):
        scene.measure(model="publishers/google/models/gemini-0.0-none")
    assert scene.billed == 0


def test_a_task_that_is_told_to_stop_asks_nothing_more(scene: Scene) -> None:
    """The flag is looked at right before each call; the note of a call that was not made is taken back."""
    calls = 0

    class Counting(GeminiBatchHook):
        def generate_content(self, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            return super().generate_content(**more)

    with pytest.raises(ServiceError, match=r"told to stop .* No job was sent"):
        scene.measure(vertex=Counting(), killed=lambda: calls >= 2)
    assert (scene.billed, len(scene.kept)) == (2, 2)
    assert (scene.measure().rows, scene.billed) == (6, 6)


def test_a_note_whose_writing_got_no_answer_is_recognised_as_ones_own(scene: Scene) -> None:
    """A client repeats a conditional write, and its second try meets the first one's success."""

    class Repeating(WorkspaceHook):
        def write(self, uri: GcsUri, data: bytes, *, if_generation: int | None = None) -> Any:
            super().write(uri, data, if_generation=if_generation)
            raise PreconditionLost("412")

    storage = Repeating()
    found = scene.measure(storage=storage)
    storage.close()
    assert (found.outcomes, found.lost, scene.billed) == ({"succeeded": 6}, 0, 6)
    assert {one.fate for one in scene.kept} == {Fate.ANSWERED}


def test_two_attempts_at_once_pay_every_row_once(scene: Scene) -> None:
    """The other one's note is found in place of one's own: that row is the other's."""
    other = scene.canary()

    class Interrupted(WorkspaceHook):
        def write(self, uri: GcsUri, data: bytes, *, if_generation: int | None = None) -> Any:
            if if_generation == 0:
                other.measure(SAMPLE, SAMPLE, population=1000, shape=Shape.TEXT, price=None)
            return super().write(uri, data, if_generation=if_generation)

    storage = Interrupted()
    found = scene.measure(storage=storage)
    storage.close()
    assert (found.outcomes, scene.billed) == ({"succeeded": 6}, 6)


@pytest.mark.parametrize("data", [b"", b"no JSON", b"{}"])
def test_a_note_that_cannot_be_read_is_paid_for_as_far_as_anybody_knows(scene: Scene, data: bytes) -> None:
    """It is not asked again."""
    scene.measure()
    for one in scene.storage.list(scene.places.folder / "canary")[:2]:
        scene.storage.write(GcsUri.parse(one.uri), data)
    found = scene.measure()
    assert (found.lost, found.judged, scene.billed) == (2, 4, 6)


def test_several_threads_ask_what_one_would(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few at a time, each row once."""
    alone = scene.measure()
    monkeypatch.setattr(_canary, "_AT_ONCE", 4)
    found = scene.measure([line(row) for row in range(20)])
    assert (found.outcomes, scene.billed) == ({"succeeded": 20}, 20)
    assert scene.measure() == alone
