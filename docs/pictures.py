"""Draws the steps of `infill-ls try` from a real run: `python -m docs.pictures` writes
docs/images/step-N.svg."""

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from infill_engine import Draft, EngineConfig, load_engine
from infill_ls.cli import frames
from infill_ls.cli.example import EXAMPLE, HOLE
from infill_ls.cli.view import Surroundings
from infill_ls.completion.pipeline import InfillOptions, Trees, infill_at
from infill_ls.documents import Document

IMAGES = Path(__file__).parent / "images"
# Without the fonts that rich would have a page fetch from another host.
FORM = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> None:
    before, _, after = EXAMPLE.partition(HOLE)
    around = Surroundings(
        title="discounts.py:18:5", language_id="python", prefix=before, suffix=after
    )
    document = Document(uri="untitled:x.py", version=0, language_id="python", text=before + after)
    drafts: list[Draft] = []
    engine = load_engine(EngineConfig())
    options = InfillOptions(max_lines=20, num_candidates=1, num_choices=4, seed=0)
    infill_at(engine, document, len(before), options, trees=Trees(), watch=drafts.append)
    chosen = [drafts[0], drafts[len(drafts) // 2], drafts[-1]]
    for number, draft in enumerate(chosen, 1):
        console = Console(
            record=True, width=80, height=24, file=io.StringIO(), force_terminal=True,
            color_system="truecolor",
        )  # fmt: skip
        console.print(frames.step(around, draft, console))
        svg = console.export_svg(title=f"step {draft.steps}", code_format=FORM, unique_id="s")
        (IMAGES / f"step-{number}.svg").write_text(svg.strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
