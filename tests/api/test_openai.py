"""The PyPI package `openai` as a client. It lives in build/venv (tools/setup/make_venv.sh), so it runs as a
process of its own: openai_process.py."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from api_client import ROOT
from api_fixture import api  # noqa: F401 (a fixture)

VENV_PYTHON = ROOT / "build/venv/bin/python"
CLIENT = Path(__file__).resolve().parent / "openai_process.py"


@pytest.fixture(scope="module")
def seen(api):  # noqa: F811
    assert VENV_PYTHON.exists(), "build/venv is missing: run tools/setup/setup.sh test"
    # No proxy between the client and the server, and no settings of somebody's account.
    environment = {key: value for key, value in os.environ.items()
                   if not key.lower().endswith("_proxy") and not key.startswith("OPENAI_")}
    done = subprocess.run([str(VENV_PYTHON), str(CLIENT), f"http://{api.host}:{api.port}"], env=environment,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_a_chat(api, seen):  # noqa: F811
    answer = seen["chat"]
    assert answer["object"] == "chat.completion" and answer["model"] == seen["model"]
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] == "length"
    plain = api.complete(prompt="Lily was a girl.\nOnce upon a time", max_tokens=24, temperature=0)
    assert choice["message"]["content"] == plain.json()["choices"][0]["text"]
    entries = choice["logprobs"]["content"]
    assert len(entries) == answer["usage"]["completion_tokens"] == 24
    assert b"".join(bytes(e["bytes"]) for e in entries).decode() == choice["message"]["content"]
    assert all(len(e["top_logprobs"]) == 2 for e in entries)


def test_a_streamed_chat(seen):
    *parts, last = seen["chunks"]
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 24
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas[0]["role"] == "assistant"
    text = "".join(delta["content"] or "" for delta in deltas)
    assert text == seen["chat"]["choices"][0]["message"]["content"]
    assert parts[-1]["choices"][0]["finish_reason"] == "length"


def test_a_completion_whole_and_streamed(seen):
    text = seen["completion"]["choices"][0]["text"]
    assert text == seen["chat"]["choices"][0]["message"]["content"]
    assert "".join(event["choices"][0]["text"] for event in seen["events"]) == text
    assert seen["completion"]["usage"]["completion_tokens"] == 24


def test_a_seed_repeats(seen):
    one, two = seen["seeded"]
    assert one and one == two


def test_errors_are_its_exceptions(seen):
    assert seen["refusal"] == {"param": "messages[1].role", "code": "invalid_value",
                               "type": "invalid_request_error"}
    assert seen["other_model"] == {"status": 400, "code": "model_not_found"}
