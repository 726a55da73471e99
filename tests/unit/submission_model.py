"""A model of the submission protocol: every order of events of a few attempts, with the real decision inside.

The state is the ledger, the jobs, the inputs that exist, and what each attempt is about to do. An attempt does one
thing at a time to the world outside it; what it does next is asked of the real ``next_step``. :func:`explore` visits
every state that can be reached, breadth first; ``python tests/unit/submission_model.py 0,0,0,0 2 0 1`` does so within
the bounds that it is told (see :func:`main`). What may happen, at any time and in any order:

- An attempt stops between any two of its steps and goes on any time later, or never: a stall, a zombie, a crash. A
  compare-and-set, delete or cancel that arrives late, or whose answer is lost so that its sender fails, is a stall
  before or after it. A new attempt begins; one that waits comes back as another process.
- The answer of a post is lost; the post arrives any time later or never. A post is refused (429), as often as it likes.
- A job starts and bills if its input exists, fails unbilled if not. It succeeds, or dies with answers, or without; one
  that is being cancelled may end in all of these ways. A dead job tells no counts, so that its output is looked into.
- Somebody with the ledger's present owner gives the job up: CANCELLING, cancel, CANCELLED.
- Later attempts may want other requests (another fingerprint) than earlier ones.

What is left out of the state, and why no double payment is lost with it (each time more may happen than really can):

- *Clocks.* The decision asks only whether the settle time S has passed between the ledger's last change (at w) and a
  look at the clock (at t) right before a listing. Listings lag less than S, so one after t >= w + S shows every job
  created before w. Here S may be found passed at any time; that listing shows every paid or cancelled job from before
  the last change of the ledger, and whatever else it likes. Any other listing shows what it likes, even less than
  one before it did. To an attempt with an outdated view of the ledger clock and listing say what they like.
- *Whether a post has arrived* as long as its job bills nothing and nobody cancelled it: listings may show it or not.
- *How a job is that has been paid for*: each look may find it running, being cancelled, succeeded or dead with
  answers.
- *When a job begins to bill*: that is settled when somebody sees the job, or cancels it, or deletes its input. Until
  then it counts as paid if it still can be. So two that are paid or still can be are a double payment: both could
  begin now.
- *The moment between a decision and its compare-and-set.* When nobody changed the ledger in between, what others did in
  between they may do right after; when somebody did, it fails and the attempt reads anew. Likewise an attempt that
  has read the ledger and not acted is one that has not read it yet, until the ledger changes: then it may be one that
  has an outdated view.
- Epochs keep their order only; attempts that can only stop are gone, as are dead jobs without answers that no ledger
  names, and inputs that nobody can read any more.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from airflow_batch_gemini.batch import submission
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import EPOCH, FINGERPRINT, NONCE
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.steps import (
    Adopt,
    Cancel,
    DeleteInputs,
    Fence,
    ListJobs,
    LookAt,
    Post,
    Step,
    WaitFor,
    WriteIntent,
)
from airflow_batch_gemini.batch.submission import Rules, Sight

Decide = Callable[[Sight, Rules], Step]

OPEN, STOPPING, ENDING, DOOMED, PAID, KNOWN, VOID = (
    "open",
    "stopping",
    "ending",
    "doomed",
    "paid",
    "known",
    "void",
)
"""A job that may begin to bill; the same, being cancelled; that since before the ledger's last change, so that each
settled listing shows it; one whose input was deleted before it began; one that has billed; that since before the
ledger's last change; one that is over and answered nothing."""
_UNPAID = frozenset({OPEN, STOPPING, ENDING})
_MAY_PAY = _UNPAID | {PAID, KNOWN}
_BEFORE = {STOPPING: ENDING, PAID: KNOWN}
"""What a job becomes by a change of the ledger."""
_PAID_LOOKS = ("RUNNING", "CANCELLING", "SUCCEEDED", "CANCELLED")


class Led(NamedTuple):
    """The ledger without its owner. An intent, its input and its nonce are called by its epoch."""

    state: str
    epoch: int
    since: int
    nonce: int
    wants: int
    fences: tuple[int, ...] = ()
    job: int = -1


class Bought(NamedTuple):
    """A job, or the post of one. Its name is its place in the state, and so is its age."""

    epoch: int
    wants: int
    worth: str


class Att(NamedTuple):
    """What an attempt is about to do, and the outdated ledger it acts upon; ``None``: the present one."""

    wants: int
    does: str
    view: Led | None = None
    data: tuple[Any, ...] = ()
    cancelled: tuple[int, ...] = ()


class State(NamedTuple):
    """Everything. ``user`` is how far the giving up of a job is; ``lost`` and ``deaths`` may still happen so often."""

    ledger: Led
    owner: int
    jobs: tuple[Bought, ...]
    inputs: frozenset[int]
    attempts: tuple[Att, ...]
    user: tuple[Any, ...]
    lost: int
    deaths: int


NO_LEDGER = Led("", 0, 0, 0, 0)
GONE = Att(0, "gone")
_NAMES_JOBS = frozenset({"look", "submitted", "cancel", "kill"})


@dataclass
class Model:
    """The transition relation.

    :param wants: the fingerprint each attempt wants, oldest attempt first.
    :param lost: so many posts lose their answers.
    :param deaths: so many jobs die by themselves without an answer.
    :param gives_up: whether the user's cancel happens.
    :param decide: the decision.
    """

    wants: tuple[int, ...]
    lost: int
    deaths: int = 0
    gives_up: bool = False
    decide: Decide = submission.next_step
    give_way: bool = True
    prune: bool = True
    spurious: str = ""
    _asked: dict[Any, tuple[Any, ...]] = field(default_factory=dict)
    _judged: dict[Any, list[Any]] = field(default_factory=dict)

    def initial(self) -> State:
        attempts = tuple(Att(wants, "read") for wants in self.wants)
        user = ("may",) if self.gives_up else ()
        return State(NO_LEDGER, 0, (), frozenset(), attempts, user, self.lost, self.deaths)

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield every event that may come next, and the state after it."""
        for place, att in enumerate(state.attempts):
            yield from self.acts(state, place, att)
        yield from self._give_up(state)

    def acts(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        """Yield what attempt *place* may do next."""
        for label, after in getattr(self, f"_{att.does}")(state, place, att):
            yield f"{place} {label}", after

    # ---- asking the decision

    def ask(
        self, ledger: Led, owner: int, wants: int, jobs: Any = None, *, settled: bool = False,
        armed: bool = False, cancelled: tuple[int, ...] = (),
    ) -> tuple[Any, ...]:  # fmt: skip
        """Return the next step as a tuple.

        :param owner: 1 is the ledger's, 0 an older one, 2 a newer one.
        :param jobs: name, job and the state it shows.
        """
        key = (ledger, owner, wants, jobs, settled, armed, cancelled)
        if key not in self._asked:
            sight = Sight(
                ledger=_ledger(ledger),
                now=10.0 if settled else 0.0,
                jobs=None if jobs is None else tuple(_job(*one) for one in jobs),
                armed=armed,
                cancelled=frozenset(f"j{name}" for name in cancelled),
                # Where a dead job wrote nothing changes any more, so that looking is no event.
                answered={f"j{name}": bought.worth != VOID for name, bought, _ in jobs or ()},
            )
            rules = Rules(owner=str(owner), fingerprint=f"f{wants}", settle_seconds=5.0)
            self._asked[key] = _plain(self.decide(sight, rules))
        return self._asked[key]

    def judge(self, state: State, place: int, att: Att, names: list[int] | None) -> list[Any]:
        """Return jobs, deaths left and step after a look at *names*, or a listing, for every way it may turn out."""
        fresh, ledger = att.view is None, att.view or state.ledger
        owner = _relation(state, place) if fresh else 2
        key = (ledger, fresh, owner, state.jobs, state.deaths, att.wants, att.cancelled, names and names[0])
        if key not in self._judged:
            found = {}
            for settled in (False, True) if names is None else (False,):
                for shown in _shown(state, ledger, names, sure=settled and fresh):
                    for jobs, deaths, seen in _observed(state, shown):
                        step = self.ask(
                            ledger, owner, att.wants, seen, settled=settled, cancelled=att.cancelled
                        )
                        found[jobs, deaths, step] = f"{'settled ' * settled}{[(n, s) for n, _, s in seen]}"
            self._judged[key] = [(f"sees {what}", *how) for how, what in found.items()]
        return self._judged[key]

    # ---- what an attempt does

    def _read(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        """Read the ledger and take the first step after that, which acts upon the present ledger."""
        step = self.ask(state.ledger, _relation(state, place), att.wants, cancelled=att.cancelled)
        if step[0] in {"list", "look"}:
            yield from self._observe(state, place, att, step)
        else:
            yield from self.take(state, place, att, step)

    def _list(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        yield from self._observe(state, place, att, ("list",))

    def _look(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        yield from self._observe(state, place, att, ("look", *att.data))

    def _observe(self, state: State, place: int, att: Att, step: Any) -> Iterator[tuple[str, State]]:
        ledger, owner, _, inputs, attempts, user, lost, _ = state
        for label, jobs, deaths, then in self.judge(state, place, att, list(step[1:]) or None):
            after = State(ledger, owner, jobs, inputs, attempts, user, lost, deaths)
            for more, taken in self.take(after, place, att, then):
                yield f"{label}, {more}", taken

    def take(self, state: State, place: int, att: Att, step: tuple[Any, ...]) -> Iterator[tuple[str, State]]:
        """Yield what comes of the decision for *step*: a change of the ledger at once, all else later."""
        does, *data = step
        fresh = att.view is None
        if does == "adopt" and not data[2] and fresh:
            yield from self._adopt(state, place, att._replace(data=tuple(data)))
        elif does in {"intent", "fence"} and fresh:
            yield from getattr(self, f"_{does}")(state, place, att, *data)
        elif does == "wait" or does in {"intent", "fence"} or (does == "adopt" and not data[2]):
            yield does, _with(state, place, Att(att.wants, "read"))
        elif does == "stop":
            yield does, _with(state, place, GONE)
        elif does in {"list", "look"} and fresh:
            yield does, _with(state, place, Att(att.wants, "read", cancelled=att.cancelled))
        elif does == "adopt" and not fresh:
            yield does, _with(state, place, Att(att.wants, "wipe", None, (data[2],)))
        else:
            yield does, _with(state, place, Att(att.wants, does, att.view, tuple(data), att.cancelled))

    def _intent(self, state: State, place: int, att: Att, *data: Any) -> Iterator[tuple[str, State]]:
        epoch, since, stale = data
        assert not stale, "jobs without a ledger"
        assert all(job.epoch != epoch for job in state.jobs), "two intents of one epoch"
        ledger = Led("INTENT", epoch, since, epoch, att.wants)
        after = state._replace(inputs=state.inputs | {epoch})
        step = self.ask(ledger, 1, att.wants, armed=True)
        for written in self.written(after, ledger, place, _owner(place)):
            for more, taken in self.take(written, place, Att(att.wants, ""), step):
                yield f"writes INTENT {epoch}, {more}", taken

    def _post(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        ledger = att.view or state.ledger
        name = len(state.jobs)
        worth = OPEN if ledger.epoch in state.inputs else DOOMED
        made = state._replace(jobs=(*state.jobs, Bought(ledger.epoch, ledger.wants, worth)))
        yield f"posts {name}", _with(made, place, att._replace(does="submitted", data=(name,)))
        if state.lost:
            step = self.ask(ledger, 1, att.wants)
            for _, taken in self.take(made._replace(lost=state.lost - 1), place, att, step):
                yield f"posts {name} and hears nothing", taken
        if att.view is None:
            refused = ledger._replace(state="REFUSED")
            for written in self.written(state, refused, place, _owner(place)):
                yield "is refused", _with(written, place, Att(att.wants, "read"))
        else:
            yield "is refused", _with(state, place, Att(att.wants, "read"))

    def _submitted(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        [name] = att.data
        if att.view is None:
            ledger = state.ledger._replace(state="SUBMITTED", job=name, fences=())
            for written in self.written(state, ledger, place, _owner(place)):
                yield f"writes SUBMITTED {name}", _with(written, place, GONE)
            return
        now = state.ledger
        spared = now == NO_LEDGER or now.job == name or now.state in {"FENCING", "FENCED"}
        after = GONE if spared else Att(att.wants, "kill", None, (name,))
        yield "finds itself overtaken", _with(state, place, after)

    def _fence(self, state: State, place: int, att: Att, since: int) -> Iterator[tuple[str, State]]:
        old = state.ledger
        epoch = old.epoch + 1
        ledger = Led("FENCING", epoch, since, -epoch, att.wants, (*old.fences, old.epoch))
        step = self.ask(ledger, 1, att.wants)
        for written in self.written(state, ledger, place, _owner(place)):
            for more, taken in self.take(written, place, Att(att.wants, ""), step):
                yield f"writes FENCING, {more}", taken

    def _delete(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        """Delete one input; after the last one write FENCED."""
        fences = att.data[0]
        for after in _deleted(state, fences[0]) if fences else (state,):
            label = f"deletes {fences[:1]}"
            if fences[1:]:
                yield label, _with(after, place, att._replace(data=(fences[1:],)))
            else:
                ledger = after.ledger._replace(state="FENCED", fences=())
                for written in self.written(after, ledger, place, _owner(place)):
                    yield f"{label}, writes FENCED", _with(written, place, Att(att.wants, "read"))

    def _wipe(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        """Delete inputs for what is not the ledger any more, so that nothing else follows."""
        first, *more = att.data[0]
        for after in _deleted(state, first):
            yield f"deletes {first}", _with(after, place, att._replace(data=(tuple(more),)))

    def _cancel(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        name = att.data[0]
        done = att._replace(cancelled=tuple(sorted({*att.cancelled, name})))
        step = self.ask(att.view or state.ledger, 2, att.wants, cancelled=done.cancelled)
        for after in self._stop(state, place, att, name):
            for _, taken in self.take(after, place, done, step):
                yield f"cancels {name}", taken

    def _kill(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        """Cancel these jobs and stop."""
        name, *more = att.data
        for after in self._stop(state, place, att, name):
            yield f"cancels {name}", _with(after, place, att._replace(data=tuple(more)) if more else GONE)

    def _adopt(self, state: State, place: int, att: Att) -> Iterator[tuple[str, State]]:
        name, spare, fences, epoch = att.data
        then = Att(att.wants, "kill", None, spare) if spare else GONE
        if fences:
            for after in _deleted(state, fences[0]):
                rest = att._replace(does="adopt", data=(name, spare, fences[1:], epoch))
                yield f"deletes {fences[0]}", _with(after, place, rest)
            return
        before = state.ledger
        if (before.state, before.job, before.wants, state.owner) == (
            "SUBMITTED",
            name,
            att.wants,
            _owner(place),
        ):
            yield f"keeps {name}", _with(state, place, then)
            return
        epoch = epoch or before.epoch or 1
        since = min(before.since or epoch, epoch)
        ledger = Led("SUBMITTED", epoch, since, state.jobs[name].epoch, att.wants, (), name)
        for written in self.written(state, ledger, place, _owner(place)):
            yield f"adopts {name}", _with(written, place, then)

    def _gone(self, *_: Any) -> Iterator[tuple[str, State]]:
        yield from ()

    # ---- what others do

    def _give_up(self, state: State) -> Iterator[tuple[str, State]]:
        """The kill policy: compare-and-set to CANCELLING, cancel, compare-and-set to CANCELLED."""
        phase, *data = state.user or ("",)
        ledger = state.ledger
        if phase == "may" and ledger.state == "SUBMITTED":
            for after in self.written(state, ledger._replace(state="CANCELLING"), -1, state.owner):
                yield "user gives up", after._replace(user=("cancels", ledger.job, True))
        elif phase == "cancels":
            for jobs, deaths, [(_, job, shown)] in _observed(state, [data[0]]):
                ended = job.worth == VOID or shown in {"SUCCEEDED", "CANCELLED"}
                after = _stopped(state._replace(jobs=jobs, deaths=deaths), data[0])
                says = ("says", "SUBMITTED" if ended else "CANCELLED") if data[1] else ()
                yield "user cancels", after._replace(user=says)
        elif phase == "says":
            for after in self.written(state, ledger._replace(state=data[0]), -1, state.owner):
                yield f"user writes {data[0]}", after._replace(user=())

    def written(self, state: State, ledger: Led, place: int, owner: int) -> Iterator[State]:
        """Change the ledger. Whoever may have read it has an outdated view from now on."""
        old = state.ledger
        choices = []
        for other, att in enumerate(state.attempts):
            now = [att]
            if att.does == "read" and other != place:
                step = self.ask(old, _relation(state, other), att.wants, cancelled=att.cancelled)
                given_up = old.state in {"CANCELLING", "CANCELLED"}
                if step[0] == "list" or (step[0] == "look" and given_up):
                    now.append(att._replace(does=step[0], view=old, data=step[1:]))
            elif other != place and att.view is None and att.does not in {"gone", "kill", "wipe"}:
                now = [_outdated(att, old)]
            choices.append(now)
        jobs = tuple(
            job._replace(worth=_BEFORE[job.worth]) if job.worth in _BEFORE else job for job in state.jobs
        )
        user = state.user
        if user and user[0] != "may":
            user = ("cancels", user[1], False) if user[0] == "cancels" else ()
        for attempts in product(*choices):
            yield State(ledger, owner, jobs, state.inputs, attempts, user, state.lost, state.deaths)

    def _stop(self, state: State, place: int, att: Att, name: int) -> Iterator[State]:
        for jobs, deaths, [(_, job, shown)] in _observed(state, [name]):
            after = state._replace(jobs=jobs, deaths=deaths)
            ledger = after.ledger
            its = (ledger.state, ledger.nonce) == ("INTENT", job.epoch) or (
                (ledger.state, ledger.job) == ("SUBMITTED", name)
            )
            runs = shown == "RUNNING" or job.worth == OPEN
            given_up = self.gives_up and state.user != ("may",)
            if its and runs and not given_up and (att.wants == job.wants or _owner(place) < state.owner):
                self.spurious = f"{place} cancelled {name}, which the ledger counts on"
            yield _stopped(after, name)

    # ---- merging what nothing can tell apart

    def simplest(self, state: State, att: Att) -> Att:
        """Return what *att* comes to when what it is about to do changes nothing any more."""
        if att.does in {"read", "gone"} and not att.cancelled:
            return att
        jobs = state.jobs
        again = Att(att.wants, "read")
        if att.cancelled:
            kept = tuple(n for n in att.cancelled if jobs[n].worth in _MAY_PAY)
            att = att if len(kept) == len(att.cancelled) else att._replace(cancelled=kept)
        if att.does == "wipe":
            alive = tuple(epoch for epoch in att.data[0] if epoch in state.inputs)
            return att._replace(data=(alive,)) if alive else again
        if att.does == "kill":
            data = tuple(n for n in att.data if jobs[n].worth in {OPEN, PAID, KNOWN})
            return att._replace(data=data) if data else GONE
        if att.does == "submitted" and att.view and jobs[att.data[0]].worth in {DOOMED, VOID}:
            return GONE
        if att.does == "cancel" and jobs[att.data[0]].worth in {DOOMED, VOID}:
            att = Att(att.wants, "list" if att.view else "read", att.view, (), att.cancelled)
        if att.does == "list" and self.prune and self.harmless(state, att):
            return again
        return att

    def harmless(self, state: State, att: Att) -> bool:
        """Whether a listing by one with an outdated view leads to nothing but a compare-and-set, which fails.

        It may cancel jobs of epochs that it knows, and delete the input of the intent it knows.
        """
        view = att.view
        assert view is not None
        if any(epoch <= view.epoch for epoch in state.inputs):
            return False
        steps = (step for _, _, _, step in self.judge(state, 0, att, None))
        return not any(step[0] == "cancel" and state.jobs[step[1]].worth != DOOMED for step in steps)

    def canonical(self, state: State) -> State:
        """Return the one state that stands for all that are like this one."""
        ledger, top, jobs, inputs, attempts, user, lost, deaths = state
        kept, places = [], []
        for place, att in enumerate(attempts):
            simple = att if att.does == "post" else self.simplest(state, att)
            asleep = simple.does == "read" and self.give_way and 2 * place + 2 < top
            if simple.does != "gone" and not asleep:
                kept.append(simple)
                places.append(place)
        if len(kept) < len(attempts):
            below = sum(2 * place + 2 < top for place in places)
            top = 2 * below + (2 if top % 2 == 0 and top // 2 - 1 in places else 1)
        read = {job.epoch for job in jobs if job.worth in _UNPAID}
        ledgers = {ledger}
        for att in kept:
            if att.view is not None:
                ledgers.add(att.view)
            if att.does == "post":
                read.add((att.view or ledger).epoch)
        state = State(ledger, top, jobs, inputs & read, tuple(kept), user, lost, deaths)
        if any(job.worth == VOID for job in jobs):
            state = _without_dead(state, ledgers)
        return _renumbered(state, ledgers)


def _outdated(att: Att, old: Led) -> Att:
    """Return an attempt whose view of the ledger is *old*, as far as it still matters what it was."""
    if att.does == "delete":
        return Att(att.wants, "wipe", None, att.data)
    if att.does == "adopt":
        return Att(att.wants, "wipe", None, (att.data[2],))
    if att.does == "submitted":
        return Att(att.wants, "submitted", NO_LEDGER, att.data)
    return att._replace(view=old)


def _owner(place: int) -> int:
    """Between the owners of two attempts is room for one who is gone."""
    return 2 * place + 2


def _relation(state: State, place: int) -> int:
    mine = _owner(place)
    return 1 if mine == state.owner else 2 if mine > state.owner else 0


def _ledger(led: Led) -> Ledger | None:
    if led == NO_LEDGER:
        return None
    return Ledger(
        state=led.state,  # type: ignore[arg-type]  # one of its words
        epoch=led.epoch,
        since=led.since,
        nonce=f"n{led.nonce}",
        owner="1",
        fingerprint=f"f{led.wants}",
        input_uri=f"i{led.epoch}",
        destination_uri="",
        job_name=f"j{led.job}" if led.job >= 0 else None,
        fences=tuple(f"i{epoch}" for epoch in led.fences),
    )


def _job(name: int, bought: Bought, state: str) -> Job:
    labels = {EPOCH: str(bought.epoch), NONCE: f"n{bought.epoch}", FINGERPRINT: f"f{bought.wants}"}
    return Job(
        name=f"j{name}",
        state=f"JOB_STATE_{state}",
        labels=labels,
        output_uri="gs://o",
        create_time=float(name),
    )


def _plain(step: Step) -> tuple[Any, ...]:  # noqa: PLR0911  # one line a step
    match step:
        case ListJobs():
            return ("list",)
        case LookAt():
            return ("look", int(step.job_name[1:]))
        case WriteIntent():
            return ("intent", step.epoch, step.since, tuple(int(j.name[1:]) for j in step.stale))
        case Post():
            return ("post",)
        case Adopt():
            spare = tuple(int(job.name[1:]) for job in step.spare)
            return ("adopt", int(step.job.name[1:]), spare, _epochs(step.fences), step.epoch)
        case Cancel():
            return ("cancel", int(step.job.name[1:]))
        case Fence():
            return ("fence", step.since)
        case DeleteInputs():
            return ("delete", _epochs(step.fences))
        case WaitFor():
            return ("wait",)
    return ("stop",)


def _epochs(inputs: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(int(uri[1:]) for uri in inputs)


def _with(state: State, place: int, att: Att) -> State:
    ledger, owner, jobs, inputs, attempts, user, lost, deaths = state
    attempts = (*attempts[:place], att, *attempts[place + 1 :])
    return State(ledger, owner, jobs, inputs, attempts, user, lost, deaths)


def _shown(state: State, ledger: Led, names: list[int] | None, *, sure: bool) -> Iterator[list[int]]:
    """Yield which jobs a listing may show."""
    if names is not None:
        yield names
        return
    must = {
        n for n, job in enumerate(state.jobs) if n == ledger.job or (sure and job.worth in {KNOWN, ENDING})
    }
    may = [n for n in range(len(state.jobs)) if n not in must]
    for more in _subsets(may):
        yield sorted([*must, *more])


def _looks(job: Bought, *, deaths: int) -> list[tuple[str, str]]:
    """Return what a job may be by now, and the state it shows."""
    paid = [(KNOWN if job.worth in {KNOWN, ENDING} else PAID, look) for look in _PAID_LOOKS]
    dead = [(VOID, "FAILED")]
    if job.worth == OPEN:
        return [(OPEN, "PENDING"), *(dead if deaths else []), *paid]
    if job.worth in {STOPPING, ENDING}:
        return [(job.worth, "CANCELLING"), *dead, *paid]
    if job.worth == DOOMED:
        return [(DOOMED, "PENDING"), (DOOMED, "CANCELLING"), *dead]
    return dead if job.worth == VOID else paid


def _observed(state: State, names: list[int]) -> Iterator[tuple[Any, int, Any]]:
    """Yield all jobs, the deaths left, and what the jobs *names* show."""
    jobs = state.jobs
    choices = [_looks(jobs[n], deaths=state.deaths) for n in names]
    for looks in product(*choices):
        deaths, now, seen = state.deaths, list(jobs), []
        for name, (worth, look) in zip(names, looks, strict=True):
            job = jobs[name]
            deaths -= job.worth == OPEN and worth == VOID
            now[name] = job._replace(worth=worth)
            seen.append((name, now[name], look))
        if deaths >= 0:
            yield tuple(now), deaths, tuple(seen)


def _deleted(state: State, epoch: int) -> Iterator[State]:
    """Delete an input: what has not begun to read it cannot be paid any more."""
    if epoch not in state.inputs:
        yield state
        return
    readers = [n for n, job in enumerate(state.jobs) if job.epoch == epoch and job.worth in _UNPAID]
    for begun in _subsets(readers):
        jobs = tuple(
            j._replace(worth=DOOMED if n not in begun else KNOWN if j.worth == ENDING else PAID)
            if n in readers
            else j
            for n, j in enumerate(state.jobs)
        )
        yield state._replace(inputs=state.inputs - {epoch}, jobs=jobs)


def _stopped(state: State, name: int) -> State:
    job = state.jobs[name]
    if job.worth != OPEN:
        return state
    return state._replace(jobs=(*state.jobs[:name], job._replace(worth=STOPPING), *state.jobs[name + 1 :]))


def _subsets(names: list[int]) -> Iterator[list[int]]:
    for choice in product((False, True), repeat=len(names)):
        yield [name for name, chosen in zip(names, choice, strict=True) if chosen]


def payments(state: State, wants: int) -> int:
    """Return how many jobs of a fingerprint are paid for or still may be."""
    return sum(job.wants == wants and job.worth in _MAY_PAY for job in state.jobs)


def _without_dead(state: State, ledgers: set[Led]) -> State:
    """Forget jobs that answered nothing and that no ledger knows of."""
    named, nonces = {led.job for led in ledgers}, {led.nonce for led in ledgers}
    for att in state.attempts:
        named.update(att.cancelled)
        if att.does in _NAMES_JOBS:
            named.update(att.data)
        elif att.does == "adopt":
            named.update((att.data[0], *att.data[1]))
    if state.user and state.user[0] == "cancels":
        named.add(state.user[1])
    kept = [n for n, j in enumerate(state.jobs) if j.worth != VOID or n in named or j.epoch in nonces]
    if len(kept) == len(state.jobs):
        return state
    place = {name: n for n, name in enumerate(kept)} | {-1: -1}

    def renamed(old: Att) -> Att:
        data = old.data
        if old.does in _NAMES_JOBS:
            data = tuple(place[n] for n in data)
        elif old.does == "adopt":
            data = (place[data[0]], tuple(place[n] for n in data[1]), *data[2:])
        view = old.view and old.view._replace(job=place[old.view.job])
        return Att(old.wants, old.does, view, data, tuple(place[n] for n in old.cancelled))

    user = state.user
    if user and user[0] == "cancels":
        user = (user[0], place[user[1]], user[2])
    return state._replace(
        ledger=state.ledger._replace(job=place[state.ledger.job]),
        jobs=tuple(state.jobs[n] for n in kept),
        attempts=tuple(map(renamed, state.attempts)),
        user=user,
    )


def _renumbered(state: State, ledgers: set[Led]) -> State:
    """Give the epochs the smallest numbers that keep their order; 1 stays, being the first one there can be."""
    used = {1, *state.inputs, *(job.epoch for job in state.jobs)}
    for led in ledgers:
        used.update((led.epoch, led.since, *led.fences, abs(led.nonce)))
    for att in state.attempts:
        if att.does in {"delete", "wipe"}:
            used.update(att.data[0])
        elif att.does == "adopt":
            used.update((*att.data[2], att.data[3]))
    used.discard(0)
    if max(used) == len(used):
        return state
    new = {epoch: n + 1 for n, epoch in enumerate(sorted(used))} | {0: 0}
    new |= {-epoch: -n for epoch, n in new.items()}

    def led_(old: Led) -> Led:
        fences = tuple(new[epoch] for epoch in old.fences)
        return Led(old.state, new[old.epoch], new[old.since], new[old.nonce], old.wants, fences, old.job)

    def att_(old: Att) -> Att:
        data = old.data
        if old.does in {"delete", "wipe"}:
            data = (tuple(new[epoch] for epoch in data[0]),)
        elif old.does == "adopt":
            data = (data[0], data[1], tuple(new[epoch] for epoch in data[2]), new[data[3]])
        return Att(old.wants, old.does, old.view and led_(old.view), data, old.cancelled)

    return state._replace(
        ledger=led_(state.ledger),
        jobs=tuple(Bought(new[job.epoch], job.wants, job.worth) for job in state.jobs),
        inputs=frozenset(new[epoch] for epoch in state.inputs),
        attempts=tuple(map(att_, state.attempts)),
    )


# ---- exploring


@dataclass
class Found:
    """What an exploration came to."""

    states: int
    worlds: int
    """Ledgers, jobs and inputs, whatever the attempts are about to do."""
    wrong: str = ""
    story: tuple[str, ...] = ()


def explore(model: Model, *, cancels: bool = True, limit: int = 0, ends: bool = True) -> Found:
    """Visit every reachable state; stop at the first one that is wrong, or after *limit* states.

    :param cancels: whether a cancelled job that the ledger counts on is wrong, too.
    :param ends: whether from every state an undisturbed attempt has to end with one job.
    """
    gc.disable()  # nothing here goes in circles, and there is much of it
    try:
        return _explore(model, cancels=cancels, limit=limit, ends=ends)
    finally:
        gc.enable()


def _explore(model: Model, *, cancels: bool, limit: int, ends: bool) -> Found:
    start = model.canonical(model.initial())
    came: dict[int, tuple[int, str]] = {hash(start): (0, "")}
    frontier, worlds, raws = [start], set(), set()
    while frontier and not (limit and len(came) > limit):
        coming = []
        for state in frontier:
            before = hash(state)
            world = (state.ledger, state.jobs, state.inputs)
            if world not in worlds:
                worlds.add(world)
                if ends and (wrong := stuck(model, state)):
                    return Found(len(came), len(worlds), wrong, _story(came, before))
            for label, raw in model.successors(state):
                wrong = _wrong(model, raw, cancels=cancels)
                rough = hash(raw)
                if rough in raws and not wrong:
                    continue
                raws.add(rough)
                after = model.canonical(raw)
                key = hash(after)
                if wrong:
                    return Found(len(came), len(worlds), wrong, (*_story(came, before), label))
                if key not in came:
                    came[key] = (before, label)
                    coming.append(after)
        frontier = coming
    return Found(len(came), len(worlds))


def _wrong(model: Model, state: State, *, cancels: bool) -> str:
    spurious, model.spurious = model.spurious, ""
    if len(state.jobs) > 1 and any(payments(state, wants) > 1 for wants in set(model.wants)):
        return "paid twice"
    return spurious if cancels else ""


def _story(came: dict[int, tuple[int, str]], key: int) -> tuple[str, ...]:
    story = []
    while key:
        key, label = came[key]
        story.append(label)
    return tuple(story[-2::-1])


def stuck(model: Model, state: State) -> str:
    """Return what keeps a new attempt from ending with the one job when everybody else stands still."""
    wants, place = model.wants[-1], len(state.attempts)
    attempts = (*(GONE for _ in state.attempts), Att(wants, "read"))
    now = state._replace(attempts=attempts, user=(), lost=0, deaths=0)
    for _ in range(60):
        att = now.attempts[place]
        if att.does == "gone":
            return _bad_end(now, wants)
        now = now._replace(jobs=tuple(job._replace(worth=_RUSHED[job.worth]) for job in now.jobs))
        options = list(model.acts(now, place, att))
        moving = [after for label, after in options if not label.endswith("wait")]
        now = (moving or [options[-1][1]])[-1 if att.does == "read" else 0]
    return f"no end: {now}"


_RUSHED = {
    OPEN: KNOWN, STOPPING: VOID, ENDING: VOID, DOOMED: VOID, PAID: KNOWN, KNOWN: KNOWN, VOID: VOID,
}  # fmt: skip
"""Time passes: who can start has started, who cannot has failed."""


def _bad_end(state: State, wants: int) -> str:
    ledger = state.ledger
    if (ledger.state, ledger.wants) != ("SUBMITTED", wants):
        return f"ended without a job: {ledger}"
    good = state.jobs[ledger.job].worth in {PAID, KNOWN, OPEN} and payments(state, wants) == 1
    return "" if good else f"ended with {ledger.job} of {state.jobs}"


def main(wants: str, lost: str = "1", deaths: str = "0", gives_up: str = "0") -> str:
    """Explore within these bounds and return what was found.

    :param wants: the fingerprint each attempt wants: ``0,0,1``.
    """
    order = tuple(int(one) for one in wants.split(","))
    model = Model(order, int(lost), int(deaths), gives_up == "1")
    end = explore(model, cancels=order == tuple(sorted(order)))
    return "\n".join(
        [f"{end.states:,} states, {end.worlds:,} worlds: {end.wrong or 'nothing wrong'}", *end.story]
    )


if __name__ == "__main__":
    print(main(*sys.argv[1:]))  # noqa: T201  # what it is for
