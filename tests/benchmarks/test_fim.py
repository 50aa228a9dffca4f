"""The same hole is asked for over HTTP and by LSP."""

import json
import time

import pytest

from benchmarks import fim
from benchmarks.fim import Hole, holes
from infill_engine import EngineConfig
from infill_ls.cli.bench.cases import python_cases
from infill_ls.cli.bench.wire import ServerError
from infill_ls.documents import Document


def test_a_hole_is_one_place_for_both() -> None:
    found = holes(python_cases(240), 4)

    assert len(found) == 4
    for hole in found:
        for num_typed in range(len(hole.typed) + 1):
            before = hole.before + hole.typed[:num_typed]
            document = Document(
                uri=hole.uri, version=1, language_id="python", text=before + hole.after
            )
            at = document.offset_at(*hole.position(num_typed), "utf-16")
            assert at == len(before)


def test_positions_count_utf_16() -> None:
    hole = Hole(uri="file:///a.py", before="x\n'\U0001f600'", typed="é.a", after="")

    assert [hole.position(num_typed) for num_typed in range(3)] == [(1, 4), (1, 5), (1, 6)]


@pytest.mark.e2e
@pytest.mark.slow
def test_ends_in_a_line_of_json_that_holds_every_figure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fim.main(["--places", "2", "--judge", "off", "--deadline-ms", "20000"])
    printed = capsys.readouterr().out.splitlines()
    result = json.loads(printed[-1])

    assert (result["places"], result["keys"]) == (2, 2 * fim.TYPED)
    assert result["same_text"] == 1
    assert min(result[of]["p50"] for of in ("lsp", "fim")) > 0
    assert all(any(goal["name"] in line for line in printed) for goal in result["goals"])
    assert max(map(len, printed[:-1])) <= 100


@pytest.mark.e2e
def test_a_judge_that_is_not_there_ends_it_soon() -> None:
    started = time.monotonic()

    with pytest.raises(ServerError, match="/nope"), fim.fim_server(EngineConfig(judge="/nope"), 1):
        pass

    assert time.monotonic() - started < 60


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(SystemExit, match="--places 0 must be at least 1"):
        fim.main(["--places", "0"])
