"""What a user may set, as data: names, types, defaults, ranges and a line about each.

One source for the server, the docs and the editors' settings pages.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, get_args

from infill_engine.config import Dtype

SECTION = "infill"
TRIGGERS = ("automatic", "subtle", "eol-only", "onDemand", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting as people see it. `low` and `high` bound numbers, `choices` list the words."""

    name: str
    kind: str  # "boolean" | "integer" | "number" | "string" | "strings"
    default: Any
    about: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def allowed(self) -> str:
        """The values it takes, as the end of a sentence."""
        match self.kind:
            case "boolean":
                takes = "true or false"
            case "integer":
                takes = f"a whole number from {self.low} to {self.high}"
            case "number":
                takes = f"a number from {self.low} to {self.high}"
            case "strings":
                takes = "a list of strings"
            case _ if self.choices:
                takes = "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
            case _:
                takes = "a string"
        return takes + (", or null" if self.optional else "")

    def accepts(self, value: object) -> bool:
        match self.kind:
            case "boolean":
                return isinstance(value, bool)
            case "integer" | "number":
                return self._in_range(value)
            case "strings":
                return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
            case _:
                return isinstance(value, str) and (not self.choices or value in self.choices)

    def _in_range(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None, f"{self.name} has bounds"
        assert self.high is not None, f"{self.name} has bounds"
        whole = self.kind == "number" or value == value // 1
        return whole and self.low <= value <= self.high

    def resolved(self, value: Any) -> Any:
        """An accepted value in the type of its field: some clients send 6.0 for 6."""
        match self.kind:
            case "integer":
                return int(value)
            case "number":
                return float(value)
            case "strings":
                return tuple(value)
            case _:
                return value


def _option(default: Any, kind: str, about: str, **bounds: Any) -> Any:
    return dataclasses.field(
        default=default, metadata={"kind": kind, "about": about, "default": default, **bounds}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every option, resolved. None means: what the command line says, or the engine decides."""

    enable: bool = _option(True, "boolean", "Suggest anything at all.")
    trigger: str = _option(
        "automatic",
        "string",
        "When to suggest: while typing (automatic), also while typing, but shown on a key alone "
        "(subtle), only where nothing follows the cursor on its line (eol-only), only when asked "
        "for (onDemand), or never (off).",
        choices=TRIGGERS,
    )
    modes: tuple[str, ...] = _option(
        (),
        "strings",
        'The same for languages and files that are to differ, as "WHAT: MODE", with a language id '
        'or a pattern as in .gitignore for WHAT; the last that fits counts: "vendor/: off".',
    )
    delay_ms: int = _option(
        0,
        "integer",
        "Wait at most so long after the last key before suggesting, in milliseconds, on top of the "
        "editor's own delay: as long while you type on, less once you mostly stop to look, and not "
        "at all where a line begins or what is in brackets.",
        low=0,
        high=5000,
    )
    max_lines: int = _option(
        6, "integer", "The most lines of a suggestion that comes while typing.", low=1, high=50
    )
    max_lines_invoked: int = _option(
        20, "integer", "The most lines of a suggestion that was asked for.", low=1, high=200
    )
    max_tokens: int | None = _option(
        None,
        "integer",
        "The most tokens of a suggestion; null lets the model's canvas decide.",
        low=1,
        high=1024,
        optional=True,
    )
    num_candidates: int = _option(
        3, "integer", "How many alternatives to look for when asked.", low=1, high=8
    )
    workspace: bool = _option(
        True,
        "boolean",
        "Read the other source files of the workspace, to suggest what stands in them; they are "
        "kept in memory and nowhere else, and go to no server.",
    )
    learn: bool = _option(
        True,
        "boolean",
        "Count in your data folder how many suggestions were shown, accepted and dismissed, for "
        "infill-ls stats and for what is shown to you; counts alone, which go nowhere.",
    )
    next_edit: bool = _option(
        True,
        "boolean",
        "Offer what is likely to be edited next, to editors that ask for it.",
    )
    min_confidence: float | None = _option(
        None,
        "number",
        "Hide what is less probable to be right than this, 0 to 1; null shows all that is asked "
        "for, and while typing as much as is right in 70 of 100 cases.",
        low=0,
        high=1,
        optional=True,
    )
    deadline_ms: int = _option(
        135,
        "integer",
        "The most milliseconds that the model may take for a suggestion while typing.",
        low=20,
        high=60_000,
    )
    deadline_invoked_ms: int = _option(
        1500,
        "integer",
        "The most milliseconds that the model may take for a suggestion that was asked for.",
        low=20,
        high=60_000,
    )
    disabled_languages: tuple[str, ...] = _option(
        ("plaintext", "text", "markdown", "gitcommit", "git-commit", "scminput"),
        "strings",
        "Language ids in which nothing is suggested.",
    )
    disabled_files: tuple[str, ...] = _option(
        (),
        "strings",
        "Files in which nothing is suggested and which are no context of others: patterns as in "
        ".gitignore, {one,other} included, relative to the workspace or absolute. What .gitignore "
        "and .infillignore files name is left alone as well, unless a pattern with ! in front "
        "takes it back; what usually holds secrets always is.",
    )
    max_file_size: int = _option(
        1_000_000,
        "integer",
        "Files of more characters are left alone.",
        low=1000,
        high=100_000_000,
    )
    fallback: str = _option(
        "auto",
        "string",
        "Suggest in the completion menu: for editors without inline completion (auto), always, or "
        "never.",
        choices=("auto", "always", "never"),
    )
    warm: bool = _option(
        True,
        "boolean",
        "Encode the text on both sides of the cursor while the model is idle: faster suggestions "
        "for some more work.",
    )
    model: str | None = _option(
        None,
        "string",
        'The model: "default" (the embedded one), a folder of weights, "hub:OWNER/NAME" to '
        "download one, or the URL of a server, or several of them with commas between; null leaves "
        "it to the command line.",
        optional=True,
    )
    judge: str | None = _option(
        None,
        "string",
        "What ranks and continues what the embedded model drafts: the language model that is "
        'shipped where this CPU is fast enough (auto), none ("off"), a folder that holds one, or a '
        "GGUF file for llama.cpp (infill-ls[gguf]), whose own text is always shown first with "
        '"#exact" behind its name; null leaves it to the command line.',
        optional=True,
    )
    adapter: str | None = _option(
        None,
        "string",
        "A folder with what fine-tuning added to DiffusionGemma, DreamOn or their like (LoRA); "
        "null leaves it to the command line.",
        optional=True,
    )
    device: str | None = _option(
        None,
        "string",
        "Where the model runs; mlx and, for DreamOn and its like, mps are Apple's GPU; "
        "null leaves it to the command line.",
        choices=("auto", "cpu", "cuda", "mps", "mlx"),
        optional=True,
    )
    dtype: str | None = _option(
        None,
        "string",
        "What a large model's weights are kept in: as stored (auto), or smaller; null leaves it "
        "to the command line.",
        choices=get_args(Dtype),
        optional=True,
    )
    threads: int | None = _option(
        None,
        "integer",
        "CPU threads for the model; null takes what is fastest: one for the embedded model, two "
        "where its judge reads a long text.",
        low=1,
        high=256,
        optional=True,
    )
    remote_model: str | None = _option(
        None,
        "string",
        "The model's name on a server that serves several; or write it behind the URL as #NAME.",
        optional=True,
    )
    remote_key_env: str | None = _option(
        None,
        "string",
        "The name of the environment variable that holds the server's key; never the key itself.",
        optional=True,
    )
    remote_key_file: str | None = _option(
        None, "string", "The file that holds the server's key.", optional=True
    )
    remote_ca_file: str | None = _option(
        None,
        "string",
        "Certificates (PEM) to trust for the server instead of the system's.",
        optional=True,
    )
    remote_client_cert: str | None = _option(
        None,
        "string",
        "The certificate (PEM) to show to a server that asks for one, with its key in the same "
        "file or in remoteClientKey.",
        optional=True,
    )
    remote_client_key: str | None = _option(
        None,
        "string",
        "The file that holds the key of remoteClientCert, without a password.",
        optional=True,
    )
    remote_trust_env: bool | None = _option(
        None,
        "boolean",
        "Go to the server by the proxies that the environment names (HTTPS_PROXY, NO_PROXY and so "
        "on); null means no: a direct connection, whatever the environment says.",
        optional=True,
    )
    remote_tokenizer: str | None = _option(
        None,
        "string",
        "The served model's tokenizer.json; null lets the server tokenize, one round trip more.",
        optional=True,
    )
    remote_timeout: float | None = _option(
        None,
        "number",
        "The most seconds one HTTP request to the server may take; null means 30.",
        low=0.1,
        high=600,
        optional=True,
    )
    remote_concurrency: int | None = _option(
        None,
        "integer",
        "How many requests may be under way to the server at a time; null means 4.",
        low=1,
        high=64,
        optional=True,
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


BY_FIELD: dict[str, Option] = {
    field.name: Option(name=_camel(field.name), **field.metadata)
    for field in dataclasses.fields(Settings)
}
OPTIONS: tuple[Option, ...] = tuple(BY_FIELD.values())
