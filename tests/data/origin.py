"""A real HTTP server that has a data set, counts requests, and answers when it is told to."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from tests.data.conftest import small_files

ARCHIVE = "train-images-idx3-ubyte.gz"
"""The file that is counted and held: the largest, the first to be asked for."""

Answer = Literal["whole", "half"]


class Origin(ThreadingHTTPServer):
    """Serves Fashion-MNIST's four files, with few images. Of the archive one half is sent at once;
    then `answer` says for each request, in their order, whether the other half follows or the
    connection is closed. Until then a byte comes now and then, or whoever asks would give it up.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {f"{name}.gz": gzip.compress(data) for name, data in small_files().items()}
        self.asked = 0  # times for the archive
        self.whole = 0  # answers that were sent to their end
        self._answers: list[Answer] = []
        self._changed = threading.Condition()

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which harness finds the set here."""
        address = f"http://127.0.0.1:{self.server_port}"
        return {"HARNESS_PLUGINS": "tests.data.served", "SERVED": address, "no_proxy": "*"}

    def answer(self, how: Answer) -> None:
        """The next request for the archive that has none, once it is there."""
        with self._changed:
            self._answers.append(how)
            self._changed.notify_all()

    def begun(self) -> int:
        """The number of a request for the archive, the first being 1."""
        with self._changed:
            self.asked += 1
            return self.asked

    def answer_to(self, number: int) -> Answer:
        """What the test has decided for that request, as soon as it has."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._answers) >= number)
            return self._answers[number - 1]


class _Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if name != ARCHIVE:
            self.wfile.write(content)
            return
        self.sent = len(content) // 2
        self.wfile.write(content[: self.sent])
        number = self.server.begun()
        decided = threading.Event()
        talk = threading.Thread(target=self.talk_on, args=(content, decided), daemon=True)
        talk.start()
        how = self.server.answer_to(number)
        decided.set()
        talk.join()
        if how == "whole":
            self.wfile.write(content[self.sent :])
            self.server.whole += 1

    def talk_on(self, content: bytes, decided: threading.Event) -> None:
        """Send byte after byte until it is `decided`, but for the last one."""
        while not decided.wait(1) and self.sent < len(content) - 1:
            try:
                self.wfile.write(content[self.sent : self.sent + 1])
            except OSError:  # whoever asked is gone
                return
            self.sent += 1

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def origin() -> Iterator[Origin]:
    """The server, while a test goes on."""
    with Origin() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
