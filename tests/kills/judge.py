"""What is left of stories, compared with what must be; and the table of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud import Cloud
from counting import balance, orphans
from plans import Death
from stories import Story

Rows = Mapping[str, list[dict[str, Any]]]
"""Run → rows."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One story's end."""

    world: str
    story: str
    duplicates: int
    """Rows paid for again, and rows that are in the results twice."""
    lost: int
    """Rows without the right answer in the results, or without having been paid for."""
    findings: tuple[str, ...]
    """What else must not be."""
    kills: int
    zombies: int
    deaths: tuple[Death, ...]

    @property
    def good(self) -> bool:
        """Whether the promises held."""
        return not (self.duplicates or self.lost or self.findings)


@dataclass(frozen=True, kw_only=True)
class Books:
    """What the local cloud has of all stories, by run."""

    jobs: Rows
    results: Rows
    errors: Rows
    tables: set[str]

    @classmethod
    def of(cls, cloud: Cloud, told: Sequence[Story]) -> Books:
        """Ask once for all stories."""
        tables = set(cloud.tables())
        lanes = sorted({story.batch.results for story in told})
        return cls(
            jobs=cloud.jobs_at_rest(),
            results=_published(cloud, lanes, tables),
            errors=_published(cloud, [f"{lane}_errors" for lane in lanes], tables),
            tables=tables,
        )


def _published(cloud: Cloud, names: Iterable[str], tables: set[str]) -> Rows:
    found = defaultdict(list)
    for name in names:
        if name.rpartition(".")[2] in tables:
            for row in cloud.rows(f"SELECT run_id, key, text FROM `{name}`"):
                found[row["run_id"]].append(row)
    return found


def judge(cloud: Cloud, told: Sequence[Story]) -> list[Verdict]:
    """Judge stories that have ended, by the local cloud's own books."""
    books = Books.of(cloud, told)
    return [_verdict(cloud, story, books) for story in told]


def _verdict(cloud: Cloud, story: Story, books: Books) -> Verdict:
    run, moments = story.batch.run, story.moments
    expected, results, jobs = story.answers, books.results.get(run, []), books.jobs.get(run, [])
    duplicates, lost = balance(expected, results, billed=sum(job["billed_rows"] for job in jobs))
    findings = [*story.findings]
    findings += [f"{row['key']!r} is among the errors" for row in books.errors.get(run, [])]
    findings += [f"{row['key']!r} nobody asked for" for row in results if row["key"] not in expected]
    if not story.findings:
        findings += _left_behind(cloud, story, jobs, books.tables)
    fates = [moment for moment in moments if moment.did]
    return Verdict(
        world=story.scenario.name,
        story=run,
        duplicates=duplicates,
        lost=lost,
        findings=tuple(findings),
        kills=story.kills,
        zombies=story.zombies,
        deaths=tuple((moment.task, moment.name, str(moment.did)) for moment in fates),
    )


def _left_behind(
    cloud: Cloud, story: Story, jobs: Sequence[Mapping[str, Any]], tables: set[str]
) -> Iterator[str]:
    """Ledgers that are not LOADED, jobs cancelled by nobody, inputs that an earlier post could still read."""
    states = {job["name"]: job["state"] for job in jobs}
    workspace = str(story.parts[0]["workspace"])
    for part in story.parts:
        ledger = cloud.read(f"{workspace}/ledger/part-{part['part']:05d}.json")
        if ledger["state"] != "LOADED":
            yield f"the ledger of part {part['part']} is {ledger['state']}"
        if states.get(ledger["job_name"]) != "JOB_STATE_SUCCEEDED":
            yield f"{ledger['job_name']} is {states.get(ledger['job_name'])}"
    cancelled = sum("CANCEL" in state for state in states.values())
    asked = sum(moment.step == "cancel job" and moment.when == "before" for moment in story.moments)
    if cancelled > asked:
        yield f"{cancelled} jobs were cancelled, {asked} by an attempt"
    copies = len(cloud.names(f"{workspace}/input/"))
    copies += sum(table.startswith(f"gemini_input_{story.parts[0]['batch_id']}_") for table in tables)
    harmless = orphans(story.moments)
    if copies > len(story.parts) + harmless:
        yield f"{copies} copies of the input are left, {len(story.parts)} in use and {harmless} harmless"
    for name in ("manifest.json", "report.json"):
        if not cloud.names(f"{workspace}/{name}"):
            yield f"{name} is gone"


# ------------------------------------------------------------------------------------------------------------ the table


def table(verdicts: Sequence[Verdict]) -> str:
    """Return fault × runs × duplicates × lost rows: by kind of world, by kind of death, and by moment."""
    worlds: dict[str, list[Verdict]] = defaultdict(list)
    kinds: dict[str, list[Verdict]] = defaultdict(list)
    moments: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        worlds[verdict.world].append(verdict)
        for task, moment, how in verdict.deaths:
            kinds[f"{how} in {task}"].append(verdict)
            moments[f"{task}: {how} {moment.partition(' #')[0]}"].append(verdict)
    lines = [_line("world", "stories", "kills", "zombies", "duplicates", "lost rows")]
    for name, some in [*worlds.items(), ("all", [*verdicts])]:
        kills, zombies = sum(v.kills for v in some), sum(v.zombies for v in some)
        lines.append(_line(name, len(some), kills, zombies, *_harm(some)))
    for faults in (kinds, moments):
        lines += ["", _line("fault", "runs", "duplicates", "lost rows")]
        lines += [_line(name, len(some), *_harm(some)) for name, some in sorted(faults.items())]
    return "\n".join(lines)


def _harm(some: Iterable[Verdict]) -> tuple[int, int]:
    some = [*{verdict.story: verdict for verdict in some}.values()]
    return sum(verdict.duplicates for verdict in some), sum(verdict.lost for verdict in some)


def _line(first: object, *rest: object) -> str:
    return f"{first!s:<60}" + "".join(f"{cell!s:>11}" for cell in rest)


def named(verdicts: Iterable[Verdict]) -> str:
    """Return what is wrong with the stories that did not end well."""
    return "\n".join(
        f"{verdict.world} / {verdict.story}: {verdict.duplicates} duplicates, {verdict.lost} lost rows"
        + "".join(f"; {finding}" for finding in verdict.findings)
        + f" — {', '.join(' '.join(death) for death in verdict.deaths)}"
        for verdict in verdicts
        if not verdict.good
    )
