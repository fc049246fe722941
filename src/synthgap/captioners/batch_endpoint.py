"""A service's batch endpoint, with patience for passing faults and plain words for others."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx2
import openai
import tenacity
from openai.types import Batch as Told

from synthgap.captioners.pace import pause
from synthgap.captioners.requests import ENDPOINT, PASSING, QUOTA, read_key, reason, without
from synthgap.errors import UserError

Answer = TypeVar("Answer")

# Of the service's batches, where one whose name was lost is looked for.
LOOKED_THROUGH = 1000
TAG = "synthgap"
QUOTA_GONE = "the quota of your account at the captioning service is used up"
KEPT = "Replies so far are kept; the same command goes on"


class AwayError(Exception):
    """The service cannot be reached, or is too busy, for now."""


class BatchEndpoint:
    """Calls of the service; each is tried again after passing faults.

    All raise AwayError when these do not pass, and UserError when the service refuses.

    Args:
        transport: as of `synthgap.captioners.service.ServiceCaptioner`.
    """

    def __init__(self, transport: dict[str, Any]) -> None:
        self.transport = transport
        self.key = read_key(transport["key_variable"])
        self.client = openai.OpenAI(
            api_key=self.key,
            base_url=transport["base_url"],
            timeout=transport["timeout"],
            max_retries=0,
        )

    def upload(self, path: Path) -> str:
        """Hand over a file of requests; return the service's name for it."""
        return self._patiently(lambda: self._upload(path))

    def create(self, input_file: str, window: str, tag: str) -> str:
        """Create a batch, unless an earlier try did and its answer was lost; return its name."""
        return self._patiently(lambda: self._known_as(tag) or self._create(input_file, window, tag))

    def known_as(self, tag: str) -> str | None:
        """Return the service's name for the batch with our tag, if it is among the newest."""
        return self._patiently(lambda: self._known_as(tag))

    def look(self, name: str) -> Told:
        """Return what the service tells of a batch."""
        return self._patiently(lambda: self.client.batches.retrieve(name))

    def download(self, name: str, file: BinaryIO) -> None:
        """Write a file of the service's to `file`, and go to its start."""
        self._patiently(lambda: self._download(name, file))
        file.seek(0)

    def delete(self, name: str) -> None:
        """Delete a file at the service, which has room for so many only; no matter if not."""
        with suppress(openai.OpenAIError):
            self.client.files.delete(name)

    def _upload(self, path: Path) -> str:
        with path.open("rb") as file:  # of a path, the client would read all of it at once
            return self.client.files.create(file=file, purpose="batch").id

    def _create(self, input_file: str, window: str, tag: str) -> str:
        return self.client.batches.create(
            input_file_id=input_file,
            endpoint=ENDPOINT,
            completion_window=window,  # type: ignore[arg-type]
            metadata={TAG: tag},
        ).id

    def _known_as(self, tag: str) -> str | None:
        newest = itertools.islice(self.client.batches.list(limit=100), LOOKED_THROUGH)
        return next((one.id for one in newest if (one.metadata or {}).get(TAG) == tag), None)

    def _download(self, name: str, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        with self.client.files.with_streaming_response.content(name) as content:
            for block in content.iter_bytes(1 << 20):
                file.write(block)

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """Call the service, again after passing faults, and tell others in one line."""
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(AwayError),
            stop=tenacity.stop_after_attempt(self.transport["attempts"]),
            wait=lambda state: pause(state.attempt_number),
            reraise=True,
        )
        answer: Answer = tries(self._once, call)
        return answer

    def _once(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except openai.APIStatusError as error:
            code, message = reason(error.response.text, self.key)
            told = " ".join(filter(None, (str(error.status_code), code, message)))
            if code in QUOTA or error.status_code == 402:
                raise UserError(f"{QUOTA_GONE} ({told}). {KEPT}") from None
            if error.status_code in PASSING or error.status_code >= 500:
                raise AwayError(told) from None
            if error.status_code == 401:
                variable = self.transport["key_variable"]
                raise UserError(
                    f"the service refuses the key in {variable} (401); renew it"
                ) from None
            raise UserError(
                f"the service's batch endpoint answers {told}; where it does not know a batch any "
                f"more, delete its state file beside the replies to have it captioned anew"
            ) from None
        except AttributeError:  # the client takes any text for an answer
            raise UserError(
                f"captioner.base_url: {self.transport['base_url']} has no batch endpoint"
            ) from None
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            raise AwayError(without(str(error.__cause__ or error), self.key)) from None
