"""Several requests at a time: each gets the text it would get alone. Hosted by default, a machine in
QEMU with BAREFLOW_URL."""

import concurrent.futures
import json
import random
import time

from api_client import events
from api_fixture import api  # noqa: F401 (a fixture)

PROMPTS = ["Once upon a time", "Once upon a time there was a little girl named Lily. She", "The dog",
           "Tom and his mom went to the park. They saw a big", "One day, a cat"]


def counters(api):
    return api.request("GET", "/profile", headers={"Accept": "application/json"}).json()


def ask(api, job):
    body = {k: v for k, v in job.items() if k != "hang_up"}
    if job.get("hang_up"):
        with api.socket() as sock:
            text = json.dumps({**body, "stream": True}).encode()
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            sock.recv(600)
        return None
    answer = api.request("POST", "/v1/completions", json.dumps(body))
    assert answer.status == 200, answer.body
    if body.get("stream"):
        return "".join(json.loads(part)["choices"][0]["text"] for part in events(answer.body)[:-1])
    return answer.json()["choices"][0]["text"]


def test_the_same_seed_gives_the_same_text_whatever_else_is_served(api):
    rng = random.Random(4)
    # Long enough for the texts to overlap, however fast the program is.
    jobs = [{"prompt": rng.choice(PROMPTS), "seed": rng.randrange(1 << 32), "max_tokens": rng.randrange(60, 300),
             "temperature": rng.choice([0, 0.7, 1.5]), "top_k": rng.choice([0, 40]),
             "repeat_penalty": rng.choice([1, 1.2])} for _ in range(12)]
    alone = [ask(api, job) for job in jobs]
    assert len(set(alone)) > 6
    before = counters(api)["tokens"]
    crowd = [(i, {**jobs[i], "stream": rng.random() < 0.5}) for i in list(range(12)) * 3]
    crowd += [(None, {**rng.choice(jobs), "max_tokens": 300, "hang_up": True}) for _ in range(8)]
    rng.shuffle(crowd)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda entry: ask(api, entry[1]), crowd))
    for (i, job), text in zip(crowd, texts):
        if i is not None:
            assert text == alone[i], job
    after = counters(api)["tokens"]
    rows = after["batch_rows"] - before["batch_rows"]
    batches = after["batches"] - before["batches"]
    assert rows > 1.2 * batches, "they were computed together"
    assert after["prompt_cached"] > before["prompt_cached"]


def test_as_many_run_as_there_are_slots(api):
    slots = counters(api)["requests"]["slots"]
    assert 1 <= slots <= 16
    socks = []
    most = 0
    try:
        for i in range(slots + 2):
            sock = api.socket()
            socks.append(sock)
            body = json.dumps({"prompt": "Once", "max_tokens": 400, "seed": i, "temperature": 1.5, "top_k": 0,
                               "top_p": 1}).encode()
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        end = time.monotonic() + 20
        while time.monotonic() < end:
            now = counters(api)["requests"]
            assert now["running"] <= slots
            most = max(most, now["running"])
            if most == slots or now["running"] + now["waiting"] == 0:
                break
    finally:
        for sock in socks:
            sock.close()
    assert most == slots or slots > 2


def test_a_beginning_is_not_computed_twice(api):
    prompt = f"Once upon a time there was a {random.randrange(10**9)} year old man who"
    job = {"prompt": prompt, "max_tokens": 12, "temperature": 0}
    first = api.complete(**job).json()
    again = api.complete(**job).json()
    count = first["usage"]["prompt_tokens"]
    assert again["choices"] == first["choices"]
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] < count
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == count - 1
    assert again["bareflow"]["cached_tokens"] == count - 1
    longer = api.complete(prompt=prompt + first["choices"][0]["text"] + " He", max_tokens=1).json()
    assert longer["usage"]["prompt_tokens_details"]["cached_tokens"] >= count - 1
