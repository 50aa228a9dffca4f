"""Fine-tuning for holes: what it learns from, what it asks for, and that it pays."""

import json
import math
import random
import shlex
import signal
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("transformers")

from infill_engine import EngineConfig, InfillRequest, ModelError, load_engine
from infill_engine.models.adapter import CONFIG, WEIGHTS, read_adapter
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2, load_masked_qwen2
from tests.engine import tiny_qwen
from tests.engine.tiny_qwen import EOS, EXPAND, MASK
from train import finetune
from train.hole_objective import IGNORED, Example, loss_of, noised
from train.masked_tuning import MaskedTuner, attach
from train.recipe import HELP, Recipe
from train.repository import gaps, sources
from train.stopping import stoppable
from train.tuning_memory import plan, published, told
from train.tuning_state import STATE, Run

RECIPE = Recipe(
    steps=50, batch=4, tokens=64, rank=16, alpha=32.0, rate=1e-2, warmup=5, measured=3, every=25
)
FUNCTION = """
def total_{0}(values):
    total = 0
    for value in values:
        total = total + value
    return total
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random weights that can still be taught something in some seconds."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("base")
    return tiny_qwen.save_dreamon(path, sharpness=2.0, num_hidden_layers=2)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are much like one another, and some that are none of a model's business."""
    root = tmp_path_factory.mktemp("repository")
    for number in range(12):
        names = random.Random(number).sample("abcdefgh", 4)
        (root / f"part_{number}.py").write_text("".join(map(FUNCTION.format, names)))
    (root / "copy.py").write_text((root / "part_0.py").read_text())
    (root / ".env.py").write_text("PASSWORD = 'x'\n" * 30)
    (root / "generated_pb2.py").write_text("x = 1\n" * 60)
    (root / ".gitignore").write_text("private/\n")
    (root / "private").mkdir()
    (root / "private" / "mine.py").write_text("y = 2\n" * 60)
    return root


def denoiser(folder: Path) -> MaskedQwen2:
    return load_masked_qwen2(EngineConfig(model=str(folder), threads=1, max_denoising_steps=24))


# What is learned from


def test_only_what_the_server_would_read_is_learned_from(repository: Path) -> None:
    found, left_out = sources(repository)

    assert {each.path for each in found} <= {f"part_{n}.py" for n in range(12)} | {"copy.py"}
    assert len(found) == 12
    assert left_out["copy"] == 1
    assert left_out["generated"] == 1
    assert left_out["ignored or secret"] >= 1
    assert 0 < sum(each.held_out for each in found) < 12 or len(found) == 12


def test_gaps_put_together_are_the_file_again(repository: Path) -> None:
    found, _ = sources(repository)
    texts = {each.path: each.text for each in found}

    for gap, _ in zip(gaps(found, seed=1), range(40), strict=False):
        assert gap.prefix + gap.middle + gap.suffix == texts[gap.path]
        assert gap.middle
        assert (gap.request.max_lines == 1) == ("\n" not in gap.middle)


# The objective


def replayed(example: Example, prefix: int, suffix: int) -> list[int]:
    """What DreamOn's loop makes of a middle whose labels are all said, expansions last."""
    cells = example.token_ids[prefix : len(example.token_ids) - suffix]
    labels = example.labels[prefix : len(example.labels) - suffix]
    return [
        label if token == MASK else token
        for token, label in zip(cells, labels, strict=True)
        if not (token == MASK and label == EOS)
    ]


def test_labels_say_the_middle_but_for_what_expands(folder: Path) -> None:
    text, rng = denoiser(folder).text, random.Random(0)
    grew = 0
    for _ in range(300):
        middle = [rng.randrange(100) for _ in range(rng.randrange(12))]
        example = noised([1, 2], middle, [3], text, rng)

        assert example.token_ids[:2] == [1, 2]
        assert example.token_ids[-1] == 3
        assert len(example.token_ids) == len(example.labels)
        masked = [at for at, token in enumerate(example.token_ids) if token == MASK]
        assert masked
        assert [at for at, label in enumerate(example.labels) if label != IGNORED] == masked
        said = replayed(example, 2, 1)
        grew += EXPAND in said
        # Every expansion stands for two tokens or more; what is left is the middle in its order.
        parts = "".join("X" if token == EXPAND else chr(200 + token) for token in said).split("X")
        rest = "".join(chr(200 + token) for token in middle)
        assert len(said) == len(middle) or EXPAND in said
        for part in parts:
            assert part in rest
            rest = rest[rest.index(part) + len(part) :]
    assert grew > 50


def test_the_loss_is_that_of_the_masked_cells_by_the_cell_before(folder: Path) -> None:
    base = denoiser(folder)
    network = base.network
    examples = [
        Example(token_ids=[5, 6, MASK, 8], labels=[IGNORED, IGNORED, 7, IGNORED]),
        Example(token_ids=[MASK, 6], labels=[9, IGNORED]),
    ]

    loss = loss_of(network, examples, base.text)

    with torch.inference_mode():
        each = []
        for example, cell, before in ((examples[0], 2, 1), (examples[1], 0, 0)):
            ids = torch.tensor([example.token_ids])
            hidden = network.hidden(ids, torch.arange(ids.shape[1])[None])
            each.append(-network.logits(hidden[0])[before].log_softmax(-1)[example.labels[cell]])
    assert float(loss) == pytest.approx(float(sum(each)) / 2, rel=1e-4)


def test_all_ends_of_an_example_weigh_as_one_token(folder: Path) -> None:
    base = denoiser(folder)
    text = base.text

    def loss(*labels: int, weight: float = 1.0) -> tuple[Example, float]:
        ids = [5, *[MASK] * len(labels), 6]
        made = Example(token_ids=ids, labels=[IGNORED, *labels, IGNORED], weight=weight)
        return made, float(loss_of(base.network, [made], text))

    with torch.inference_mode():
        ids = torch.tensor([[5, *[MASK] * 9, 6]])
        hidden = base.network.hidden(ids, torch.arange(11)[None])
        nats = -base.network.logits(hidden[0]).log_softmax(-1)
        end = float(nats[1:9, EOS].mean())
        said = float(nats[0, 7])
        many, both = loss(7, *[EOS] * 8)
        light, _ = loss(*[EOS] * 9, weight=0.5)

    assert both == pytest.approx((said + end) / 2, rel=1e-4)
    alone = float(nats[:9, EOS].mean())
    together = float(loss_of(base.network, [many, light], text))
    assert together == pytest.approx((said + end + 0.5 * alone) / 2.5, rel=1e-4)


def test_an_example_weighs_less_the_more_of_it_is_masked(folder: Path) -> None:
    text, rng = denoiser(folder).text, random.Random(0)
    middle = list(range(100))
    for _ in range(20):
        example = noised([1], middle, [2], text, rng)
        seen = sum(label == IGNORED for label in example.labels) - 2

        assert example.weight == pytest.approx(seen / 100, abs=0.2)


# The adapter


def test_an_adapter_changes_nothing_at_first_and_merged_what_it_does_beside(
    folder: Path, tmp_path: Path
) -> None:
    ids = torch.arange(12)[None]

    def said(model: MaskedQwen2) -> torch.Tensor:
        with torch.inference_mode():
            return model.network.logits(model.network.hidden(ids, ids)[0])

    plain = denoiser(folder)
    before = said(plain)
    pairs = attach(plain.network, RECIPE)
    torch.testing.assert_close(said(plain), before)
    with torch.no_grad():
        for _, up in pairs.values():
            up.normal_(std=0.02)
    beside = said(plain)
    adapter = finetune.Adapter(rank=RECIPE.rank, scale=2.0, pairs=pairs)
    finetune.write_adapter(tmp_path / "made", adapter, str(folder))

    config = EngineConfig(model=str(folder), adapter=str(tmp_path / "made"))
    assert float((beside - before).abs().max()) > 0.1
    torch.testing.assert_close(said(load_masked_qwen2(config)), beside, rtol=1e-3, atol=1e-3)
    told = json.loads((tmp_path / "made" / "adapter_config.json").read_text())
    assert told["peft_type"] == "LORA"
    assert told["target_modules"] == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    ]  # fmt: skip


def test_what_is_no_adapter_of_this_model_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no LoRA adapter"):
        load_masked_qwen2(EngineConfig(model=str(folder), adapter=str(tmp_path)))
    with pytest.raises(ModelError, match="is for DiffusionGemma, DreamOn and their like"):
        load_engine(EngineConfig(adapter=str(tmp_path)))
    with pytest.raises(ModelError, match=r"--adapter .* and the model is 'http://127"):
        load_engine(EngineConfig(model="http://127.0.0.1:9", adapter=str(tmp_path)))
    down, up = torch.ones(2, 9), torch.ones(64, 2)
    key = "model.layers.0.self_attn.q_proj.weight"
    for pairs, said in (
        ({key: (down, up)}, r"is \[64, 9\], the model's \[64, 64\]"),
        ({"model.layers.9.mlp.up_proj.weight": (down, up)}, "which .* has not; name the model"),
    ):
        made = finetune.Adapter(rank=2, scale=1.0, pairs=pairs)
        finetune.write_adapter(tmp_path / "wrong", made, "other")
        with pytest.raises(ModelError, match=said):
            load_masked_qwen2(EngineConfig(model=str(folder), adapter=str(tmp_path / "wrong")))


@pytest.mark.parametrize(
    ("change", "told", "said"),
    [
        (lambda t: None, {"r": 3}, r"\[64, 2\] times \[2, 64\] for .*, and .* says rank 3"),
        (lambda t: None, {"r": 0}, "holds no LoRA adapter .*r 0"),
        (lambda t: None, {"lora_alpha": math.nan}, "holds no LoRA adapter .*lora_alpha nan"),
        (lambda t: None, {"rank_pattern": {"q_proj": 4}}, "holds more than plain LoRA"),
        (lambda t: t.popitem(), {}, "has 1 halves of products .* for 0 whole ones"),
        (lambda t: t.clear(), {}, "holds no LoRA adapter .*0 tensors"),
        (lambda t: next(iter(t.values())).fill_(math.inf), {}, "holds NaN or infinity"),
        (lambda t: t.update(bias=torch.ones(3)), {}, "holds more than plain LoRA"),
    ],
)
def test_a_damaged_adapter_is_said(
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    told: dict[str, Any],
    said: str,
) -> None:
    pairs = {"model.layers.0.self_attn.q_proj.weight": (torch.ones(2, 64), torch.ones(64, 2))}
    finetune.write_adapter(tmp_path, finetune.Adapter(rank=2, scale=1.0, pairs=pairs), "other")
    tensors = load_file(tmp_path / WEIGHTS)
    change(tensors)
    save_file(tensors, tmp_path / WEIGHTS)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(config | told))

    with pytest.raises(ModelError, match=said):
        read_adapter(tmp_path)


# The run


def test_the_loss_falls_and_what_was_learned_is_loaded(
    folder: Path, repository: Path, tmp_path: Path
) -> None:
    found, _ = sources(repository)
    out = tmp_path / "adapter"

    tuner = MaskedTuner(denoiser(folder), RECIPE)
    log = finetune.finetune(tuner, found, out, RECIPE, str(folder), say=lambda _: None).log

    assert [line["step"] for line in log] == [0, 25, 50]
    assert log[2]["loss"] < 0.75 * log[1]["loss"]
    assert all(0 <= line["exact"] <= 1 for line in log)
    assert read_adapter(out).rank == RECIPE.rank
    lines = (out / "log.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == log
    assert not (out / STATE).exists()
    engine = load_engine(EngineConfig(model=str(folder), adapter=str(out), dtype="int4"))
    assert engine.describe().adapter == f"{out}: LoRA of rank 16, trained on {folder}"
    request = InfillRequest(prefix=FUNCTION.format("a")[:40], suffix="\n", max_lines=1)
    assert [*engine.infill(request)]


SHORT = replace(RECIPE, steps=4, batch=2, every=3, warmup=1, measured=0)


def tuned(
    folder: Path,
    repository: Path,
    out: Path,
    recipe: Recipe = SHORT,
    stopped: Callable[[], bool] = lambda: False,
) -> Run:
    found, _ = sources(repository)
    tuner = MaskedTuner(denoiser(folder), recipe)
    return finetune.finetune(
        tuner, found, out, recipe, str(folder), say=lambda _: None, stopped=stopped
    )


def test_a_run_that_stopped_goes_on_as_if_it_had_not(
    folder: Path, repository: Path, tmp_path: Path
) -> None:
    whole = tuned(folder, repository, tmp_path / "whole")
    seen = []
    for steps in (2, 1):  # behind a step, and where it is measured
        stops = iter([*[False] * steps, True])
        part = tuned(folder, repository, tmp_path / "parts", stopped=lambda s=stops: next(s))
        seen.append(part.step)
        assert read_adapter(tmp_path / "parts").rank == RECIPE.rank
    end = tuned(folder, repository, tmp_path / "parts")

    assert seen == [2, 3]
    assert [line["step"] for line in end.log] == [0, 3, 4]
    assert [line.get("loss") for line in end.log] == [line.get("loss") for line in whole.log]
    one, other = (read_adapter(tmp_path / name).pairs for name in ("whole", "parts"))
    for name, pair in one.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, other[name], strict=True))


def test_a_run_of_other_options_is_not_gone_on_with(
    folder: Path, repository: Path, tmp_path: Path
) -> None:
    tuned(folder, repository, tmp_path, stopped=lambda: True)

    with pytest.raises(ModelError, match="stopped at step 0, with --rank 16 and not 8; give"):
        tuned(folder, repository, tmp_path, replace(SHORT, rank=8))
    (tmp_path / STATE).write_bytes(b"none")
    with pytest.raises(ModelError, match=r"cannot be read .*; remove it to begin anew"):
        tuned(folder, repository, tmp_path)


def test_what_is_no_number_is_blamed_on_the_weights_before_anything_is_learned(
    folder: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([math.nan, 1.0, math.nan])
    monkeypatch.setattr(MaskedTuner, "backward", lambda *_: next(losses))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: 0.0)

    for said in ("at step 1, before anything .* is damaged", "at step 2; take a lower --rate"):
        with pytest.raises(ModelError, match=said):
            tuned(folder, repository, tmp_path / said[-5:])


def test_the_first_request_to_end_waits_for_the_step_and_the_second_does_not() -> None:
    with stoppable() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_ends_with_the_command_that_fills_holes_by_it(
    folder: Path, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "an adapter"
    given = [
        "--model",
        str(folder),
        "--data",
        str(repository),
        "--out",
        str(out),
        "--dtype",
        "int4",
    ]

    code = finetune.main([*given, "--steps", "1", "--batch", "1", "--measured", "0"])

    *_, told, command = capsys.readouterr().out.splitlines()
    assert code == 0
    assert str(out) in told
    assert shlex.split(command)[3:] == [
        "--model",
        str(folder),
        "--dtype",
        "int4",
        "--adapter",
        str(out),
    ]
    assert read_adapter(Path(shlex.split(command)[-1])).rank == Recipe().rank


def test_a_folder_with_nothing_to_learn_is_a_sentence_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, target = tmp_path / "code", tmp_path / "holes.jsonl"
    folder.mkdir()
    given = ["--data", str(folder), "--export", "nemo", str(target)]

    with pytest.raises(ModelError, match="has no file of a language that is known here"):
        finetune.main(given)
    (folder / "made_pb2.py").write_text("x = 1\n" * 60)
    with pytest.raises(ModelError, match="for the reasons above"):
        finetune.main(given)
    assert "left out: generated" in capsys.readouterr().out
    assert not target.exists()


def test_every_option_says_what_it_is() -> None:
    assert HELP.keys() == {spec.name for spec in fields(Recipe)}
    assert all(action.help for action in finetune.parser()._actions)


def test_small_sizes_are_told_in_units_that_leave_something() -> None:
    assert [told(size).strip() for size in (19.11, 0.5, 0.004, 1e-7)] == [
        "19.11 GiB", "0.50 GiB", "4.10 MiB", "0.10 KiB",
    ]  # fmt: skip


def test_the_plan_is_arithmetic_and_needs_no_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune.main(["--model", str(folder), "--plan"])

    sizes = {
        line.split()[-1]: float(line.split()[0]) for line in capsys.readouterr().out.splitlines()
    }
    assert min(sizes.values()) > 0
    assert set(sizes) == {"weights", "LoRA", "activations", "logits", "all"}
    parts = plan(EngineConfig(model=str(folder)), Recipe())
    learned = 2 * 16 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128))
    assert parts["LoRA"] == pytest.approx(16 * learned / 2**30)
    assert parts["all"] == pytest.approx(sum(v for k, v in parts.items() if k != "all"))


def test_the_published_models_are_planned_without_fetching_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    finetune.main(["--plan"])

    found = published(Recipe())
    assert len(capsys.readouterr().out.splitlines()) == len(found) == 5
    assert 45 < found["DiffusionGemma, bfloat16"]["weights"] < 50
    assert found["DreamOn, bfloat16"]["weights"] == pytest.approx(14.2, abs=0.1)
    assert found["DreamOn, int4"]["weights"] == pytest.approx(4.4, abs=0.3)
    assert all(0 < parts["LoRA"] < parts["all"] for parts in found.values())


@pytest.mark.parametrize("form", ["unsloth", "nemo"])
def test_the_same_holes_are_written_for_other_trainers(
    repository: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "holes.jsonl"

    finetune.main(["--data", str(repository), "--export", form, str(target), "--count", "7"])

    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(lines) == 7
    assert "7 holes in" in capsys.readouterr().out
    for line in lines:
        if form == "unsloth":
            assert [each["role"] for each in line["messages"]] == ["user", "assistant"]
        said = line["messages"][1]["content"] if form == "unsloth" else line["output"]
        assert said.startswith("```python\n")
        assert said.endswith("\n```")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--rank", "0"], "--rank 0 is no positive number"),
        (["--warmup", "0"], "--warmup 0 is no positive number"),
        (["--every", "0"], "--every 0 is no positive number"),
        (["--batch", "0"], "--batch 0 is no positive number"),
        (["--rate", "nan"], "--rate nan is no positive number"),
        (["--alpha", "inf"], "--alpha inf is no positive number"),
        (["--export", "none", "holes.jsonl"], "--export none is none of unsloth, nemo"),
        (["--measured", "-1"], "--measured -1 is less than 0"),
        (["--count", "0"], "--count 0 is no positive number"),
        (["--dtype", "int5"], "argument --dtype: invalid choice: 'int5'"),
        (["--export", "nemo", "nowhere/x"], "--export: there is no folder nowhere to write x"),
        (["--data", ".", "--out", f"{__file__}/x"], "is a file; name a folder"),
        (["--data", "nowhere"], "--data nowhere is no folder"),
        (["--out", __file__], "is a file; name a folder"),
    ],
)
def test_impossible_values_are_said_before_anything_is_loaded(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        finetune.main(["--model", "nowhere", *given])

    assert ended.value.code == 2
    assert said in capsys.readouterr().err
