"""A small server that speaks OpenAI's protocol, and misbehaves on request.

Captions depend on the picture alone. Faults are taken from a queue, one a request; a batch's from
its own. PYTHONPATH=tests python -m fake_service PORT LATENCY serves until it is stopped.
"""

import base64
import hashlib
import json
import queue
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-of-the-tests"
MODEL = "tiny-captioner"
TOKENS = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def caption_of(body: dict[str, Any]) -> str:
    """What the server says of a request's picture."""
    text, image = body["messages"][0]["content"]
    digest = hashlib.sha256((text["text"] + image["image_url"]["url"]).encode()).hexdigest()
    return f"A picture with the number {digest[:12]}. It was asked for with care."


def picture_of(body: dict[str, Any]) -> str:
    """SHA-256 of the picture that a request holds."""
    url = body["messages"][0]["content"][1]["image_url"]["url"]
    return hashlib.sha256(base64.b64decode(url.partition(",")[2])).hexdigest()


def completion(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": caption_of(body), "refusal": None}
    message |= changes.pop("message", {})
    choice = {"index": 0, "message": message, "finish_reason": changes.pop("finish", "stop")}
    told = {"id": "c", "object": "chat.completion", "created": 0, "model": f"{MODEL}-2026-01-01"}
    return told | {"choices": [choice], "usage": TOKENS} | changes


def error(code: str, message: str = "told so") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": "error", "param": None}}


class Service(ThreadingHTTPServer):
    """The server.

    Attributes:
        latency: seconds that a reply takes.
        faults: of the next requests; `None` for one without.
        always: a fault of every request of a picture, by its SHA-256.
        asked: the pictures of all requests, in order; `answered`: of those that got a reply.
        in_flight, most_in_flight: requests; `busy`: request seconds, from `first` to `last`.
        batch_faults: of the next batches.
        every_batch: a fault of all of them; `away`: nothing but 503 for looks at them.
        batches, files: what was sent to the batch endpoint.
        polls: how often a batch is looked at before it ends.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0, latency: float = 0.0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.latency = latency
        self.lock = threading.Lock()
        self.faults: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.always: dict[str, str] = {}
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.in_flight = self.most_in_flight = 0
        self.busy = 0.0
        self.first: float | None = None
        self.last = 0.0
        self.batch_faults: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.every_batch: str | None = None
        self.away = False
        self.batches: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.uploaded: list[int] = []
        self.polls = 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that went away


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Service

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self._authorised():
            return
        if self.path == "/v1/chat/completions":
            self._complete(json.loads(content))
        elif self.path == "/v1/files":
            self._upload(content)
        elif self.path == "/v1/batches":
            self._make_batch(json.loads(content))
        else:
            self._send(404, error("unknown_url"))

    def do_GET(self) -> None:
        if not self._authorised():
            return
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        elif path == "/v1/batches":
            listed = [batch["told"] for batch in self.server.batches.values()]
            self._send(200, {"object": "list", "data": listed[::-1], "has_more": False})
        elif self.server.away:
            self._send(503, error("away"))
        elif path.startswith("/v1/batches/"):
            self._send(200, self._look(self.server.batches[path.rpartition("/")[2]]))
        elif path.startswith("/v1/files/"):
            self._send_bytes(200, self.server.files[path.split("/")[3]])
        else:
            self._send(404, error("unknown_url"))

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.files.pop(name, None)
        self._send(200, {"id": name, "object": "file", "deleted": True})

    def _authorised(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {KEY}":
            return True
        self._send(401, error("invalid_api_key", f"no: {self.headers.get('authorization')}"))
        return False

    def _complete(self, body: dict[str, Any]) -> None:
        server, picture = self.server, picture_of(body)
        with server.lock:
            server.asked.append(picture)
            server.bodies.append(body)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            fault = None if server.faults.empty() else server.faults.get()
            fault = fault or server.always.get(picture)
        started = time.monotonic()
        server.first = server.first or started
        try:
            time.sleep(server.latency)
            # What comes next may reach the server before this thread goes on.
            with server.lock:
                server.in_flight -= 1
                server.last = time.monotonic()
                server.busy += server.last - started
            self._answer(body, picture, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _answer(self, body: dict[str, Any], picture: str, fault: Any) -> None:
        server = self.server
        if body["model"] != MODEL:
            self._send(404, error("model_not_found", f"no model {body['model']}"))
        elif fault is None:
            with server.lock:
                server.answered.append(picture)
            self._send(200, completion(body), server.headers)
        elif isinstance(fault, tuple):
            status, content, headers = fault
            self._send(status, content, headers)
        elif fault == "cut":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"half":')
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
        elif fault == "slow":
            time.sleep(30)
        elif fault == "malformed":
            self._send_bytes(200, b'{"choices": [}')
        elif fault == "page":
            self._send_bytes(200, b"<html>busy</html>", {"content-type": "text/html"})
        elif fault == "refusal":
            refused = {"content": None, "refusal": "I can't look at this."}
            self._send(200, completion(body, message=refused))
        elif fault == "empty":
            self._send(200, completion(body, message={"content": " \n"}))
        elif fault == "length":
            text = {"content": "It is a dog. It sits on a"}
            self._send(200, completion(body, message=text, finish="length"))
        elif fault == "other":
            self._send(200, completion(body, model="another-model"))
        else:
            raise AssertionError(fault)

    def _upload(self, content: bytes) -> None:
        kind = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(kind + content)
        [file] = [part for part in form.iter_parts() if part.get_filename()]
        name = f"file-{uuid.uuid4().hex[:8]}"
        self.server.files[name] = file.get_payload(decode=True)
        self.server.uploaded.append(len(self.server.files[name]))
        self._send(200, {"id": name, "object": "file", "bytes": 1, "created_at": 0,
                         "filename": "f", "purpose": "batch", "status": "processed"})  # fmt: skip

    def _make_batch(self, asked: dict[str, Any]) -> None:
        server, name = self.server, f"batch-{uuid.uuid4().hex[:8]}"
        fault = None if server.batch_faults.empty() else server.batch_faults.get()
        fault = fault or server.every_batch
        told = {
            "id": name, "object": "batch", "endpoint": asked["endpoint"], "created_at": 0,
            "completion_window": asked["completion_window"], "status": "validating",
            "input_file_id": asked["input_file_id"], "metadata": asked.get("metadata"),
        }  # fmt: skip
        server.batches[name] = {"told": told, "looks": 0, "fault": fault}
        if fault == "lost":  # made, but its answer never arrives
            self.connection.close()
            self.close_connection = True
            return
        self._send(200, told)

    def _look(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["looks"] += 1
        told, fault, server = batch["told"], batch["fault"], self.server
        if told["status"] in ("completed", "expired", "failed"):
            return told
        if batch["looks"] <= server.polls:
            told["status"] = "in_progress"
            return told
        if fault in ("token_limit_exceeded", "insufficient_quota", "bad_file"):
            told["status"] = "failed"
            errors = [{"code": fault, "message": f"it is {fault}", "line": None, "param": None}]
            told["errors"] = {"object": "list", "data": errors}
            return told
        if fault == "cancelled":
            told["status"] = "cancelled"
            return told
        changes = {"model": "another-model"} if fault == "other" else {}
        lines = [json.loads(line) for line in server.files[told["input_file_id"]].splitlines()]
        good, bad = [], []
        for number, line in enumerate(lines):
            body = line["body"]
            picture = picture_of(body)
            server.asked.append(picture)
            response = {"status_code": 200, "request_id": "r", "body": completion(body, **changes)}
            one = {"id": "o", "custom_id": line["custom_id"], "response": response, "error": None}
            if fault == "expires all" or (fault == "expires" and number % 2):
                late = {"code": "batch_expired", "message": "not within the window"}
                bad.append(one | {"response": None, "error": late})
            elif server.always.get(picture) == "rejected":
                response |= {"status_code": 400, "body": error("invalid_image")}
                bad.append(one)
            elif server.always.get(picture) == "unlucky" or (fault == "busy" and number % 2):
                response |= {"status_code": 500, "body": error("server_error")}
                bad.append(one)
            elif fault == "quota" and number % 2:
                response |= {"status_code": 429, "body": error("insufficient_quota")}
                bad.append(one)
            else:
                server.answered.append(picture)
                good.append(one)
        for kind, found in (("output_file_id", good), ("error_file_id", bad)):
            if found:
                told[kind] = f"file-{uuid.uuid4().hex[:8]}"
                server.files[told[kind]] = "".join(json.dumps(o) + "\n" for o in found).encode()
        told["status"] = "expired" if fault in ("expires", "expires all") else "completed"
        return told

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(content).encode(), headers)

    def _send_bytes(
        self, status: int, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(**settings: Any) -> Any:
    """A server that runs in a thread of this process."""
    server = Service(**settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    Service(int(sys.argv[1]), float(sys.argv[2])).serve_forever()
