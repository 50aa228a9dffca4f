"""What the benchmark of structures measures, with the embedded model."""

import json

import pytest

from benchmarks.structures.__main__ import main


def test_a_few_documents_are_finished_beside_freely_written_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--limit", "3"])

    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["cases"], result["valid"]) == (3, 3)
    assert 0 <= result["free_valid"] <= 3
