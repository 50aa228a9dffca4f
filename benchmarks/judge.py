"""What drafts save a GGUF judge, and what it is worth with them: on HumanEval-Infilling's holes.

    python -m benchmarks.judge FILE.gguf --data DIR [--limit N] [--kinds single-line]

Of the same model, prompt read before: its greedy text token by token; the same, drafted by what
stands in the prompt behind the same tokens (prompt lookup); the same, drafted by the shipped judge,
the embedded model and what stands elsewhere, with as many tokens a pass as pay anywhere, and with
as many as pay here; and the text that it ranks first, through the pipeline of the server. Answers
are run in a sandbox. Progress goes to stderr, the last line is JSON.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import grading, humaneval, sandbox
from benchmarks.grading import Graded, Suggestion
from benchmarks.holdout import Task
from benchmarks.progress import counted, say
from benchmarks.quality import graded
from benchmarks.systems import engine_system
from infill_engine import Engine, EngineConfig, InfillError, InfillRequest, RequestError
from infill_engine.budget import UNLIMITED
from infill_engine.judge.gguf.judge import GgufJudge
from infill_engine.judge.gguf.loading import DRAFTED, load_gguf
from infill_engine.judge.judge import Drafts
from infill_engine.local import LocalEngine
from infill_engine.models.two_sided.loading import load_default
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.machine import busy_cpus, commit, this_machine

LIMIT = 200
LONGEST_MATCH, LOOKED_UP = 4, 16  # tokens
System = Callable[[Task], Suggestion]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of all cases. `tokens` of the judge's own text, its ends included, took so many `passes`
    behind the prompt; `alike` is the share whose text is what plain greedy decoding says."""

    cases: int
    exact: float
    passed: float
    alike: float
    tokens: int
    passes: int
    tokens_per_pass: float
    ms_p50: float


def request(task: Task) -> InfillRequest:
    case = task.case
    return InfillRequest(
        prefix=case.prefix,
        suffix=case.suffix,
        language_id=case.language_id,
        max_lines=1 if case.max_lines == 1 else None,
    )


def alone(judge: GgufJudge, drafts: Callable[[Task], Drafts]) -> System:
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


def drafted(engine: Engine) -> System:
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
    tasks = humaneval.tasks(options.data, options.kinds, options.limit)
    guarded = sandbox.guarded()
    config = EngineConfig(judge=str(options.judge), threads=options.threads)
    judge = load_gguf(config)
    engine = LocalEngine(load_default(EngineConfig()), lambda: (judge, ""))
    say(f"{len(tasks)} cases; {guarded}; {judge.describe().sentence}")
    systems = {
        "greedy": (alone(judge, nothing), False, DRAFTED),
        "prompt lookup": (alone(judge, lookup(judge)), False, DRAFTED),
        "drafted": (drafted(engine), True, DRAFTED),
        f"drafted, {judge.drafted}": (drafted(engine), True, judge.drafted),
        "ranked": (engine_system(engine), False, judge.drafted),
    }
    answers: dict[str, list[Suggestion]] = {name: [] for name in systems}
    verified = dict.fromkeys(systems, (0, 0))
    tick = counted("cases", len(tasks))
    # A case after the other, so that its prompt is read once.
    for task in tasks:
        for name, (system, judge.exact, judge.drafted) in systems.items():
            before = judge.verified.tokens, judge.verified.passes
            answers[name].append(system(task))
            tokens, passes = verified[name]
            verified[name] = (
                tokens + judge.verified.tokens - before[0],
                passes + judge.verified.passes - before[1],
            )
        tick()
    results = graded(answers, tasks)
    outcomes = {
        name: outcome(results[name], results["greedy"], *verified[name]) for name in systems
    }
    return {
        "benchmark": "judge",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "judge": asdict(judge.describe()),
        "kinds": options.kinds,
        "systems": {name: asdict(each) for name, each in outcomes.items()},
        "different": [
            {"case": task.case.name, "greedy": one.text, name: other.text}
            for name in systems
            for task, one, other in zip(tasks, answers["greedy"], answers[name], strict=True)
            if name != "ranked" and one.text.rstrip() != other.text.rstrip()
        ],
    }


def outcome(group: Sequence[Graded], greedy: Sequence[Graded], tokens: int, passes: int) -> Outcome:
    figures = grading.summary(group)
    alike = [
        a.answer.text.rstrip() == b.answer.text.rstrip() for a, b in zip(group, greedy, strict=True)
    ]
    return Outcome(
        cases=len(group),
        exact=figures["exact"],
        passed=figures["passed"],
        alike=sum(alike) / max(len(alike), 1),
        tokens=tokens,
        passes=passes,
        tokens_per_pass=tokens / max(passes, 1),
        ms_p50=figures["warm_ms"]["p50"],
    )


def table(result: dict[str, Any]) -> Iterator[str]:
    judge = result["judge"]
    yield f"judge {judge['name']}, {judge['dtype']}, {judge['kernels']}, commit {result['commit']}"
    heads = ("exact", "pass@1", "alike", "tokens", "passes", "a pass", "ms")
    yield " " * 16 + "".join(f"{head:>8}" for head in heads)
    for name, each in result["systems"].items():
        shares = "".join(f"{100 * each[key]:>8.1f}" for key in ("exact", "passed", "alike"))
        yield (
            f"{name:<16}{shares}{each['tokens']:>8}{each['passes']:>8}"
            f"{each['tokens_per_pass']:>8.2f}{each['ms_p50']:>8.0f}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.judge", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("judge", type=Path, help="a GGUF model")
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder with HumanEval-Infilling's files"
    )
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"cases of each kind ({LIMIT})")
    parser.add_argument(
        "--kinds", nargs="+", choices=tuple(humaneval.SETS), default=["single-line"]
    )
    parser.add_argument("--threads", type=int, help="of the CPU; its cores, at most 8, unless set")
    options = parser.parse_args(arguments)
    try:
        if options.limit < 1:
            raise RequestError(f"--limit {options.limit} must be at least 1")
        result = measure(options)
        print(result["machine"]["cpu"], *table(result), sep="\n")
        print(as_line(result))
    except InfillError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
