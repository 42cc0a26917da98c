"""The client's side of a measurement: one request, a streamed one with times, many at once."""
import contextlib
import http.client
import json
import threading
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
    """/profile as JSON; a guest in the middle of a long step may need a moment."""
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
    figures: dict = field(default_factory=dict)  # the server's own, when it came to the end

    @property
    def tokens(self):
        return self.usage.get("completion_tokens", len(self.times))

    @property
    def first_token_s(self):
        return self.times[0] - self.asked if self.times else None

    @property
    def decode_rate(self):
        """Tokens/s after the first, which belongs to the prompt; by the server's clock where it told
        (several fast tokens may come in one piece), else by ours."""
        if self.tokens < 2 or len(self.times) < 2:
            return None
        span = self.figures.get("decode_ms", 0) / 1000 or self.times[-1] - self.times[0]
        return (self.tokens - 1) / span if span > 0 else None

    @property
    def prompt_rate(self):
        """Prompt tokens/s by the server's clock where it told, else by ours. What was reused from
        another text (the token that begins one, at least) does not count."""
        count = self.usage.get("prompt_tokens", 0) - self.figures.get("cached_tokens", 0)
        spent = self.figures.get("prompt_ms", 0) / 1000 or self.first_token_s
        return count / spent if count and spent else None


def stream(port, prompt, max_tokens, banned=(), stop_after_s=None, timeout=600):
    """Greedy, streamed. `banned`: tokens that end a text, so that it gets its whole length.
    `stop_after_s`: hang up then (from the first token on; at least two tokens are waited for)."""
    body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True}
    if banned:
        body["logit_bias"] = {str(token): -100 for token in banned}
    text = Text(asked=time.monotonic())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/v1/completions", json.dumps(body))
        response = connection.getresponse()
        if response.status != 200:
            raise BenchError(f"a completion was refused: {response.status} {response.read(300)!r}")
        while line := response.readline():
            now = time.monotonic()
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise BenchError(f"a completion ended in an error: {event['error']}")
            if event["choices"] and event["choices"][0].get("finish_reason"):
                text.usage = event.get("usage", {})
                text.figures = event.get("bareflow", {})
                break
            text.times.append(now)
            if stop_after_s and len(text.times) > 1 and now - text.times[0] > stop_after_s:
                break
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BenchError(f"a completion broke off: {error!r}") from error
    finally:
        connection.close()
    return text


def together(port, prompts, max_tokens, banned=(), stop_after_s=None, between_s=0.0):
    """One client for each prompt, all at once. QEMU's user network wants them a moment apart."""
    texts, errors = [None] * len(prompts), []

    def client(index):
        try:
            texts[index] = stream(port, prompts[index], max_tokens, banned, stop_after_s)
        except BenchError as error:
            errors.append(error)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
        time.sleep(between_s)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return texts


def aggregate(texts):
    """Tokens/s of all clients together, and whether they were really served together. Counted while
    every client is generating; where that never happens (one after the other), over the whole time."""
    begin = max(t.times[0] for t in texts)
    end = min(t.times[-1] for t in texts)
    first, last = min(t.times[0] for t in texts), max(t.times[-1] for t in texts)
    if end - begin >= (last - first) / 4 and end > begin:
        inside = sum(1 for t in texts for when in t.times if begin < when <= end)
        return inside / (end - begin), True
    if last <= first:
        return None, False
    return (sum(t.tokens for t in texts) - 1) / (last - first), False
