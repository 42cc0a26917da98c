"""The client of a measurement: one request, a streamed completion with times, several at once.

Clients share the machine with the server that they measure, so they do little work while they wait.
Prefer the server's own clock where it gives one: several fast tokens may arrive in one piece.
"""
import bisect
import contextlib
import http.client
import itertools
import json
import selectors
import socket
import time
from dataclasses import dataclass, field

from .common import BenchError


def request(port, method, path, body=None, timeout=0.1):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = {"Accept": "application/json"}
        connection.request(method, path, body and json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def profile(port):
    """/profile as JSON; {} if there is no answer. A guest in a long step gets three attempts."""
    for _ in range(3):
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, data = request(port, "GET", "/profile?format=json", timeout=20)
            if status == 200:
                return json.loads(data)
    return {}


@dataclass
class Text:
    """A generated text as its client saw it. Times are seconds on the monotonic clock."""

    asked: float = 0.0
    times: list = field(default_factory=list)  # one for each piece of text
    usage: dict = field(default_factory=dict)
    figures: dict = field(default_factory=dict)  # the server's own; {} if the text was cut short

    @property
    def tokens(self):
        return self.usage.get("completion_tokens", len(self.times))

    @property
    def first_token_s(self):
        return self.times[0] - self.asked if self.times else None

    @property
    def decode_rate(self):
        """Tokens/s after the first token, which belongs to the prompt.

        By the server's clock if it gave its times, else by ours.
        """
        if self.tokens < 2 or len(self.times) < 2:
            return None
        span = self.figures.get("decode_ms", 0) / 1000 or self.times[-1] - self.times[0]
        return (self.tokens - 1) / span if span > 0 else None

    @property
    def prompt_rate(self):
        """Prompt tokens/s, by the server's clock if it gave its times, else by ours.

        Tokens that the server reused from another text do not count. The token that begins every
        text is always one of them.
        """
        count = self.usage.get("prompt_tokens", 0) - self.figures.get("cached_tokens", 0)
        spent = self.figures.get("prompt_ms", 0) / 1000 or self.first_token_s
        return count / spent if count and spent else None


def completion_body(prompt, max_tokens, banned):
    body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True}
    if banned:
        body["logit_bias"] = {str(token): -100 for token in banned}
    return json.dumps(body)


def take_line(text, line, now):
    """Takes one line of the stream, which came at `now`. True if it ends the text."""
    if not line.startswith(b"data: {"):
        return False
    event = json.loads(line[6:])
    if "error" in event:
        raise BenchError(f"a completion ended in an error: {event['error']}")
    if event["choices"] and event["choices"][0].get("finish_reason"):
        text.usage = event.get("usage", {})
        text.figures = event.get("bareflow", {})
        return True
    text.times.append(now)
    return False


def stream(port, prompt, max_tokens, banned=(), stop_after_s=None, timeout=600, least=2):
    """Makes one text, greedily, and streams it.

    `banned` are the tokens that end a text: without them it gets its whole length. The client hangs
    up `stop_after_s` seconds after the first token, but waits for at least `least` tokens.
    """
    text = Text(asked=time.monotonic())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/v1/completions", completion_body(prompt, max_tokens, banned))
        response = connection.getresponse()
        if response.status != 200:
            raise BenchError(f"a completion was refused: {response.status} {response.read(300)!r}")
        while line := response.readline():
            now = time.monotonic()
            if take_line(text, line, now):
                break
            if stop_after_s and len(text.times) >= least and now - text.times[0] > stop_after_s:
                break
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BenchError(f"a completion broke off: {error!r}") from error
    finally:
        connection.close()
    return text


def together(port, prompts, max_tokens, banned=(), between_s=0.0, timeout=600):
    """Makes one text for each prompt, all at once.

    QEMU's user network needs `between_s` seconds between two connections. The clients are cheap:
    they read once a millisecond, and parse the answers when all have come.
    """
    texts = [Text() for _ in prompts]
    arrived = [[] for _ in prompts]  # (when, bytes)
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        try:
            sockets = []
            for index in range(len(prompts)):
                sockets.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout)))
                waiting.register(sockets[-1], selectors.EVENT_READ, index)
                time.sleep(between_s)
            for text, prompt, one in zip(texts, prompts, sockets):
                body = completion_body(prompt, max_tokens, banned).encode()
                text.asked = time.monotonic()
                one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                            b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            while waiting.get_map():
                ready = waiting.select(timeout)
                now = time.monotonic()
                if not ready:
                    raise BenchError(f"nothing came for {timeout} s")
                for key, _ in ready:
                    data = key.fileobj.recv(1 << 18)
                    arrived[key.data].append((now, data))
                    if not data:
                        waiting.unregister(key.fileobj)
                time.sleep(0.001)
        except OSError as error:
            raise BenchError(f"a completion broke off: {error!r}") from error
    for text, pieces in zip(texts, arrived):
        read_answer(text, pieces)
    return texts


def read_answer(text, pieces):
    """Parses a chunked answer out of (when, bytes). A chunk has the time of its last byte."""
    whole = b"".join(data for _, data in pieces)
    ends = list(itertools.accumulate(len(data) for _, data in pieces))
    head, _, _ = whole.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"a completion was refused: {whole[:300]!r}")
    at = len(head) + 4
    while at < len(whole):
        size, _, _ = whole[at:at + 20].partition(b"\r\n")
        begin = at + len(size) + 2
        at = begin + int(size, 16) + 2
        when = pieces[min(bisect.bisect_left(ends, at), len(pieces) - 1)][0]
        for line in whole[begin:at - 2].splitlines():
            if take_line(text, line, when):
                return
    raise BenchError("a completion broke off")


def aggregate(texts):
    """(tokens/s of all clients together, whether they were served at the same time).

    It counts tokens while every client has one coming. If that time is less than a quarter of the
    whole, the clients were served one after the other, and the whole time counts.
    """
    begin = max(t.times[0] for t in texts)
    end = min(t.times[-1] for t in texts)
    first, last = min(t.times[0] for t in texts), max(t.times[-1] for t in texts)
    if end - begin >= (last - first) / 4 and end > begin:
        # A token that is half a character comes with the next one.
        inside = sum(t.tokens / len(t.times) for t in texts for when in t.times if begin < when <= end)
        return inside / (end - begin), True
    if last <= first:  # everything came in one piece
        return sum(t.tokens for t in texts) / (last - min(t.asked for t in texts)), False
    return (sum(t.tokens for t in texts) - 1) / (last - first), False
