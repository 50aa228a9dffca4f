"""From a request to texts: the pipeline, checks and budget of the language server, for clients
that send both sides of the cursor with every request.

One request is with the model at a time, in the order of their arrival, and its budget begins with
its turn: so of many clients at once each gets an answer, and an editor that shares the model waits
for one of them at most. Belongs to the event loop.
"""

import asyncio
import logging
import math
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace

from infill_engine import EngineConfig, EngineInfo, InfillError
from infill_ls import secret_texts
from infill_ls.completion.candidate import Candidate
from infill_ls.completion.pipeline import Timings
from infill_ls.completion.requests import NUM_LATE, QueryResult, Requests
from infill_ls.completion.worker import Query, QueryLimits, Worker
from infill_ls.documents import Document
from infill_ls.fim.asked import FimRequest
from infill_ls.fim.places import Places
from infill_ls.ignore import IgnorePolicy
from infill_ls.server.policy import limits_of, refusal
from infill_ls.settings import Settings

logger = logging.getLogger(__name__)
LOAD_SECONDS = 30.0  # that a request waits for the model to be loaded
TURN_SECONDS = 30.0  # and for those before it
RETRY_SECONDS = 30.0  # from an attempt to load that failed until the next
LOADING = "The model is being loaded"
IDLE_SECONDS = 300.0  # until nothing is kept of the places that were asked about
MORE_TIME = "--fim-deadline-ms or, in llama.cpp's requests, t_max_predict_ms"
_NEEDED = {"encoding", "denoising", "checks"}  # without which there is no text
_NOTHING = Timings(total=0.0, context=0.0, encode=0.0, denoise=0.0, judge=0.0, validate=0.0)


class Unavailable(InfillError):
    """There is no answer for now; the same request may have one later."""


class Failed(InfillError):
    """What should have answered failed."""


class TooLarge(InfillError):
    """More text than is read of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FimText:
    """`tokens` are those of the draft that it is of, at most as many as were wanted; `stopped_by`
    is the stop string that ended it, and it was `limited` where `max_tokens` did."""

    text: str
    tokens: int
    stopped_by: str = ""
    limited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FimAnswer:
    """`texts`, best first, is empty where there is nothing to say, and then `why` says why, as far
    as it is anybody's business. `ms` are those of the model's run, 0 where it needed none."""

    texts: tuple[FimText, ...]
    info: EngineInfo
    ms: Timings = _NOTHING
    why: str = ""

    @property
    def tokens(self) -> int:
        return sum(text.tokens for text in self.texts)


class FimService:
    """Answers requests with the engine of `worker`, which others may use as well.

    `config` says which engine that is unless somebody has loaded another one. The settings are
    those of `Settings()`: HTTP clients have none to send.
    """

    def __init__(self, worker: Worker, config: EngineConfig) -> None:
        self._worker = worker
        self._config = config
        self._settings = Settings()
        self._requests = Requests(worker)
        self._places = Places(self._requests.closed)
        self._turn = asyncio.Lock()
        self._num_late = 0  # in a row
        self._idle: asyncio.TimerHandle | None = None
        self._loading: Future[EngineInfo] | None = None  # the last attempt of ours
        self._tried = 0.0  # when that ended

    def load(self) -> "Future[EngineInfo]":
        """Begins to load the engine, unless it is there. The future raises InfillError."""
        config = None if self._worker.failed else self._worker.config
        loading = self._worker.load(config or self._config)
        if loading is not self._loading:
            self._loading = loading
            loading.add_done_callback(self._load_ended)
        return loading

    def _load_ended(self, _: "Future[EngineInfo]") -> None:
        """On the engine's thread."""
        self._tried = time.monotonic()

    async def infill(self, request: FimRequest) -> FimAnswer:
        """Raises Unavailable while there is no model, Failed where it fails, and TooLarge."""
        started = time.perf_counter()
        length, most = len(request.before) + len(request.after), self._settings.max_file_size
        if length > most:
            raise TooLarge(
                f"The text has {length} characters, of which {most} are read; send only what "
                "is round the cursor."
            )
        again = time.monotonic() - self._tried > RETRY_SECONDS
        info = await self.loaded(LOAD_SECONDS, again=again)
        self._wake()
        document = self._places.take(request.before, request.after, request.language_id)
        try:
            query = Query(
                document=document, offset=len(request.before), limits=self._limits(request, info)
            )
            result = await self._result(query, request)
        finally:
            self._places.give_back(document, len(request.before))
            secret_texts.forget(document.uri)
            self._rest()
        rejected = result.infilled.rejected if result.infilled else ""
        logger.info(
            "fim %s: %s%s, %d texts, %.0f ms",
            request.language_id or "?",
            result.how,
            f" ({rejected})" if rejected else "",
            len(result.candidates),
            (time.perf_counter() - started) * 1e3,
        )
        if result.how == "failed":
            raise Failed(result.complaint or "infill-ls failed at this request; its log says why.")
        return _answer(result, request, document, info)

    async def loaded(self, seconds: float, *, again: bool = False) -> EngineInfo:
        """Raises Unavailable where that takes longer, or cannot be. What failed is tried `again`
        on demand alone: who only looks shall not keep the machine busy."""
        loading = self._loading
        failed = loading is not None and loading.done() and loading.exception() is not None
        if loading is None or again or not (failed and self._worker.failed):
            loading = self.load()
        if not loading.done():
            ended = asyncio.wrap_future(loading)
            await asyncio.wait([ended], timeout=seconds)
        if not loading.done():
            stage, done = self._worker.progress
            how_far = f" ({stage}, {done:.0%})" if stage else ""
            raise Unavailable(f"{LOADING}{how_far}; try again.")
        try:
            return loading.result()
        except InfillError as error:
            raise Unavailable(str(error)) from error

    async def _result(self, query: Query, request: FimRequest) -> QueryResult:
        if why := await self._refusal(query.document, request.path):
            return QueryResult(how=why)
        if request.max_tokens == 0:
            if query.document.text:
                self._requests.warm(query)
            return QueryResult(how="warmed")
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable(
                f"{TURN_SECONDS:.0f} seconds have not been enough for the requests before this "
                "one; send fewer at a time."
            ) from None
        try:
            result = await self._requests.answer(query, 0.0)
            if request.seconds is None and _had_no_time(result):
                # Who types on hangs up. Who is still there is better served late than never.
                seconds = self._settings.deadline_invoked_ms / 1000
                query = replace(query, limits=replace(query.limits, seconds=seconds))
                result = await self._requests.answer(query, 0.0)
        finally:
            self._turn.release()
        self._count_late(_had_no_time(result), query.limits.seconds)
        return result

    def _count_late(self, late: bool, seconds: float) -> None:
        self._num_late = self._num_late + 1 if late else 0
        if self._num_late == NUM_LATE:
            logger.warning(
                "The model seldom answers within %.0f ms here. Give it more time with %s, or "
                "choose a faster model; infill-ls doctor says how long it takes.",
                seconds * 1e3,
                MORE_TIME,
            )

    def _limits(self, request: FimRequest, info: EngineInfo) -> QueryLimits:
        """As for what comes while typing: clients ask by themselves, and cannot say when somebody
        asked for it."""
        limits = limits_of(self._settings, invoked=False)
        tokens = request.max_tokens
        return replace(
            limits,
            max_lines=1 if "\n" in request.stop else limits.max_lines,
            max_tokens=tokens if tokens and tokens < info.max_tokens else limits.max_tokens,
            num_candidates=request.num_texts,
            seconds=request.seconds or limits.seconds,
        )

    async def _refusal(self, document: Document, path: str) -> str:
        """Why nothing is said of it. Not for the client: who may be another user of the machine
        shall not learn from us what is ignored in a folder."""
        policy = IgnorePolicy(
            disabled_files=self._settings.disabled_files,
            max_file_size=self._settings.max_file_size,
            remote=(self._worker.config or self._config).is_remote,
        )
        if policy.remote:
            for _ in secret_texts.look_through(document.uri, document.text):
                await asyncio.sleep(0)  # others are served meanwhile
        why = refusal(self._settings, policy, document)
        return why or (path and refusal(self._settings, policy, replace(document, uri=path)))

    def _wake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()

    def _rest(self) -> None:
        """Nothing is kept of who has not asked for long, so that memory goes back."""
        self._wake()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._forget)

    def _forget(self) -> None:
        self._requests.close()
        self._requests = Requests(self._worker)
        self._places = Places(self._requests.closed)


def _had_no_time(result: QueryResult) -> bool:
    """Rather than nothing to say."""
    if result.how == "late":
        return True
    found = None if result.candidates else result.infilled
    return found is not None and not _NEEDED.isdisjoint(found.left_out)


def _why_empty(result: QueryResult, request: FimRequest) -> str:
    """Nothing of a file that is left alone: see `FimService._refusal`."""
    if request.max_tokens == 0:
        return "no text was asked for"
    if _had_no_time(result):
        return f"there was no time for a text; give it more with {MORE_TIME}"
    return "there is nothing to say that is sure enough; the log of --log-level info says more"


def _answer(
    result: QueryResult, request: FimRequest, document: Document, info: EngineInfo
) -> FimAnswer:
    texts: dict[str, FimText] = {}  # each once, in their order
    for each in result.candidates:
        text, stopped_by = _cut(each.text, request.stop)
        said = _text(text.replace("\n", document.newline), stopped_by, each, request)
        texts.setdefault(text, said)
    said_something = tuple(each for each in texts.values() if each.text)
    return FimAnswer(
        texts=said_something or tuple(texts.values()),
        info=info,
        ms=result.infilled.ms if result.infilled else _NOTHING,
        why="" if said_something else _why_empty(result, request),
    )


def _text(text: str, stopped_by: str, candidate: Candidate, request: FimRequest) -> FimText:
    draft, most = candidate.draft, request.max_tokens or math.inf
    # What is shown may be the beginning of a draft, which ends where it was sure no longer.
    whole = draft.text.rstrip().endswith(candidate.text.rstrip())
    return FimText(
        text=text,
        tokens=min(draft.tokens, request.max_tokens or draft.tokens),
        stopped_by=stopped_by,
        limited=whole and not stopped_by and draft.tokens >= most,
    )


def _cut(text: str, stops: tuple[str, ...]) -> tuple[str, str]:
    """The text up to the first stop string in it, and that."""
    found = [(text.index(stop), stop) for stop in stops if stop in text]
    at, stop = min(found, default=(len(text), ""))
    return text[:at], stop
