"""What drafts save a GGUF judge, and what it is worth with them: on HumanEval-Infilling's holes.

    python -m benchmarks.judge FILE.gguf --data DIR [--limit N] [--answers FILE]

Of the same model, prompt read before: its greedy text token by token; the same, drafted by what
stands in the prompt behind the same tokens (prompt lookup); the same, drafted by the shipped judge,
the embedded model and what stands elsewhere, with as many tokens a pass as pay anywhere, and with
as many as pay here; and the text that it ranks first, through the pipeline of the server. Answers
are run in a sandbox. Shares and tokens a pass come with their 95 % interval, by bootstrap over
problems. Progress goes to stderr, the last line is JSON.

A case takes seconds, so with `--answers` each answer is written to a file, and what the file has
is not asked again. With `--replay` drafts are verified against the greedy text that is known then,
in no time: their passes are counted, what they take is not measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import grading, humaneval, sandbox
from benchmarks.grading import Graded, Suggestion
from benchmarks.holdout import Task
from benchmarks.progress import counted, say
from benchmarks.quality import graded
from benchmarks.replay import Replay
from benchmarks.systems import engine_system
from infill_engine import Engine, EngineConfig, InfillError, InfillRequest, RequestError
from infill_engine.budget import UNLIMITED
from infill_engine.judge.awaited import at_hand
from infill_engine.judge.gguf.judge import PLACES, GgufJudge
from infill_engine.judge.gguf.loading import BATCH, DRAFTED, ON_CPU, load_gguf
from infill_engine.judge.judge import Drafts
from infill_engine.local import LocalEngine
from infill_engine.models.two_sided.loading import load_default
from infill_ls.cli.arguments import count
from infill_ls.cli.bench.cases import hashed
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.files import new_file
from infill_ls.cli.machine import busy_cpus, commit, this_machine

LIMIT = 200
SYSTEMS = ("greedy", "prompt lookup", "drafted", "drafted as pays", "ranked")
LONGEST_MATCH, LOOKED_UP = 4, 16  # tokens
Ask = Callable[[Task], Suggestion]


@dataclass(frozen=True, slots=True)
class System:
    """Asks a judge for its own text where that has to be `exact`; a pass verifies at most so many
    tokens that were `drafted`."""

    judge: GgufJudge
    ask: Ask
    exact: bool = True
    drafted: int = DRAFTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A text, the milliseconds to it, of them those to read its surroundings, and what the judge
    verified for it: `tokens` of its own text, its ends included, in so many `passes` behind the
    prompt, of at most so many tokens that were `drafted`; `ids` are these tokens."""

    text: str
    ms: float
    encode_ms: float
    tokens: int
    passes: int
    drafted: int
    ids: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of all cases, shares and ratios with their 95 % intervals. `alike` is the share whose text is
    what plain greedy decoding says."""

    cases: int
    exact: float
    exact_interval: tuple[float, float]
    passed: float
    passed_interval: tuple[float, float]
    alike: float
    tokens: int
    passes: int
    drafted: list[int]
    tokens_per_pass: float
    tokens_per_pass_interval: tuple[float, float]
    ms_p50: float


def request(task: Task) -> InfillRequest:
    case = task.case
    return InfillRequest(
        prefix=case.prefix,
        suffix=case.suffix,
        language_id=case.language_id,
        max_lines=1 if case.max_lines == 1 else None,
    )


def alone(judge: GgufJudge, drafts: Callable[[Task], Drafts]) -> Ask:
    """The judge's own text, and what it took once the prompt was read."""

    def ask(task: Task) -> Suggestion:
        drafter, judge.drafter = judge.drafter, None
        reading = judge.read(request(task), UNLIMITED)
        judge.drafter = drafter
        assert reading is not None, "there is time"
        started = time.perf_counter()
        said = reading.say(drafts(task), UNLIMITED)
        return Suggestion(text=said or "", ms=(time.perf_counter() - started) * 1e3)

    return ask


def drafted(engine: Engine) -> Ask:
    """What the engine answers."""

    def ask(task: Task) -> Suggestion:
        started = time.perf_counter()
        *_, draft = engine.infill(request(task))
        ms = (time.perf_counter() - started) * 1e3
        return Suggestion(text=draft.text, ms=ms, encode_ms=draft.encode_ms)

    return ask


def nothing(task: Task) -> Drafts:
    return lambda said: ()


def lookup(judge: GgufJudge) -> Callable[[Task], Drafts]:
    """What followed the same last tokens before, of at most four the most that recur."""
    vocabulary = judge.vocabulary

    def of(task: Task) -> Drafts:
        behind = vocabulary.encode(task.case.suffix)

        def drafts(said: str) -> Iterator[str]:
            ids = vocabulary.encode(task.case.prefix + said)
            for size in range(LONGEST_MATCH, 0, -1):
                last = ids[-size:]
                for text in (ids[:-1], behind):
                    for at in range(len(text) - size, -1, -1):
                        if text[at : at + size] == last:
                            found = text[at + size : at + size + LOOKED_UP]
                            yield vocabulary.decode(found).decode("utf-8", "ignore")
                            return

        return drafts

    return of


def measure(options: argparse.Namespace) -> dict[str, Any]:
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    tasks = chosen(options.data, options.kinds, options.limit)
    guarded = sandbox.guarded()
    config = EngineConfig(judge=str(options.judge), threads=options.threads)
    judge = load_gguf(config)
    name = judge.describe().name
    known = read_answers(options.answers, name)
    say(f"{len(tasks)} cases; {guarded}; {judge.describe().sentence}")
    replay = Replay(len(judge.vocabulary), places=PLACES, batch=BATCH)
    systems = systems_of(judge, replay if options.replay else None)
    systems = {name: system for name, system in systems.items() if name in options.systems}
    tick = counted("cases", len(tasks))
    # A case after the other, so that its prompt is read once.
    for task in tasks:
        for system, how in systems.items():
            key = task.case.name, system
            if key not in known:
                replay.said = known[task.case.name, "greedy"].ids if system != "greedy" else ()
                known[key] = answer(how, task)
                write_answer(options.answers, name, *key, known[key])
        tick()
    answers = {system: [known[task.case.name, system] for task in tasks] for system in systems}
    results = graded(
        {
            system: [Suggestion(text=a.text, ms=a.ms, encode_ms=a.encode_ms) for a in each]
            for system, each in answers.items()
        },
        tasks,
    )
    outcomes = {
        system: outcome(results[system], results["greedy"], answers[system]) for system in systems
    }
    return {
        "benchmark": "judge",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "judge": asdict(judge.describe()),
        "kinds": options.kinds,
        "replayed": options.replay,
        "systems": {system: asdict(each) for system, each in outcomes.items()},
        "different": [
            {"case": task.case.name, "greedy": one.text, system: other.text}
            for system in systems
            for task, one, other in zip(tasks, answers["greedy"], answers[system], strict=True)
            if system != "ranked" and one.text.rstrip() != other.text.rstrip()
        ],
    }


def chosen(data: Path, kinds: Sequence[str], limit: int) -> list[Task]:
    """At most `limit` tasks of each kind: those of the same problem follow each other, for their
    prompts begin alike and are read from where they differ. Problems are chosen by hash."""
    of_kinds = [humaneval.tasks(data, [kind], sys.maxsize) for kind in kinds]
    for tasks in of_kinds:
        tasks.sort(key=lambda task: (hashed(task.unit), len(task.case.prefix), task.case.name))
    return [task for tasks in of_kinds for task in tasks[:limit]]


def systems_of(judge: GgufJudge, replay: Replay | None) -> dict[str, System]:
    """By name. With a replay drafts are verified there, by a judge that is the same otherwise."""
    engine = LocalEngine(load_default(EngineConfig()), at_hand(judge))
    verifying, verified_by = judge, engine
    if replay is not None:
        verifying = GgufJudge(
            replay,
            judge.vocabulary,
            judge.describe(),
            context=ON_CPU,
            exact=True,
            drafted=DRAFTED,
            drafter=judge.drafter,
        )
        verified_by = LocalEngine(load_default(EngineConfig()), at_hand(verifying))
    return {
        "greedy": System(judge, alone(judge, nothing), drafted=0),
        "prompt lookup": System(verifying, alone(verifying, lookup(judge))),
        "drafted": System(verifying, drafted(verified_by)),
        "drafted as pays": System(verifying, drafted(verified_by), drafted=judge.drafted),
        "ranked": System(judge, engine_system(engine), exact=False, drafted=judge.drafted),
    }


def answer(system: System, task: Task) -> Answer:
    judge = system.judge
    judge.exact, judge.drafted = system.exact, system.drafted
    tokens, passes = judge.verified.tokens, judge.verified.passes
    found = system.ask(task)
    return Answer(
        text=found.text,
        ms=found.ms,
        encode_ms=found.encode_ms,
        tokens=judge.verified.tokens - tokens,
        passes=judge.verified.passes - passes,
        drafted=system.drafted,
        ids=judge.verified.ids,
    )


def read_answers(path: Path | None, judge: str) -> dict[tuple[str, str], Answer]:
    """By case and system what a file has, which need not be there yet; raises RequestError where
    it is of another judge."""
    if path is None or not path.exists():
        return {}
    found = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            of, key = row["judge"], (row["case"], row["system"])
            found[key] = Answer(**row["answer"])
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(
                f"{path}:{number} holds no answer ({error!r}); take it out, or name another file"
            ) from error
        if of != judge:
            raise RequestError(f"{path} has the answers of {of}, not of {judge}; name another file")
    return found


def write_answer(path: Path | None, judge: str, case: str, system: str, answer: Answer) -> None:
    if path is None:
        return
    row = {"judge": judge, "case": case, "system": system, "answer": asdict(answer)}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def outcome(
    group: Sequence[Graded], greedy: Sequence[Graded], answers: Sequence[Answer]
) -> Outcome:
    figures = grading.summary(group)
    alike = [
        a.answer.text.rstrip() == b.answer.text.rstrip() for a, b in zip(group, greedy, strict=True)
    ]
    units = [each.task.unit for each in group]
    one = [1] * len(group)
    tokens, passes = [each.tokens for each in answers], [each.passes for each in answers]
    return Outcome(
        cases=len(group),
        exact=figures["exact"],
        exact_interval=interval(units, [each.exact for each in group], one),
        passed=figures["passed"],
        passed_interval=interval(units, [bool(each.passed) for each in group], one),
        alike=sum(alike) / max(len(alike), 1),
        tokens=sum(tokens),
        passes=sum(passes),
        drafted=sorted({each.drafted for each in answers}),
        tokens_per_pass=sum(tokens) / max(sum(passes), 1),
        tokens_per_pass_interval=interval(units, tokens, passes),
        ms_p50=figures["warm_ms"]["p50"],
    )


def interval(
    units: Sequence[str], parts: Sequence[float], wholes: Sequence[float]
) -> tuple[float, float]:
    """Of the ratio of two sums over cases, whose units are drawn anew."""
    sums: dict[str, tuple[float, float]] = {}
    for unit, part, whole in zip(units, parts, wholes, strict=True):
        before = sums.get(unit, (0.0, 0.0))
        sums[unit] = before[0] + part, before[1] + whole
    gains, sizes = np.array([*sums.values()], np.float64).T
    found = grading.resampled(gains, sizes)
    return found.low, found.high


def table(result: dict[str, Any]) -> Iterator[str]:
    judge = result["judge"]
    yield f"judge {judge['name']}, {judge['dtype']}, {judge['kernels']}, commit {result['commit']}"
    cases = result["systems"]["greedy"]["cases"]
    yield f"{cases} cases; percent and tokens a pass, their 95 % intervals in brackets; ms, median"
    yield " " * 16 + f"{'exact':>18}{'pass@1':>20}{'alike':>7}{'passes':>8}{'a pass':>19}{'ms':>7}"
    for name, each in result["systems"].items():
        exact, passed = (_share(each, key) for key in ("exact", "passed"))
        low, high = each["tokens_per_pass_interval"]
        a_pass = f"{each['tokens_per_pass']:.2f} [{low:.2f}, {high:.2f}]"
        yield (
            f"{name:<16}{exact:>18}{passed:>20}{100 * each['alike']:>7.1f}"
            f"{each['passes']:>8}{a_pass:>19}{each['ms_p50']:>7.0f}"
        )


def _share(outcome: Mapping[str, Any], key: str) -> str:
    low, high = outcome[f"{key}_interval"]
    return f"{100 * outcome[key]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.judge", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("judge", type=Path, help="a GGUF model")
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder with HumanEval-Infilling's files"
    )
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"cases of each kind ({LIMIT})")
    parser.add_argument(
        "--kinds", nargs="+", choices=tuple(humaneval.SETS), default=["single-line"]
    )
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="all, unless named"
    )
    parser.add_argument(
        "--threads", type=count, help="of the CPU; its cores, at most 8, unless set"
    )
    parser.add_argument(
        "--answers", type=new_file, help="a file that answers are written to, and gone on from"
    )
    parser.add_argument(
        "--replay", action="store_true", help="count drafts' passes without computing them"
    )
    options = parser.parse_args(arguments)
    try:
        if "greedy" not in options.systems:
            raise RequestError("--systems needs greedy, which the others are put beside")
        if options.limit < 1:
            raise RequestError(f"--limit {options.limit} must be at least 1")
        result = measure(options)
        print(result["machine"]["cpu"], *table(result), sep="\n")
        print(as_line(result))
    except InfillError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
