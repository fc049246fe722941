"""Captions from any service that speaks OpenAI's protocol: hosted, or vLLM on the cluster."""

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import tenacity

from synthgap import stopping
from synthgap.captioners import Picture, Reply
from synthgap.captioners.cache import ReplyCache, picture_key
from synthgap.captioners.pace import Gate, pause, retry_after, used_up
from synthgap.captioners.requests import (
    PASSING,
    QUOTA,
    REFUSED,
    MalformedReplyError,
    quiet_clients,
    read_completion,
    read_key,
    reason,
    request_body,
    require_model,
    without,
)
from synthgap.config.captioners import ServiceCaptioner as Settings
from synthgap.errors import UserError, suggest
from synthgap.progress import Progress

log = logging.getLogger("synthgap")

# Requests that are under way when the job is told to stop are paid for, so they are waited for.
GRACE = 20.0
# Waiting for a rate limit is no fault: so many times as often as `attempts`.
PATIENCE = 5
# A whole answer that is none in the protocol is paid for too.
MOST_PAID = 2
# In seconds; a limit of a day, say, is not waited for.
LONGEST_WAIT = 3600.0
KEPT_IN_CACHE = "replies so far are kept; the same command goes on and pays none of them again"


class _AgainError(Exception):
    """A try that failed in a way that another one may not."""

    def __init__(
        self, why: str, *, limited: bool = False, paid: bool = False, after: float | None = None
    ) -> None:
        super().__init__(why)
        self.limited, self.paid, self.after = limited, paid, after


def cache_settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reply depends on, apart from the picture.

    What has its default is left out, so that an option that is added later makes no reply unknown.
    """
    fields = Settings.model_fields
    silent = ("kind", "prompt_name", "token_argument")
    return {
        name: value
        for name, value in spec.items()
        if name not in silent and value != fields[name].get_default(call_default_factory=True)
    }


def load(
    spec: dict[str, Any], *, model: Path | None, device: str, cache: Path | None
) -> "ServiceCaptioner":
    """The captioner of kind `service`.

    Args:
        spec: its options, under `transport` how replies are fetched, and under `rejected`, where
            they come by batch, why there is none to a request, by key.
        cache: folder of the replies.
    """
    if cache is None:
        raise UserError("the captioner of kind service needs a folder for its replies")
    options = {name: spec[name] for name in spec if name not in ("transport", "rejected")}
    return ServiceCaptioner(options, spec["transport"], cache, spec.get("rejected", {}))


class ServiceCaptioner:
    """Asks for what the cache does not hold, many pictures at once.

    Args:
        spec: what shapes a reply: the options of `synthgap.config.captioners.ServiceCaptioner`.
        transport: its `transport`, and `max_failed`: the share of pictures that may fail before
            the work is given up.
        cache: folder of the replies.
        rejected: why the batch endpoint has no reply to a request, by key.
    """

    # A call ends when its slowest request does: with so many, that costs nothing.
    at_once = 16_384

    def __init__(
        self,
        spec: dict[str, Any],
        transport: dict[str, Any],
        cache: Path,
        rejected: Mapping[str, str],
    ) -> None:
        self.spec, self.transport, self.name = spec, transport, spec["model"]
        self.rejected = rejected
        self.cache = ReplyCache(cache, cache_settings(spec))

    def caption(self, pictures: Sequence[Picture]) -> list[Reply]:
        """Return a reply for each picture; identical pictures are asked for once.

        Raises:
            UserError: the service does not know key or model, its quota is used up, another model
                answers, or more than `max_failed` of the pictures fail.
        """
        keys = [picture_key(picture, self.spec["prompt"]) for picture in pictures]
        found = self.cache.find(keys)
        missing = {key: p for key, p in zip(keys, pictures, strict=True) if key not in found}
        log.info("%d of %d replies are there", len(pictures) - len(missing), len(pictures))
        if missing and self.transport["batch"] is not None:
            none = "no reply from the batch endpoint"
            found |= {
                key: Reply("", "failed", error=self.rejected.get(key, none), attempts=0)
                for key in missing
            }
        elif missing:
            most = int(self.transport["max_failed"] * len(pictures))
            with stopping.deferred(), self.cache:
                try:
                    found |= asyncio.run(_Conversation(self, most).ask(missing))
                except asyncio.CancelledError:
                    if not stopping.asked():
                        raise
        require_model(found.values(), self.name, self.transport["answers_as"])
        return [found[key] for key in keys]


class _Conversation:
    """One call's requests, `concurrency` of them under way."""

    def __init__(self, captioner: ServiceCaptioner, most_failed: int) -> None:
        self.spec, self.transport = captioner.spec, captioner.transport
        self.cache, self.most_failed = captioner.cache, most_failed
        self.key = read_key(self.transport["key_variable"])
        self.replies: dict[str, Reply] = {}
        self.failed = 0
        self.given_up: Exception | None = None
        self.gate = Gate()

    async def ask(self, pictures: Mapping[str, Picture]) -> dict[str, Reply]:
        quiet_clients()
        self.over = asyncio.Event()
        missing = iter(pictures.items())
        count = min(self.transport["concurrency"], len(pictures))
        limits = httpx2.Limits(max_connections=count, max_keepalive_connections=count)
        with Progress(len(pictures), "replies") as self.progress:
            async with openai.AsyncOpenAI(
                api_key=self.key,
                base_url=self.transport["base_url"],
                timeout=self.transport["timeout"],
                max_retries=0,  # tries are counted, and paced, here
                http_client=openai.DefaultAsyncHttpxClient(limits=limits),
            ) as self.client:
                workers = [asyncio.create_task(self._work(missing)) for _ in range(count)]
                await self._wait(workers)
        if isinstance(self.given_up, UserError):
            raise UserError(f"{self.given_up}; {KEPT_IN_CACHE}")
        if self.given_up:
            raise self.given_up
        return self.replies

    async def _wait(self, workers: list[asyncio.Task[None]]) -> None:
        """Wait for all workers, or, told to stop, for what is under way."""
        waiting = asyncio.gather(*workers)
        watch = asyncio.create_task(self._watch())
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:  # Ctrl-C
            self.over.set()
            await asyncio.wait(workers, timeout=GRACE)
            raise
        finally:
            watch.cancel()
            for worker in workers:
                worker.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await waiting

    async def _watch(self) -> None:
        while not stopping.asked():
            await asyncio.sleep(0.1)
        self.over.set()
        await asyncio.sleep(GRACE)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _work(self, missing: Iterator[tuple[str, Picture]]) -> None:
        for key, picture in missing:
            if self.over.is_set():
                return
            try:
                reply = await self._reply(picture)
                if reply is None:  # told to stop between two tries
                    return
                self._keep(key, picture, reply)
            except Exception as error:
                # The other requests that are under way are paid for, so they come to their ends.
                self.given_up = self.given_up or error
                self.over.set()
                return

    def _keep(self, key: str, picture: Picture, reply: Reply) -> None:
        if reply.finish == "failed":
            self._count_failure(picture, reply)
        else:
            self.cache.add(key, reply)
            require_model([reply], self.spec["model"], self.transport["answers_as"])
        self.replies[key] = reply
        self.progress.update()

    def _count_failure(self, picture: Picture, reply: Reply) -> None:
        self.failed += 1
        log.info("%s: failed after %d tries: %s", picture.key, reply.attempts, reply.error)
        if self.failed > self.most_failed:
            self.given_up = self.given_up or UserError(
                f"{self.failed} images failed, and captioner.max_failed allows {self.most_failed} "
                f"of a call; the last: {reply.error}"
            )
            self.over.set()

    async def _reply(self, picture: Picture) -> Reply | None:
        """Return what the service says of a picture, or that it failed; None if told to stop."""
        tries = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_AgainError),
            stop=self._no_more,
            wait=self._pause,
            sleep=self._sleep,
            reraise=True,
        )
        body = await asyncio.to_thread(request_body, self.spec, picture)
        try:
            reply: Reply = await tries(self._try, body)
        except _AgainError as error:
            if self.over.is_set():
                return None
            count = int(tries.statistics["attempt_number"])
            return Reply("", "failed", error=str(error), attempts=count)
        return replace(reply, attempts=int(tries.statistics["attempt_number"]))

    async def _try(self, body: dict[str, Any]) -> Reply:
        await self.gate.passed(self._sleep)
        if self.over.is_set():
            raise _AgainError("told to stop")
        started = time.monotonic()
        try:
            # The client's own time-out is from one piece of an answer to the next.
            async with asyncio.timeout(self.transport["timeout"]):
                answer = await self.client.post(
                    "/chat/completions", cast_to=httpx2.Response, body=body
                )
                content = await answer.aread()
        except openai.APIStatusError as error:
            return await self._refused(error)
        except (openai.APIConnectionError, httpx2.TransportError, TimeoutError) as error:
            raise _AgainError(self._words(error)) from None
        seconds = time.monotonic() - started
        asked, price = self.spec["model"], self.transport["price"]
        try:
            reply = read_completion(content, asked, price, seconds=seconds)
        except MalformedReplyError as error:
            whole = content.strip().endswith(b"}") and not str(error).startswith(": Invalid JSON")
            told = f"a reply that is not in the protocol ({error})"
            raise _AgainError(told, paid=whole) from None
        tokens = (reply.input_tokens or 0) + (reply.output_tokens or 0)
        self._hold(used_up(answer.headers, tokens))
        return reply

    def _hold(self, seconds: float | None) -> None:
        """Hold all requests back for so long; UserError where that is too long to wait."""
        if seconds is None:
            return
        if seconds > LONGEST_WAIT:
            raise UserError(
                f"the service's limit for your account is reached, for {seconds / 3600:.1f} hours; "
                "run again then"
            )
        self.gate.hold(seconds)

    async def _refused(self, error: openai.APIStatusError) -> Reply:
        """Tell by its status what an error means: for all, for this picture, or for now."""
        status, host = error.status_code, httpx2.URL(self.transport["base_url"]).host
        code, message = reason(error.response.text, self.key)
        told = " ".join(part for part in (str(status), code, message) if part)
        variable = self.transport["key_variable"]
        if status == 401:
            raise UserError(
                f"{host} refuses the key in {variable} (401); renew it"
                if variable
                else f"{host} wants a key (401); name its variable as `captioner.key_variable`"
            )
        if status == 403 and not re.search("flagged|moderation", error.response.text):
            raise UserError(f"{host} refuses access to {self.spec['model']} ({told})")
        if status == 404:
            raise UserError(await self._no_model(host))
        if code in QUOTA or status == 402:
            raise UserError(f"the quota of your account at {host} is used up ({told})")
        if status == 429:
            headers = error.response.headers
            after = retry_after(headers)
            after = used_up(headers, tokens=1) if after is None else after
            self._hold(after)
            raise _AgainError(told, limited=True, after=after)
        if status in PASSING or status >= 500:
            raise _AgainError(told, after=retry_after(error.response.headers))
        if code in REFUSED or status == 403:
            return Reply(message, "refused", model=self.spec["model"])
        return Reply("", "failed", error=told)

    async def _no_model(self, host: str) -> str:
        model = self.spec["model"]
        try:
            known = [entry.id async for entry in self.client.models.list()]
        except openai.NotFoundError:
            return f"captioner.base_url: nothing that speaks OpenAI's protocol is at {host} there"
        except openai.OpenAIError:
            known = []
        return f"captioner.model: {host} has no model `{model}`{suggest(model, known[:50])}"

    def _no_more(self, state: tenacity.RetryCallState) -> bool:
        if self.over.is_set():
            return True
        error = self._error(state)
        most = self.transport["attempts"] * (PATIENCE if error.limited else 1)
        if error.paid:
            most = min(most, MOST_PAID)
        return bool(state.attempt_number >= most)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        return max(pause(state.attempt_number), self._error(state).after or 0.0)

    async def _sleep(self, seconds: float) -> None:
        """Sleep; there is nothing to wait for once the work is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)

    @staticmethod
    def _error(state: tenacity.RetryCallState) -> _AgainError:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, _AgainError)
        return error

    def _words(self, error: Exception) -> str:
        if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException | TimeoutError):
            return f"no reply within {self.transport['timeout']:g} s"
        cause = error.__cause__ or error
        return without(f"the connection failed ({str(cause) or type(cause).__name__})", self.key)
