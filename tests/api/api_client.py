"""A client that can be as rude as a test wants: plain sockets, and http.client for the rest."""

import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("BAREFLOW_PROGRAM", ROOT / "build/hosted/bareflow"))
MODEL = ROOT / "models/stories.gguf"


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def error(self):
        """The error object, checked for its shape."""
        error = self.json()["error"]
        assert isinstance(error["message"], str) and error["message"]
        assert error["type"] in ("invalid_request_error", "server_error")
        assert isinstance(error["code"], str)
        return error


class Api:
    def __init__(self, url, timeout_s=30):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port or 80
        self.timeout_s = timeout_s

    def wait_until_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while self.get("/health").status != 200:
            assert time.monotonic() < end, "never ready"
            time.sleep(0.02)

    def connect(self):
        """A fresh connection for http.client."""
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)

    def socket(self):
        sock = socket.create_connection((self.host, self.port), timeout=self.timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def request(self, method, path, body=None, headers=None, connection=None):
        own = connection or self.connect()
        try:
            own.request(method, path, body=body, headers=headers or {})
            response = own.getresponse()
            text = response.read()
            return Answer(response.status, response.headers, text)
        finally:
            if connection is None:
                own.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def profile(self):
        return self.get("/profile?format=json").json()

    def settle(self, done=lambda found: True):
        """Makes text until the optimiser has tried nothing for a second and `done` holds. Returns the profile."""
        end = time.monotonic() + 60
        tried = -1
        while True:
            assert time.monotonic() < end, "never at rest"
            self.complete(max_tokens=60, temperature=0)
            time.sleep(1)
            found = self.profile()
            if found["jit"]["candidates_tried"] == tried and done(found):
                return found
            tried = found["jit"]["candidates_tried"]

    def complete(self, connection=None, **fields):
        fields.setdefault("prompt", "Once upon a time")
        return self.request("POST", "/v1/completions", json.dumps(fields), connection=connection)

    def post_text(self, text):
        return self.request("POST", "/v1/completions", text)

    def raw(self, data, pause_s=0, until_close=False):
        """Sends bytes (the items of an iterable one by one) and reads one answer, or all that arrives."""
        with self.socket() as sock:
            for piece in [data] if isinstance(data, bytes) else data:
                sock.sendall(piece)
                if pause_s:
                    time.sleep(pause_s)
            if until_close:
                return read_all(sock)
            return read_answer(sock)


def read_all(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def read_answer(sock):
    response = http.client.HTTPResponse(sock)
    response.begin()
    return Answer(response.status, response.headers, response.read())


def events(body):
    """The data of each server-sent event."""
    text = body.decode("utf-8")
    assert text.endswith("\n\n")
    parts = text[:-2].split("\n\n")
    assert all(part.startswith("data: ") for part in parts)
    return [part[6:] for part in parts]


def start_hosted(arguments):
    """Starts the hosted program on a free port; returns (process, url) once it says so."""
    process = subprocess.Popen(
        [str(PROGRAM), "--port", "0", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = threading.Event()
    lines = []

    def read(stream):
        for line in stream:
            lines.append(line)
            if re.search(r"http://[\d.]+:\d+", line):
                found.set()

    for stream in (process.stderr, process.stdout):
        threading.Thread(target=read, args=(stream,), daemon=True).start()
    if not found.wait(20):
        process.kill()
        raise AssertionError("the hosted program did not start: " + "".join(lines))
    url = re.search(r"http://[\d.]+:\d+", "".join(lines)).group()
    return process, url
