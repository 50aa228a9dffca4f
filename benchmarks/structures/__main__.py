"""Whether what is finished by a schema satisfies it, and what is finished without one parses.

    python -m benchmarks.structures [--limit N] [--model NAME] [--judge JUDGE]

N random schemas, each with a document that is cut off, has values missing or is empty, are finished
by the model through templates (`valid`); beside that the same model writes freely what is missing
in the same documents (`free`). Then N documents of JSON, YAML and TOML are finished without a
schema. Everything is drawn from fixed seeds, and judged by jsonschema, tomllib and PyYAML. The last
line is JSON.
"""

import argparse
import json
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker

from benchmarks import report
from benchmarks.progress import counted
from benchmarks.report import Goal
from benchmarks.structures.documents import LANGUAGES, Unfinished, documents
from benchmarks.structures.schemas import Case, cases
from infill_engine import Engine, EngineConfig, Hole, InfillError, InfillRequest, load_engine
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.machine import busy_cpus, commit, this_machine
from infill_ls.completion.fills import Gap, filled
from infill_ls.completion.steps import at_once
from infill_ls.completion.structures.complete import completed, json_task, structured_task
from infill_ls.completion.structures.schema import Schema

LIMIT = 1_000
# Of a value that is missing, and of all that is missing at the end.
_VALUE_TOKENS, _END_TOKENS = 16, 64


def satisfies(text: str, schema: Any) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    checker = FormatChecker()
    return bool(Draft202012Validator(schema, format_checker=checker).is_valid(value))


def parses(text: str, language_id: str) -> bool:
    try:
        match language_id:
            case "json":
                json.loads(text)
            case "yaml":
                yaml.safe_load(text)
            case _:
                tomllib.loads(text)
    except (ValueError, yaml.YAMLError):
        return False
    return True


def freely(engine: Engine, case: Case) -> str:
    """The document with whatever the model says in its holes and behind its end."""
    values = [Gap(hole=Hole(max_tokens=_VALUE_TOKENS), stand_in="") for _ in case.marked]
    first, *others = case.parts
    parts: list[str | Gap] = [first]
    for gap, part in zip(values, others, strict=True):
        parts += [gap, part]
    request = InfillRequest(
        prefix="", suffix="", language_id="json", neighbours=(json.dumps(case.schema),)
    )
    fills = iter(at_once(filled(engine, parts, lambda _, said: said, request=request)))
    text = "".join(part if isinstance(part, str) else next(fills) for part in parts)
    if not case.ends_open:
        return text
    end = [text, Gap(hole=Hole(max_tokens=_END_TOKENS), stand_in="")]
    return text + at_once(filled(engine, end, lambda _, said: said, request=request))[0]


def by_schema(engine: Engine, given: Sequence[Case]) -> dict[str, Any]:
    valid = free = slots = proposed = repaired = 0
    ms = []
    wrong: list[str] = []
    tick = counted("schemas", len(given))
    for case in given:
        started = time.perf_counter()
        try:
            result = completed(engine, json_task(case.document, Schema(case.schema)))
        except InfillError as error:
            wrong.append(str(error))
        else:
            ms.append((time.perf_counter() - started) * 1e3)
            slots, proposed = slots + result.slots, proposed + result.proposed
            repaired += result.repaired
            if satisfies(result.text, case.schema):
                valid += 1
            else:
                wrong.append(result.text)
        free += satisfies(freely(engine, case), case.schema)
        tick()
    return {
        "cases": len(given),
        "valid": valid,
        "free_valid": free,
        "slots": slots,
        "proposed": proposed,
        "repaired": repaired,
        "ms": {"p50": percentile(ms, 0.5), "p95": percentile(ms, 0.95)},
        "wrong": wrong[:20],
    }


def without_schema(engine: Engine, given: Sequence[Unfinished]) -> dict[str, Any]:
    right = dict.fromkeys(LANGUAGES, 0)
    slots = proposed = 0
    ms = []
    wrong: list[str] = []
    tick = counted("documents", len(given))
    for each in given:
        started = time.perf_counter()
        try:
            result = completed(engine, structured_task(each.text, each.language_id))
        except InfillError as error:
            wrong.append(f"{error} {each.text!r}")
        else:
            ms.append((time.perf_counter() - started) * 1e3)
            slots, proposed = slots + result.slots, proposed + result.proposed
            if parses(result.text, each.language_id):
                right[each.language_id] += 1
            else:
                wrong.append(result.text)
        tick()
    return {
        "cases": len(given),
        "parse": sum(right.values()),
        "by_language": right,
        "slots": slots,
        "proposed": proposed,
        "ms": {"p50": percentile(ms, 0.5), "p95": percentile(ms, 0.95)},
        "wrong": wrong[:20],
    }


def measure(config: EngineConfig, limit: int) -> dict[str, Any]:
    engine = load_engine(config)
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    schemas = by_schema(engine, cases(limit))
    unfinished = without_schema(engine, documents(limit))
    return {
        "benchmark": "structures",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "model": engine.describe().model,
        **schemas,
        "documents": unfinished,
    }


def reached(result: dict[str, Any]) -> list[Goal]:
    return [
        Goal(
            name="satisfy their schema",
            value=100 * result["valid"] / result["cases"],
            bound=100,
            unit="%",
        ),
        Goal(
            name="parse, without a schema",
            value=100 * result["documents"]["parse"] / result["documents"]["cases"],
            bound=100,
            unit="%",
        ),
    ]


def show(result: dict[str, Any]) -> None:
    unfinished = result["documents"]
    if result["busy_cpus"] > 0.5:
        print(f"Other programs kept {result['busy_cpus']:.1f} CPUs busy: times are not the best.")
    share = report.percent(result["proposed"] / max(result["slots"], 1))
    print(f"{result['cases']} schemas with documents: {result['valid']} valid when finished")
    print(f"  written freely by the same model: {result['free_valid']} valid")
    print(f"  {result['slots']} values, of which {share} % as the model said, and")
    print(
        f"  {report.percent(result['repaired'] / max(result['slots'], 1))} % the nearest that holds"
    )
    print(f"  ms a document: p50 {result['ms']['p50']:.0f}, p95 {result['ms']['p95']:.0f}")
    by_language = ", ".join(f"{name} {n}" for name, n in unfinished["by_language"].items())
    print(f"{unfinished['cases']} documents without: {unfinished['parse']} parse ({by_language})")
    for text in (*result["wrong"], *unfinished["wrong"]):
        print(f"  wrong: {text!r}"[:100])
    print()


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.structures", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--judge", default="off")
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help=f"default {LIMIT}")
    options = parser.parse_args(given)
    if options.limit < 1:
        raise SystemExit(f"--limit {options.limit} must be at least 1")
    try:
        result = measure(EngineConfig(model=options.model, judge=options.judge), options.limit)
    except (InfillError, ValueError) as error:
        raise SystemExit(str(error)) from None
    report.conclude(result, show, reached(result))


if __name__ == "__main__":
    main()
