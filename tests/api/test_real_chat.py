"""A chat with a trained model and the template that its file brings: SmolLM2-135M-Instruct, as
`make run MODEL=smollm2` has it. Skipped, with the reason, where it can't be had."""

import concurrent.futures
import json
import sys

import pytest

from api_client import ROOT, Api, start_hosted

sys.path.insert(0, str(ROOT / "tools/gguf"))
import models  # noqa: E402


@pytest.fixture(scope="module")
def smollm2():
    try:
        path = models.fetch("smollm2")
    except models.CannotBeHad as error:
        pytest.skip(f"smollm2 can't be had: {error}")
    process, url = start_hosted(["--model", path, "context=1024", "threads=0"])
    client = Api(url, timeout_s=300)
    client.wait_until_ready()
    yield client
    process.terminate()
    assert process.wait(10) == 0


def chat(api, messages, **fields):
    body = {"messages": messages, "temperature": 0, "max_tokens": 60, **fields}
    answer = api.request("POST", "/v1/chat/completions", json.dumps(body))
    assert answer.status == 200, answer.body
    return answer.json()


def test_it_answers_and_ends_by_itself(smollm2):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = chat(smollm2, messages)
    choice = answer["choices"][0]
    assert "Paris" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    # The chat continues: tokens that were computed are not computed again.
    messages += [choice["message"], {"role": "user", "content": "And of Italy?"}]
    more = chat(smollm2, messages)
    first = answer["usage"]
    assert more["usage"]["prompt_tokens_details"]["cached_tokens"] >= first["prompt_tokens"]
    assert "Rome" in more["choices"][0]["message"]["content"]


def test_four_chats_at_a_time_are_as_one(smollm2):
    questions = ["Name three colours.", "What is two plus two?", "Who wrote Hamlet?", "What do cows eat?"]
    chats = [[{"role": "user", "content": question}] for question in questions]
    alone = [chat(smollm2, messages, max_tokens=16)["choices"] for messages in chats]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda m: chat(smollm2, m, max_tokens=16)["choices"], chats))
    assert together == alone
