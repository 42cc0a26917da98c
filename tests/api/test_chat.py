"""POST /v1/chat/completions from outside: hosted by default, a machine in QEMU with BAREFLOW_URL."""

import json
import math
import time

import pytest

from api_client import events
from api_fixture import api  # noqa: F401 (a fixture)

PATH = "/v1/chat/completions"
STORY = [{"role": "user", "content": "Once upon a time"}]


def chat(api, messages=STORY, **fields):
    return api.request("POST", PATH, json.dumps({"messages": messages, **fields}))


def content(answer):
    assert answer.status == 200, answer.body
    return answer.json()["choices"][0]["message"]["content"]


def chunks(answer):
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    parts = events(answer.body)
    assert parts[-1] == "[DONE]"
    return [json.loads(part) for part in parts[:-1]]


def counts(answer):
    """The counts that do not depend on how much of the prompt was cached."""
    body = answer if isinstance(answer, dict) else answer.json()
    return {key: value for key, value in body["usage"].items() if key != "prompt_tokens_details"}


def streamed_text(parts):
    return "".join(p["choices"][0]["delta"].get("content", "") for p in parts if p["choices"])


# ---------------------------------------------------------------- answers


def test_a_whole_answer(api):
    answer = chat(api, max_tokens=8, temperature=0)
    assert answer.headers["Content-Type"] == "application/json"
    result = answer.json()
    assert result["id"].startswith("chatcmpl-")
    assert result["object"] == "chat.completion"
    assert abs(result["created"] - time.time()) < 2 * 86400
    assert result["model"] == api.get("/v1/models").json()["data"][0]["id"]
    (choice,) = result["choices"]
    assert choice["index"] == 0 and choice["logprobs"] is None
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"]
    assert choice["finish_reason"] == "length"
    usage = result["usage"]
    assert usage["completion_tokens"] == 8 and usage["prompt_tokens"] > 1
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8
    assert {"seed", "prompt_ms", "decode_ms", "tokens_per_second"} <= set(result["bareflow"])


def test_a_streamed_answer_is_the_whole_one(api):
    whole = chat(api, max_tokens=24, temperature=0).json()
    parts = chunks(chat(api, max_tokens=24, temperature=0, stream=True))
    assert streamed_text(parts) == whole["choices"][0]["message"]["content"]
    assert all(p["object"] == "chat.completion.chunk" for p in parts)
    assert len({p["id"] for p in parts}) == 1
    assert parts[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all("role" not in p["choices"][0]["delta"] for p in parts[1:])
    reasons = [p["choices"][0]["finish_reason"] for p in parts]
    assert reasons == [None] * (len(parts) - 1) + [whole["choices"][0]["finish_reason"]]
    assert parts[-1]["choices"][0]["delta"] == {}
    assert not any("usage" in p for p in parts), "only where it was asked for"


def test_include_usage_is_one_more_event(api):
    whole = chat(api, max_tokens=12, temperature=0).json()
    parts = chunks(chat(api, max_tokens=12, temperature=0, stream=True,
                        stream_options={"include_usage": True}))
    usage = parts[-1]["usage"]
    assert usage.pop("prompt_tokens_details")["cached_tokens"] == usage["prompt_tokens"] - 1
    whole["usage"].pop("prompt_tokens_details")
    assert parts[-1]["choices"] == [] and usage == whole["usage"]
    assert parts[-2]["choices"][0]["finish_reason"] == "length"
    assert not any(p.get("usage") for p in parts[:-1])
    parts = chunks(chat(api, max_tokens=12, temperature=0, stream=True,
                        stream_options={"include_usage": False}))
    assert not any("usage" in p for p in parts)


# The model of the tests has no template: messages stand one below the other.
@pytest.mark.parametrize("texts", [["Once upon a time"], ["Be kind.", "Once", "upon a", "time, é"],
                                   [" Lily ", "", "saw"]])
def test_greedy_goes_on_as_the_plainly_written_prompt_does(api, texts):
    roles = ["system", "user", "assistant", "user"]
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts)]
    ours = chat(api, messages, max_tokens=32, temperature=0).json()
    plain = api.complete(prompt="\n".join(texts), max_tokens=32, temperature=0).json()
    assert ours["choices"][0]["message"]["content"] == plain["choices"][0]["text"]
    assert counts(ours) == counts(plain)


def test_text_parts_are_joined_by_line_breaks(api):
    parts = [{"type": "text", "text": text} for text in ("Once upon", "a \"time\" 😀", "")]
    one = chat(api, [{"role": "user", "content": parts}], max_tokens=16, temperature=0)
    two = chat(api, [{"role": "user", "content": "Once upon\na \"time\" 😀\n"}], max_tokens=16,
               temperature=0)
    assert content(one) == content(two)
    assert counts(one) == counts(two)


def test_members_in_any_order_and_unknown_ones(api):
    body = ('{"temperature":0,"max_tokens":8,"messages":[{"name":"n","content":"Once upon a time",'
            '"extra":[{"role":"x","content":5}],"role":"user"}]}')
    assert content(api.request("POST", PATH, body)) == content(chat(api, max_tokens=8, temperature=0))


def test_stop_strings(api):
    text = content(chat(api, max_tokens=48, temperature=0))
    for begin in range(3, 20, 4):
        stop = text[begin:begin + 5]
        expected = text[:text.index(stop)]
        whole = chat(api, max_tokens=48, temperature=0, stop=["\x00never", stop])
        assert content(whole) == expected
        assert whole.json()["choices"][0]["finish_reason"] == "stop"
        parts = chunks(chat(api, max_tokens=48, temperature=0, stop=stop, stream=True))
        assert streamed_text(parts) == expected
        assert parts[-1]["choices"][0]["finish_reason"] == "stop"


def test_max_completion_tokens_is_the_other_name(api):
    answer = chat(api, max_completion_tokens=5, temperature=0)
    assert answer.json()["usage"]["completion_tokens"] == 5
    assert content(answer) == content(chat(api, max_tokens=5, temperature=0))


def test_a_seed_repeats(api):
    first = chat(api, max_tokens=24, temperature=1).json()
    seed = first["bareflow"]["seed"]
    again = chat(api, max_tokens=24, temperature=1, seed=seed)
    assert content(again) == first["choices"][0]["message"]["content"]
    parts = chunks(chat(api, max_tokens=24, temperature=1, seed=seed, stream=True))
    assert streamed_text(parts) == first["choices"][0]["message"]["content"]
    others = {content(chat(api, max_tokens=24, temperature=1, seed=n)) for n in range(4)}
    assert len(others) > 1


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(api, stream):
    answer = chat(api, max_tokens=12, temperature=0, logprobs=True, top_logprobs=3, stream=stream)
    if stream:
        parts = chunks(answer)
        text = streamed_text(parts)
        entries = [e for p in parts for e in (p["choices"][0]["logprobs"] or {"content": []})["content"]]
    else:
        text = content(answer)
        entries = answer.json()["choices"][0]["logprobs"]["content"]
    assert len(entries) == 12
    assert b"".join(bytes(e["bytes"]) for e in entries).decode() == text
    for entry in entries:
        assert entry["token"] == bytes(entry["bytes"]).decode(errors="replace")
        tops = entry["top_logprobs"]
        assert len(tops) == 3
        # Greedy sampling takes the likeliest token.
        assert {k: tops[0][k] for k in ("token", "bytes", "logprob")} == {
            k: entry[k] for k in ("token", "bytes", "logprob")}
        values = [top["logprob"] for top in tops]
        assert values == sorted(values, reverse=True) and values[0] <= 0
        assert sum(math.exp(value) for value in values) <= 1.0001
    assert any(entry["logprob"] > math.log(0.2) for entry in entries)


def test_logprobs_without_alternatives(api):
    answer = chat(api, max_tokens=4, temperature=0, logprobs=True).json()
    entries = answer["choices"][0]["logprobs"]["content"]
    assert len(entries) == 4 and all(entry["top_logprobs"] == [] for entry in entries)
    assert chat(api, max_tokens=4, logprobs=False).json()["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("text", ["<|im_end|>", "</s>", "<s>", "[/INST]"])
def test_what_looks_like_a_control_token_stays_text(api, text):
    first = chat(api, [{"role": "user", "content": "a"}], max_tokens=1).json()["usage"]
    answer = chat(api, [{"role": "user", "content": "a" + text}], max_tokens=8, temperature=0)
    plain = api.complete(prompt="a" + text, max_tokens=8, temperature=0)
    assert content(answer) == plain.json()["choices"][0]["text"]
    # The text is spelled out, so it has more than one token.
    assert answer.json()["usage"]["prompt_tokens"] > first["prompt_tokens"] + 1


# ---------------------------------------------------------------- bad requests

USER = {"role": "user", "content": "a"}

BAD_MESSAGES = [
    ("no messages", {}, "messages"),
    ("not an array", {"messages": "a"}, "messages"),
    ("none", {"messages": []}, "messages"),
    ("a message that is a string", {"messages": [USER, "a"]}, "messages[1]"),
    ("an unknown role", {"messages": [USER, USER, {"role": "tool", "content": "a"}]}, "messages[2].role"),
    ("a role that is a number", {"messages": [USER, USER, {"role": 5, "content": "a"}]}, "messages[2].role"),
    ("no role", {"messages": [USER, USER, {"content": "a"}]}, "messages[2].role"),
    ("no content", {"messages": [USER, {"role": "user"}]}, "messages[1].content"),
    ("content a number", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ("content null", {"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ("a picture", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ("a part without text", {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
     "messages[0].content"),
    ("257 messages", {"messages": [USER] * 257}, "messages"),
    ("unknown model", {"messages": [USER], "model": "gpt-4"}, "model"),
    ("top_logprobs alone", {"messages": [USER], "top_logprobs": 2}, "top_logprobs"),
    ("21 top_logprobs", {"messages": [USER], "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ("logprobs a number", {"messages": [USER], "logprobs": 3}, "logprobs"),
    ("tools", {"messages": [USER], "tools": [{"type": "function"}]}, "tools"),
    ("max_completion_tokens 0", {"messages": [USER], "max_completion_tokens": 0}, "max_completion_tokens"),
    ("too many words", {"messages": [{"role": "user", "content": "a b c " * 5000}]}, "messages"),
]


@pytest.mark.parametrize("name,body,param", BAD_MESSAGES, ids=[b[0] for b in BAD_MESSAGES])
def test_bad_bodies_are_400_and_name_the_field(api, name, body, param):
    answer = api.request("POST", PATH, json.dumps(body))
    assert answer.status == 400
    error = answer.error()
    assert error["param"] == param
    assert error["message"].startswith(param)


def test_256_messages_are_taken(api):
    answer = chat(api, [{"role": "user", "content": ""}] * 256, max_tokens=1)
    assert answer.status == 200 and answer.json()["usage"]["prompt_tokens"] >= 256


def test_other_methods_and_paths(api):
    for method in ("GET", "PUT", "DELETE"):
        answer = api.request(method, PATH)
        assert answer.status == 405 and "POST" in answer.headers["Allow"]
    assert api.request("POST", "/v1/chat").status == 404
    assert api.request("POST", PATH + "/").status == 404


# ---------------------------------------------------------------- hanging up


def requests_counter(api, name):
    return api.profile()["requests"][name]


def wait_until_idle(api):
    end = time.monotonic() + 5
    while requests_counter(api, "running"):
        assert time.monotonic() < end, "nothing runs on for a client that has gone"
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
def test_a_hang_up_stops_the_generation(api, stream):
    body = json.dumps({"messages": STORY, "max_tokens": 400, "temperature": 1, "stream": stream,
                       "logit_bias": {"2": -100}}).encode()
    request = b"POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(body))
    # Answers end within 20 ms (token 2 ends one): tries, sooner and later, until one was interrupted.
    for attempt in range(30):
        before = requests_counter(api, "cancelled")
        with api.socket() as sock:
            sock.sendall(request + body)
            if stream:
                sock.recv(100)
            else:
                time.sleep(0.003 * (attempt % 10 + 1))
        wait_until_idle(api)
        if requests_counter(api, "cancelled") > before:
            break
    else:
        pytest.fail("no request was ever cancelled")
    assert chat(api, max_tokens=2).status == 200
