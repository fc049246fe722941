import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from synthgap.errors import UserError
from synthgap.weights import WeightFile, download_file

CONTENT = bytes(range(256)) * 20
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """A server that breaks off its first answer in the middle, and knows ranges."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.ranges.append(self.headers.get("Range"))
            if self.path != "/weights.pth":
                self.send_error(404)
                return
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            if start:
                end = len(CONTENT)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
            self.end_headers()
            whole = len(self.server.ranges) > 1
            self.wfile.write(CONTENT[start : None if whole else 2000])

        def log_message(self, *_):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.ranges = []
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def weights(server, path="weights.pth", sha256=DIGEST[:8]):
    return WeightFile("weights.pth", f"http://127.0.0.1:{server.server_port}/{path}", sha256)


def test_a_download_goes_on_where_it_broke_off(tmp_path, server):
    target = tmp_path / "weights.pth"
    facts = download_file(weights(server), target, pause_seconds=0)
    assert target.read_bytes() == CONTENT
    assert facts == {"url": weights(server).url, "bytes": len(CONTENT), "sha256": DIGEST}
    assert server.ranges == [None, "bytes=2000-"]
    assert list(tmp_path.iterdir()) == [target]


def test_another_content_is_refused(tmp_path, server):
    with pytest.raises(UserError, match="has the SHA-256"):
        download_file(weights(server, sha256="0123"), tmp_path / "w.pth", pause_seconds=0)
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_said(tmp_path, server):
    with pytest.raises(
        UserError, match=r"HTTP status 404; look at it, or put the file at .*w\.pth"
    ):
        download_file(weights(server, "other.pth"), tmp_path / "w.pth", pause_seconds=0)
    nobody = WeightFile("w.pth", "http://127.0.0.1:9/w.pth")
    with pytest.raises(UserError, match="no connection for http://127"):
        download_file(nobody, tmp_path / "w.pth", pause_seconds=0)
    with pytest.raises(UserError, match="is no address to download from"):
        download_file(WeightFile("w.pth", "ftp://host/w.pth"), tmp_path / "w.pth")
