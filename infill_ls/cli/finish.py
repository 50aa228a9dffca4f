"""`infill-ls json`: a JSON document, finished so that it parses and satisfies a schema."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from infill_engine import Engine, EngineConfig
from infill_ls.cli import files
from infill_ls.cli.characters import visible
from infill_ls.cli.errors import UsageError
from infill_ls.cli.infill import refuse_ignored
from infill_ls.completion.structures.complete import Completed, Task, completed, json_task
from infill_ls.completion.structures.json_text import DocumentError, where
from infill_ls.completion.structures.schema import Schema, SchemaError
from infill_ls.completion.structures.slots import composed
from infill_ls.documents import Document


def finish(
    arguments: argparse.Namespace, config: EngineConfig, load: Callable[[EngineConfig], Engine]
) -> int:
    """Whatever is wrong with the files is said before a model is loaded."""
    path: Path = arguments.file
    data = files.read(path)
    text = files.decoded(data, path)
    if not arguments.force:
        document = Document(uri=path.absolute().as_uri(), version=0, language_id="json", text=text)
        refuse_ignored(path, document, remote=config.is_remote)
    schema = _schema(arguments.schema)
    started = time.perf_counter()
    try:
        task = json_task(text, schema, everything=arguments.all, seed=arguments.seed)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error}") from None
    except SchemaError as error:
        raise SchemaError(f"{arguments.schema or path}: {error}") from None
    result, told = _completed(task, config, load)
    if arguments.json:
        ms = round(1000 * (time.perf_counter() - started), 1)
        said = {"slots": result.slots, "proposed": result.proposed, "repaired": result.repaired}
        print(json.dumps({"text": result.text, **said, "ms": ms, **told}, ensure_ascii=False))
    elif not arguments.apply:
        print(result.text, end="" if result.text.endswith("\n") else "\n")
    if arguments.apply and result.text != text:
        new = files.with_replaced(data, text, result.text)
        note = files.replace(path, data, new)
        wrote = f"wrote {visible(str(path))}" + (f"; {note}" if note else "")
        print(wrote, file=sys.stderr)
    return 0


def _completed(
    task: Task, config: EngineConfig, load: Callable[[EngineConfig], Engine]
) -> tuple[Completed, dict[str, str]]:
    """Where the schema leaves nothing open no model is needed."""
    if not task.slots:
        return Completed(text=composed(task.pieces), slots=0, proposed=0, repaired=0, left=0), {}
    engine = load(config)
    info = engine.describe()
    return completed(engine, task), {"model": info.model, "device": info.device}


def _schema(path: Path | None) -> Schema:
    if path is None:
        return Schema(True)
    text = files.decoded(files.read(path), path)
    try:
        return Schema(json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path} is no JSON: {where(text, error.pos)}: {error.msg}. Correct it there."
        ) from None
    except ValueError:  # of more digits than Python reads
        raise UsageError(f"{path} has a number with too many digits; shorten it.") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deep to be read.") from None
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
