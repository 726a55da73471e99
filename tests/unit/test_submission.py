"""What an attempt does next: the decision as a table, and the attempt that obeys it, against a world in memory."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from submission_world import FOLDER, SETTLE, Posted, Vertex, World, manifest, submission

from airflow_batch_gemini.batch.job import STATES, Counts, Job
from airflow_batch_gemini.batch.job_body import EPOCH, job_labels
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.steps import (
    Adopt,
    AskHuman,
    Cancel,
    DeleteInputs,
    Fence,
    GiveWay,
    ListJobs,
    LookAt,
    LookForAnswers,
    Post,
    Step,
    WaitFor,
    WriteIntent,
)
from airflow_batch_gemini.batch.submission import Rules, Sight, next_step
from airflow_batch_gemini.exceptions import (
    GeminiBatchError,
    JobLostError,
    NothingPaidError,
    OwnershipLostError,
    PaymentUnknownError,
    ServiceError,
    SourceError,
    SubmitRefusedError,
)

MINE, OTHER = "f" * 32, "e" * 32
RULES = Rules(owner="b", fingerprint=MINE, settle_seconds=100)
JOB = "projects/demo/locations/us-central1/batchPredictionJobs/{}"


def job(number: int = 1, state: str = "RUNNING", **changes: Any) -> Job:
    labels = {"batch_id": "b", "part": 0, "epoch": 2, "nonce": "n2", "fingerprint": MINE}
    options = {key: changes.pop(key) for key in list(changes) if key in labels}
    values = {"create_time": float(number), **changes}
    return Job(
        name=JOB.format(number), state=f"JOB_STATE_{state}", labels=job_labels(**(labels | options)), **values
    )


def ledger(state: str, **changes: Any) -> Ledger:
    values: dict[str, Any] = {
        "state": state,
        "epoch": 2,
        "since": 1,
        "nonce": "n2",
        "owner": "a",
        "fingerprint": MINE,
        "input_uri": "gs://b/e2",
        "destination_uri": "gs://b/out",
    }
    if state in {"SUBMITTED", "LOADED", "CANCELLING", "CANCELLED"}:
        values["job_name"] = JOB.format(1)
    return Ledger(**(values | changes))


def step(entry: Ledger | None, *jobs: Job, listed: bool = True, rules: Rules = RULES, **changes: Any) -> Step:
    """The next step when these jobs were found, two hundred seconds after the ledger was written."""
    values = {"written": 1000.0, "now": 1200.0, "jobs": jobs if listed else None}
    return next_step(Sight(ledger=entry, **(values | changes)), rules)


EARLIER = job(state="SUCCEEDED", epoch=1, nonce="n1")
LATE = job(nonce="n1", epoch=1, state="PENDING")
DOOMED = "its input was fenced off before it started"
CHANGED = "it answers requests that have changed since"
GIVEN_UP = job(state="CANCELLED", counts=Counts(succeeded=1))
UNCLEAR = job(state="FAILED", output_uri="gs://b/out/prediction-model-1")
RERUN = replace(RULES, on_finished="rerun")
HUMAN = replace(RULES, on_ambiguous="fail")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, ListJobs()),
        (ledger("INTENT"), ListJobs()),
        (ledger("FENCED"), ListJobs()),
        (ledger("FENCING", fences=("x", "y")), DeleteInputs(("x", "y"))),
        (ledger("REFUSED"), WriteIntent(3, 1)),
        (ledger("REFUSED", fingerprint=OTHER), ListJobs()),
        (ledger("SUBMITTED"), LookAt(JOB.format(1))),
        (ledger("LOADED"), LookAt(JOB.format(1))),
        (ledger("CANCELLED"), LookAt(JOB.format(1))),
        (ledger("SUBMITTED", fingerprint=OTHER), ListJobs()),
    ],
)
def test_it_asks_before_it_judges(entry: Ledger | None, expected: Step) -> None:
    """What nobody has looked up is not absent."""
    assert step(entry, listed=False) == expected


@pytest.mark.parametrize(
    "state", ["INTENT", "REFUSED", "FENCING", "FENCED", "SUBMITTED", "LOADED", "CANCELLING", "CANCELLED"]
)
def test_the_older_attempt_always_gives_way(state: str) -> None:
    """Whatever the ledger says."""
    assert step(ledger(state, owner="c"), job()) == GiveWay("c")


@pytest.mark.parametrize(
    ("entry", "jobs", "expected"),
    [
        # Nothing is known of the part.
        (None, [], WriteIntent(1, 1)),
        (None, [job(epoch=4)], Adopt(job(epoch=4), epoch=5)),
        (None, [job(state="FAILED", epoch=4)], WriteIntent(5, 5)),
        (None, [job(fingerprint=OTHER)], WriteIntent(3, 3, stale=(job(fingerprint=OTHER),))),
        (None, [job(fingerprint=OTHER, state="SUCCEEDED", epoch=4)], WriteIntent(5, 5)),
        # An intent whose fate is unknown.
        (ledger("INTENT"), [job()], Adopt(job())),
        (ledger("INTENT"), [job(state="SUCCEEDED")], Adopt(job(state="SUCCEEDED"))),
        (ledger("INTENT"), [], Fence(1)),
        (ledger("INTENT"), [job(state="FAILED")], WriteIntent(3, 1)),
        (ledger("INTENT"), [job(state="FAILED", nonce="n1", epoch=1)], Fence(1)),
        (
            ledger("INTENT"),
            [job(nonce="n1", epoch=1)],
            Adopt(job(nonce="n1", epoch=1), fences=("gs://b/e2",)),
        ),
        # A late post of a fenced epoch: its job can only fail, whatever the present epoch's own has come to.
        (ledger("INTENT"), [LATE], Cancel(LATE, DOOMED)),
        (ledger("INTENT"), [LATE, job(2)], Adopt(job(2))),
        (ledger("INTENT"), [replace(LATE, state="JOB_STATE_FAILED")], Fence(1)),
        (ledger("INTENT", since=2), [job(nonce="n1", epoch=1)], Fence(2)),
        (ledger("INTENT"), [job(2), job(1), job(3)], Adopt(job(1), (job(2), job(3)))),
        (ledger("INTENT"), [job(1), job(2, "SUCCEEDED")], Adopt(job(2, "SUCCEEDED"), (job(1),))),
        (ledger("INTENT"), [job(1, "SUCCEEDED"), job(2, "FAILED")], Adopt(job(1, "SUCCEEDED"))),
        (ledger("INTENT", fingerprint=OTHER), [], Fence(1)),
        (
            ledger("INTENT", fingerprint=OTHER),
            [job(fingerprint=OTHER, state="CANCELLING")],
            WriteIntent(3, 1),
        ),
        # Requests that come back after others: what was bought for them stands.
        (
            ledger("INTENT", fingerprint=OTHER, since=2),
            [EARLIER],
            Adopt(EARLIER, fences=("gs://b/e2",)),
        ),
        (
            ledger("FENCED", fingerprint=OTHER, since=2),
            [EARLIER],
            Adopt(EARLIER),
        ),
        (
            ledger("REFUSED", fingerprint=OTHER, since=2),
            [EARLIER],
            Adopt(EARLIER, epoch=3),
        ),
        (ledger("REFUSED", fingerprint=OTHER, since=2), [], WriteIntent(3, 3)),
        # Fenced off: what has not started cannot, what has is adopted.
        (ledger("FENCED"), [], WriteIntent(2, 1)),
        (ledger("FENCED", fingerprint=OTHER), [], WriteIntent(2, 1)),
        (ledger("FENCED"), [job(epoch=1)], Adopt(job(epoch=1))),
        (ledger("FENCED"), [job(epoch=1, state="FAILED")], WriteIntent(2, 1)),
        (ledger("FENCED"), [LATE], Cancel(LATE, DOOMED)),
        # Whoever sees jobs of later epochs than the ledger knows is overtaken: those are not to be cancelled.
        (ledger("FENCED"), [job(state="PENDING")], Adopt(job(state="PENDING"))),
        (ledger("FENCED"), [job(fingerprint=OTHER)], WriteIntent(2, 1)),
        (ledger("INTENT"), [job(fingerprint=OTHER, epoch=3, nonce="n3")], Fence(1)),
        (
            ledger("INTENT"),
            [job(fingerprint=OTHER, epoch=1, nonce="n1")],
            Cancel(job(fingerprint=OTHER, epoch=1, nonce="n1"), CHANGED),
        ),
        # The ledger names the job.
        (ledger("SUBMITTED"), [job()], Adopt(job())),
        (ledger("SUBMITTED"), [job(state="FAILED")], WriteIntent(3, 3)),
        (ledger("SUBMITTED"), [job(state="EXPIRED")], WriteIntent(3, 3)),
        (
            ledger("SUBMITTED"),
            [job(state="FAILED", counts=Counts(succeeded=1))],
            Adopt(job(state="FAILED", counts=Counts(succeeded=1))),
        ),
        (ledger("SUBMITTED"), [job(state="PAUSED")], Adopt(job(state="PAUSED"))),
        (ledger("LOADED"), [job(state="SUCCEEDED")], Adopt(job(state="SUCCEEDED"))),
        (ledger("CANCELLING"), [job()], Cancel(job(), "an earlier attempt gave it up")),
        (ledger("CANCELLED"), [job(state="SUCCEEDED")], Adopt(job(state="SUCCEEDED"))),
        # Given up or not, what it answered is paid for.
        (ledger("CANCELLED"), [GIVEN_UP], Adopt(GIVEN_UP)),
        (ledger("CANCELLING"), [GIVEN_UP], Adopt(GIVEN_UP)),
        (ledger("CANCELLED"), [job(state="CANCELLED", counts=Counts(succeeded=0))], WriteIntent(3, 3)),
        (
            ledger("SUBMITTED", fingerprint=OTHER),
            [job(fingerprint=OTHER)],
            Cancel(job(fingerprint=OTHER), "it answers requests that have changed since"),
        ),
        (
            ledger("SUBMITTED", fingerprint=OTHER),
            [job(fingerprint=OTHER, state="SUCCEEDED")],
            WriteIntent(3, 3),
        ),
        (
            ledger("LOADED", fingerprint=OTHER),
            [job(5, "SUCCEEDED", epoch=1), job(fingerprint=OTHER, state="SUCCEEDED")],
            Adopt(job(5, "SUCCEEDED", epoch=1), epoch=3),
        ),
    ],
)
def test_what_it_does_about_what_it_finds(entry: Ledger | None, jobs: list[Job], expected: Step) -> None:
    """Adopt what answers, buy only when nothing paid for is left, stop what nobody wants."""
    assert step(entry, *jobs) == expected


@pytest.mark.parametrize(
    ("entry", "jobs", "expected"),
    [
        (None, [job(state="SUCCEEDED", epoch=4)], WriteIntent(5, 5)),
        (None, [job(1, "SUCCEEDED", epoch=4), job(2, epoch=4)], Adopt(job(2, epoch=4), epoch=5)),
        (ledger("INTENT"), [job(state="SUCCEEDED")], Adopt(job(state="SUCCEEDED"))),
        (ledger("SUBMITTED"), [job()], Adopt(job())),
        (ledger("SUBMITTED"), [job(state="SUCCEEDED")], Adopt(job(state="SUCCEEDED"))),
        (ledger("LOADED"), [job(state="SUCCEEDED")], WriteIntent(3, 3)),
        (ledger("SUBMITTED"), [job(state="FAILED", counts=Counts(succeeded=1))], WriteIntent(3, 3)),
        (ledger("CANCELLED"), [GIVEN_UP], WriteIntent(3, 3)),
        (ledger("SUBMITTED"), [UNCLEAR], WriteIntent(3, 3)),
        (ledger("INTENT", fingerprint=OTHER), [EARLIER], Fence(3)),
        (ledger("FENCED", fingerprint=OTHER), [EARLIER], WriteIntent(2, 2)),
    ],
)
def test_a_rerun_buys_anew_what_is_over_and_loaded_but_never_what_a_retry_finds(
    entry: Ledger | None, jobs: list[Job], expected: Step
) -> None:
    """Otherwise each retry of a rerun would pay."""
    assert step(entry, *jobs, rules=RERUN) == expected


@pytest.mark.parametrize("state", ["SUBMITTED", "CANCELLING", "CANCELLED", "INTENT", "FENCED"])
@pytest.mark.parametrize(
    ("answered", "expected"),
    [({}, LookForAnswers(UNCLEAR)), ({UNCLEAR.name: True}, Adopt(UNCLEAR)), ({UNCLEAR.name: False}, None)],
)
def test_a_dead_job_without_counts_is_looked_into_before_anything_is_bought_again(
    state: str, answered: dict[str, bool], expected: Step | None
) -> None:
    """Answers at its destination were paid for; only when there are none it is void."""
    found = step(ledger(state), UNCLEAR, answered=answered)
    if expected is None:
        assert isinstance(found, WriteIntent)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "dead",
    [
        job(state="FAILED"),
        job(state="FAILED", output_uri="gs://b/out", counts=Counts(succeeded=0)),
        job(state="EXPIRED"),
    ],
)
def test_nobody_looks_for_answers_where_none_can_be(dead: Job) -> None:
    """It names no output, as one that never ran, or says that it answered none."""
    assert isinstance(step(ledger("SUBMITTED"), dead), WriteIntent)


def test_nobody_looks_into_a_dead_job_beside_one_that_will_do() -> None:
    """A look costs a call."""
    assert step(ledger("INTENT"), UNCLEAR, job(2)) == Adopt(job(2))


@pytest.mark.parametrize("state", ["SUBMITTED", "REFUSED", "INTENT"])
def test_requests_that_come_back_wait_until_what_was_bought_for_them_must_show(state: str) -> None:
    """Old, new, old within the settle time; before the first change there is nothing to wait for."""
    other = job(fingerprint=OTHER, state="SUCCEEDED")
    entry = ledger(state, fingerprint=OTHER, since=2)
    assert isinstance(step(entry, other, now=1010.0), WaitFor)
    assert isinstance(step(entry, other, now=1100.0), WriteIntent)
    first = replace(entry, epoch=1, since=1)
    assert isinstance(
        step(first, replace(other, labels=other.labels | {EPOCH: "1"}), now=1010.0), WriteIntent
    )


def test_only_the_process_that_wrote_the_intent_may_post() -> None:
    """The same task instance after a deferral may not: it cannot know whether it has."""
    mine = ledger("INTENT", owner="b")
    assert step(mine, listed=False, armed=True) == Post()
    assert step(mine, listed=False) == ListJobs()
    assert step(mine) == Fence(1)


@pytest.mark.parametrize(
    ("entry", "now", "seconds"),
    [(ledger("INTENT"), 1040.0, 60.0), (ledger("FENCED"), 1099.0, 1.0), (ledger("FENCED"), 1000.0, 100.0)],
)
def test_it_waits_until_a_listing_can_be_trusted(entry: Ledger, now: float, seconds: float) -> None:
    """By the storage's clock, before the take-over and after the fence."""
    waiting = step(entry, now=now)
    assert isinstance(waiting, WaitFor)
    assert waiting.seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "entry", [None, ledger("INTENT"), ledger("FENCED"), ledger("SUBMITTED"), ledger("CANCELLING")]
)
def test_a_job_that_is_being_cancelled_is_looked_at_again_until_it_ends(entry: Ledger | None) -> None:
    """It may still succeed, and then it is the job."""
    assert isinstance(step(entry, job(state="CANCELLING")), WaitFor)


@pytest.mark.parametrize(
    ("entry", "found"),
    [(ledger("FENCED"), job(epoch=1, state="PENDING")), (ledger("CANCELLED"), job())],
)
def test_it_asks_for_a_cancellation_once_and_then_waits(entry: Ledger, found: Job) -> None:
    """Vertex AI may need a while."""
    assert isinstance(step(entry, found, cancelled=frozenset({found.name})), WaitFor)


def test_a_stale_job_is_cancelled_once_and_then_forgotten() -> None:
    """Nobody waits for the end of what nobody wants."""
    stale = job(fingerprint=OTHER)
    assert step(
        ledger("SUBMITTED", fingerprint=OTHER), stale, cancelled=frozenset({stale.name})
    ) == WriteIntent(3, 3)


def test_who_wants_a_human_gets_one_unless_the_job_is_found() -> None:
    """At any age of the intent."""
    assert step(ledger("INTENT"), rules=HUMAN) == AskHuman()
    assert step(ledger("INTENT"), now=1000.0, rules=HUMAN) == AskHuman()
    assert step(ledger("INTENT"), job(), rules=HUMAN) == Adopt(job())


@pytest.mark.parametrize("entry", ["INTENT", "FENCED", "SUBMITTED", "LOADED", "CANCELLING", "CANCELLED"])
@pytest.mark.parametrize("state", sorted(STATES))
@pytest.mark.parametrize("counts", [Counts(), Counts(succeeded=3)])
def test_nothing_is_bought_while_a_job_may_still_answer_or_has(
    entry: str, state: str, counts: Counts
) -> None:
    """Over all states: a new purchase only when the job is over and answered nothing."""
    found = replace(job(), state=state, counts=counts)
    bought = isinstance(step(ledger(entry), found), WriteIntent)
    over = STATES[state].final and not STATES[state].success and state != "JOB_STATE_PAUSED"
    assert bought == (over and not counts.succeeded)


# ---- an attempt obeys


@pytest.fixture
def world() -> World:
    """A world without misfortune."""
    return World()


def run(world: World, owner: str = "a", **options: Any) -> Job:
    outcome = submission(world, owner, **options).run()
    assert isinstance(outcome, Job)
    return outcome


def entry(world: World) -> Ledger:
    return Ledger.from_json(world.objects[str(FOLDER.ledger(0))].data)


def inputs(world: World) -> list[str]:
    return [uri for uri in world.objects if "/input/" in uri]


def test_the_first_attempt_copies_the_input_writes_its_intent_posts_once_and_says_so(world: World) -> None:
    """The job reads its own copy, and its labels carry identity, epoch and fingerprint."""
    made = run(world)
    said = entry(world)
    assert (said.state, said.job_name, said.epoch, said.owner) == ("SUBMITTED", made.name, 1, "a")
    assert inputs(world) == [said.input_uri] == [made.input_uri]
    assert said.destination_uri == "gs://bucket/work/predictions/part-00000"
    assert made.labels == {
        "gemini_batch": f"b{manifest().batch_id}",
        "gemini_part": "p0",
        "gemini_epoch": "1",
        "gemini_nonce": said.nonce,
        "gemini_fingerprint": manifest().fingerprint(0),
    }
    assert run(world, "b") == made
    assert (world.posts, entry(world).owner) == (1, "b")


def test_a_finished_job_is_adopted_and_a_loaded_ledger_is_left_alone(world: World) -> None:
    """Nothing is written where nothing changes."""
    made = run(world)
    world.advance(world.jobs[made.name])
    world.advance(world.jobs[made.name])
    world.put(FOLDER.ledger(0), entry(world).loaded().to_json())
    before = world.objects[str(FOLDER.ledger(0))]
    assert run(world, "b").name == made.name
    assert world.objects[str(FOLDER.ledger(0))] == before
    assert run(world, "c", on_finished="rerun").name != made.name
    assert (entry(world).epoch, entry(world).since, world.posts) == (2, 2, 2)


def test_changed_requests_stop_the_old_job_and_buy_a_new_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """And it says so."""
    old = run(world)
    with caplog.at_level(logging.WARNING, logger="submission_world"):
        new = run(world, "b", manifest=manifest("changed"))
    assert world.jobs[old.name].job.state == "JOB_STATE_CANCELLING"
    assert (world.posts, entry(world).job_name, entry(world).epoch) == (2, new.name, 2)
    assert f"Cancelling {old.name}: it answers requests that have changed since." in caplog.text


def test_a_stale_job_that_is_gone_does_not_stop_the_new_one(world: World) -> None:
    """There is nothing left to cancel."""
    old = run(world)
    del world.jobs[old.name]
    assert run(world, "b", manifest=manifest("changed")).name == entry(world).job_name
    assert world.posts == 2


def test_a_job_of_the_ledger_that_cannot_be_seen_is_not_bought_again(world: World) -> None:
    """403 and 404 are not "nothing was paid"."""
    made = run(world)
    del world.jobs[made.name]
    with pytest.raises(JobLostError):
        run(world, "b")
    assert world.posts == 1


def test_told_to_stop_before_the_post_it_posts_nothing_and_the_next_one_does_at_once(world: World) -> None:
    """The flag of on_kill is tested right before."""
    with pytest.raises(NothingPaidError, match="told to stop before"):
        run(world, killed=lambda: True)
    assert (world.posts, entry(world).state) == (0, "REFUSED")
    run(world, "b")
    assert (world.posts, entry(world).epoch) == (1, 2)


def test_told_to_stop_at_the_last_moment_it_posts_nothing(world: World) -> None:
    """The last thing that happens before the post is the test of the flag, after the intent was written."""
    asked: list[str] = []

    def killed() -> bool:
        asked.append(world.trace[-1].split(" ", 1)[1])
        return True

    with pytest.raises(NothingPaidError):
        run(world, killed=killed)
    assert asked == ["write INTENT"]


def test_told_to_stop_during_the_post_it_writes_the_job_down_and_stops(world: World) -> None:
    """A retry adopts it."""
    with pytest.raises(GeminiBatchError, match="a retry adopts it"):
        run(world, killed=lambda: world.posts > 0)
    assert entry(world).state == "SUBMITTED"
    assert run(world, "b").name == entry(world).job_name
    assert world.posts == 1


def test_quota_is_waited_for_in_the_ledger_and_counted_for_its_owner_only(world: World) -> None:
    """Nothing was created: the next epoch begins at once."""
    for expected in (1, 2):
        vertex = Vertex(world, [ServiceError("quota", http_status=429)])
        with pytest.raises(ServiceError):
            run(world, vertex=vertex)
        assert (entry(world).state, entry(world).refusals) == ("REFUSED", expected)
    with pytest.raises(SubmitRefusedError):
        run(world, "b", vertex=Vertex(world, [SubmitRefusedError("bad")]))
    assert entry(world).refusals == 1
    run(world, "b")
    assert (entry(world).state, entry(world).refusals, entry(world).epoch) == ("SUBMITTED", 0, 4)


class LostAnswer(Vertex):
    """Creates the job, and the answer is lost."""

    def create(self, **request: Any) -> Job:
        super().create(**request)
        raise PaymentUnknownError("lost")


class LostRequest(Vertex):
    """The request is lost on its way."""

    def create(self, **request: Any) -> Job:
        raise PaymentUnknownError("lost")


def test_a_lost_answer_is_found_by_the_labels_at_once(world: World) -> None:
    """One post, one job, no waiting when listings show it."""
    made = run(world, vertex=LostAnswer(world))
    assert (world.posts, entry(world).job_name, entry(world).state) == (1, made.name, "SUBMITTED")


def test_a_lost_request_is_fenced_off_and_posted_anew_after_two_waits(world: World) -> None:
    """Each time a listing can be trusted; the first input is gone."""
    vertex = LostRequest(world)
    first = submission(world, "a", vertex=vertex).run()
    assert isinstance(first, WaitFor)
    world.now += first.seconds
    [before] = inputs(world)
    second = submission(world, "a").run()
    assert isinstance(second, WaitFor)
    assert (inputs(world), entry(world).state) == ([], "FENCED")
    world.now += second.seconds
    made = run(world)
    assert (world.posts, entry(world).epoch) == (1, 2)
    assert inputs(world) == [made.input_uri] != [before]


def test_who_wants_a_human_is_told_where_to_look(world: World) -> None:
    """Nothing is posted again."""
    with pytest.raises(PaymentUnknownError, match='on_ambiguous="fail" leaves it to you') as caught:
        run(world, vertex=LostRequest(world), on_ambiguous="fail")
    assert str(FOLDER.ledger(0)) in str(caught.value)
    assert entry(world).nonce in str(caught.value)


def test_an_older_attempt_that_wakes_up_stops(world: World) -> None:
    """The newer one owns the ledger."""
    run(world, "b")
    with pytest.raises(OwnershipLostError, match="Attempt b of this part is newer"):
        run(world, "a")


def stolen(world: World, change: Any) -> Vertex:
    """A Vertex AI during whose create a newer attempt changes the ledger."""

    class Slow(Vertex):
        def create(self, **request: Any) -> Job:
            made = super().create(**request)
            newer = change(replace(entry(world), owner="z"), made)
            world.put(FOLDER.ledger(0), newer.to_json())
            return made

    return Slow(world)


@pytest.mark.parametrize(
    ("change", "state", "fate"),
    [
        (
            lambda old, made: old.submitted(owner="z", job_name=made.name, destination_uri=""),
            "PENDING",
            "runs on for it",
        ),
        (
            lambda old, _made: old.fencing(owner="z", nonce="m", fingerprint="f", since=1),
            "PENDING",
            "runs on for it",
        ),
        (lambda old, _made: replace(old, nonce="m", epoch=2), "CANCELLING", "is cancelled (asked)"),
    ],
)
def test_who_was_overtaken_cancels_its_job_unless_the_newer_one_has_it_or_will_find_it(
    world: World, change: Any, state: str, fate: str
) -> None:
    """A duplicate is stopped as soon as it is known to be one."""
    with pytest.raises(OwnershipLostError) as caught:
        run(world, vertex=stolen(world, change))
    assert fate in str(caught.value)
    [posted] = world.jobs.values()
    assert posted.job.state == f"JOB_STATE_{state}"


def test_a_ledger_that_vanishes_under_an_attempt_leaves_its_job_to_be_found(world: World) -> None:
    """By its labels."""

    class Vanishing(Vertex):
        def create(self, **request: Any) -> Job:
            made = super().create(**request)
            del world.objects[str(FOLDER.ledger(0))]
            return made

    with pytest.raises(OwnershipLostError, match="nobody has taken over"):
        run(world, vertex=Vanishing(world))
    assert run(world, "b").name in world.jobs
    assert world.posts == 1


def test_who_loses_the_race_for_the_intent_deletes_its_copy_and_looks_again(world: World) -> None:
    """Two attempts saw no ledger; one may post."""
    loser = submission(world, "b")
    original = loser.inputs.copy

    def slow(epoch: int, nonce: str) -> str:
        loser.inputs.copy = original  # type: ignore[method-assign]  # only the first copy is slow
        uri = original(epoch, nonce)
        run(world, "a")
        return uri

    loser.inputs.copy = slow  # type: ignore[method-assign]  # only the first copy is slow
    made = loser.run()
    assert isinstance(made, Job)
    assert (world.posts, len(inputs(world)), entry(world).owner) == (1, 1, "b")


def test_of_several_jobs_the_oldest_is_kept_the_rest_is_cancelled_and_an_error_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It should not happen; if it does, it is told."""
    first = run(world)
    second = replace(first, name=first.name + "9", create_time=(first.create_time or 0) + 1)
    world.jobs[second.name] = Posted(job=second, visible=0)
    del world.objects[str(FOLDER.ledger(0))]
    with caplog.at_level(logging.ERROR, logger="submission_world"):
        assert run(world, "b").name == first.name
    assert world.jobs[second.name].job.state == "JOB_STATE_CANCELLING"
    assert f"{second.name} was paid for beside {first.name}" in caplog.text


def test_spare_jobs_are_cancelled_only_by_whoever_then_owns_the_ledger(world: World) -> None:
    """An overtaken attempt finds several jobs, cannot write down that it adopts one, and leaves all alone."""
    run(world)
    [first] = world.jobs.values()
    for number in (8, 9):
        other = replace(first.job, name=f"{first.job.name}{number}", create_time=2000.0 + number)
        world.jobs[other.name] = Posted(job=other, visible=0)
    del world.objects[str(FOLDER.ledger(0))]
    loser = submission(world, "b")
    original = loser.vertex.list

    def slow(**options: Any) -> tuple[Job, ...]:
        found = original(**options)
        world.put(
            FOLDER.ledger(0), replace(LEFT, owner="c", job_name=first.job.name, state="SUBMITTED").to_json()
        )
        return found

    loser.vertex.list = slow  # type: ignore[method-assign]  # somebody else is faster
    with pytest.raises(OwnershipLostError):
        loser.run()
    assert {posted.job.state for posted in world.jobs.values()} == {"JOB_STATE_PENDING"}


LEFT = Ledger(
    state="INTENT",
    epoch=1,
    since=1,
    nonce="left",
    owner="a",
    fingerprint=manifest().fingerprint(0),
    input_uri="gs://bucket/work/input/part-00000/e1-left.jsonl",
    destination_uri="gs://bucket/work/predictions/part-00000",
)


def test_without_a_ledger_stale_jobs_are_cancelled_by_whoever_wrote_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Before that nobody knows whose turn it is."""
    old = run(world)
    del world.objects[str(FOLDER.ledger(0))]
    with caplog.at_level(logging.WARNING, logger="submission_world"):
        run(world, "b", manifest=manifest("changed"))
    told = [event.split(" ", 1)[1] for event in world.trace]
    assert world.jobs[old.name].job.state == "JOB_STATE_CANCELLING"
    assert told.index("cancel") > len(told) - 1 - told[::-1].index("write INTENT")
    assert "requests that have changed since" in caplog.text


@pytest.mark.parametrize("answered", [True, False])
def test_what_a_dead_job_without_counts_left_decides_whether_it_is_bought_again(
    world: World, answered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty file is no answer, nor is what was exported while it ran."""
    made = run(world)
    folder = "gs://bucket/work/predictions/part-00000/prediction-model-2026"
    world.change(world.jobs[made.name], state="JOB_STATE_CANCELLED", output_uri=folder)
    world.put(GcsUri.parse(f"{folder}/incremental_predictions.jsonl"), b"{}")
    world.put(GcsUri.parse(f"{folder}/predictions.jsonl-00000-of-00002"), b"")
    if answered:
        world.put(GcsUri.parse(f"{folder}/predictions.jsonl-00001-of-00002"), b"{}")
    with caplog.at_level(logging.INFO, logger="submission_world"):
        found = run(world, "b")
    assert (found.name == made.name, world.posts) == ((True, 1) if answered else (False, 2))
    assert f"told no counts; at {folder} lies {'something' if answered else 'nothing'}" in caplog.text


def test_an_adopted_job_of_another_epoch_closes_the_door_behind_it(world: World) -> None:
    """A post of the open intent may still come: its input goes first."""
    made = run(world)
    world.advance(world.jobs[made.name])
    open_intent = Ledger(
        state="INTENT",
        epoch=2,
        since=1,
        nonce="other",
        owner="b",
        fingerprint=manifest().fingerprint(0),
        input_uri="gs://bucket/work/input/part-00000/e2-other.jsonl",
        destination_uri="gs://bucket/work/predictions/part-00000",
    )
    world.put(FOLDER.job_input(0, 2, "other"), b"requests")
    world.put(FOLDER.ledger(0), open_intent.to_json())
    assert run(world, "c").name == made.name
    assert open_intent.input_uri not in world.objects
    assert (entry(world).job_name, entry(world).epoch) == (made.name, 2)


def test_requests_that_are_not_what_was_prepared_are_not_submitted(world: World) -> None:
    """The checksum of the copy is compared with the manifest's."""
    other = replace(manifest(), parts=(replace(manifest().parts[0], checksum="other"),))
    with pytest.raises(SourceError, match="is not what was prepared"):
        run(world, manifest=other)
    assert (world.posts, inputs(world)) == (0, [])


def test_answers_for_a_table_go_to_one_that_no_other_job_writes_to(world: World) -> None:
    """The epoch is in its name."""
    tables = replace(manifest(), predictions="bigquery", predictions_dataset="demo.answers")
    vertex = Vertex(world, [ServiceError("quota", http_status=429)])
    with pytest.raises(ServiceError):
        run(world, manifest=tables, vertex=vertex)
    run(world, "b", manifest=tables)
    assert entry(world).destination_uri == f"bq://demo.answers.gemini_predictions_{tables.batch_id}_00000_e2"


def test_a_ledger_that_cannot_be_withdrawn_does_not_hide_why(world: World) -> None:
    """Storage down right after a refusal: the refusal is told, and the intent stays to be resolved."""

    class Down(Vertex):
        def create(self, **request: Any) -> Job:
            original = world.put

            def down(*_: Any) -> Any:
                world.put = original  # type: ignore[method-assign]  # down for one write
                raise ServiceError("storage is down")

            world.put = down  # type: ignore[method-assign]  # down for one write
            raise SubmitRefusedError("bad model")

    with pytest.raises(SubmitRefusedError, match="bad model"):
        run(world, vertex=Down(world))
    assert entry(world).state == "INTENT"


def test_a_settle_time_is_counted_from_the_ledgers_last_change(world: World) -> None:
    """Not from the worker's clock."""
    outcome = submission(world, "a", vertex=LostRequest(world)).run()
    assert isinstance(outcome, WaitFor)
    assert outcome.seconds == pytest.approx(SETTLE, abs=0.1)
