"""From a request to texts: the pipeline, checks and budget of the language server, for clients
that send both sides of the cursor with every request.

One request is with the model at a time, in the order of their arrival, and its budget begins with
its turn: so of many clients at once each gets an answer, and an editor that shares the model waits
for one of them at most. Belongs to the event loop.
"""

import asyncio
import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace

from infill_engine import EngineConfig, EngineInfo, InfillError
from infill_ls import secret_texts
from infill_ls.completion.pipeline import Timings
from infill_ls.completion.requests import QueryResult, Requests
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
IDLE_SECONDS = 300.0  # until nothing is kept of the places that were asked about
_NOTHING = Timings(total=0.0, context=0.0, encode=0.0, denoise=0.0, judge=0.0, validate=0.0)


class Unavailable(InfillError):
    """There is no answer for now; the same request may have one later."""


class Failed(InfillError):
    """What should have answered failed."""


class TooLarge(InfillError):
    """More text than is read of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FimAnswer:
    """`texts`, best first, is empty where there is nothing to say. `tokens` and `ms` are those of
    the model's run, 0 where it needed none; `stopped_by` is the stop string that ended the first
    text, and `ended` whether it is complete, rather than cut at `max_tokens`."""

    texts: tuple[str, ...]
    info: EngineInfo
    tokens: int = 0
    ms: Timings = _NOTHING
    stopped_by: str = ""


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
        self._idle: asyncio.TimerHandle | None = None

    def load(self) -> "Future[EngineInfo]":
        """Begins to load the engine, unless it is there. The future raises InfillError."""
        config = None if self._worker.failed else self._worker.config
        return self._worker.load(config or self._config)

    async def infill(self, request: FimRequest) -> FimAnswer:
        """Raises Unavailable while there is no model, Failed where it fails, and TooLarge."""
        started = time.perf_counter()
        length, most = len(request.before) + len(request.after), self._settings.max_file_size
        if length > most:
            raise TooLarge(
                f"The text has {length} characters, of which {most} are read; send only what "
                "is round the cursor."
            )
        info = await self.loaded(LOAD_SECONDS)
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
        logger.info(
            "fim %s: %s, %d texts, %.0f ms",
            request.language_id or "?",
            result.how,
            len(result.candidates),
            (time.perf_counter() - started) * 1e3,
        )
        if result.how == "failed":
            raise Failed(result.complaint or "infill-ls failed at this request; its log says why.")
        return _answer(result, request, document, info)

    async def loaded(self, seconds: float) -> EngineInfo:
        """Raises Unavailable where that takes longer, or cannot be."""
        loading = self.load()
        if not loading.done():
            ended = asyncio.wrap_future(loading)
            await asyncio.wait([ended], timeout=seconds)
        if not loading.done():
            stage, done = self._worker.progress
            how_far = f" ({stage}, {done:.0%})" if stage else ""
            raise Unavailable(f"The model is being loaded{how_far}; try again.")
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
        finally:
            self._turn.release()
        if result.complaint:
            logger.warning("%s", result.complaint)
        return result

    def _limits(self, request: FimRequest, info: EngineInfo) -> QueryLimits:
        """As for what comes while typing: clients ask by themselves."""
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


def _answer(
    result: QueryResult, request: FimRequest, document: Document, info: EngineInfo
) -> FimAnswer:
    cut = [_cut(each.text, request.stop) for each in result.candidates]
    texts = dict.fromkeys(text for text, _ in cut if text)  # each once, in their order
    draft = result.infilled.draft if result.infilled else None
    return FimAnswer(
        texts=tuple(text.replace("\n", document.newline) for text in texts),
        info=info,
        tokens=draft.tokens if draft and texts else 0,
        ms=result.infilled.ms if result.infilled else _NOTHING,
        stopped_by=cut[0][1] if cut else "",
    )


def _cut(text: str, stops: tuple[str, ...]) -> tuple[str, str]:
    """The text up to the first stop string in it, and that."""
    found = [(text.index(stop), stop) for stop in stops if stop in text]
    at, stop = min(found, default=(len(text), ""))
    return text[:at], stop
