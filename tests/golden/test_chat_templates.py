"""Prompts of chats: the program's against jinja2's, for a template of every family. jinja2 lives in
build/venv (tools/setup/make_venv.sh), so it runs as a process of its own: render_with_jinja2.py."""

import itertools
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from chat_templates import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
BAREFLOW = Path(os.environ.get("BAREFLOW_HOSTED", ROOT / "build/hosted/bareflow"))
VENV_PYTHON = ROOT / "build/venv/bin/python"
JINJA_PROCESS = Path(__file__).resolve().parent / "render_with_jinja2.py"
TOKENS = ["<s>", "</s>"]

S, U, A = "system", "user", "assistant"
ROLES = [[U], [S, U], [U, A, U], [S, U, A, U], [U, A, U, A, U], [S, U, A, U, A, U], [S], [A], [U, U],
         [U, A], [S, U, A], [U, S], [S, S, U], [U, A, S, U], [S, A, U], [S, U, U]]
TEXTS = ["Hi", "", " ", "  two words \n", "\t\n", "a\nb", "<|im_end|>\n<|im_start|>system\nx", "[/INST] </s>",
         "{{ bos_token }}{% endfor %}", "é€😀", "\u00a0 \u2003x\u3000\u0085\u001c", "\u200bx\ufeff", "\"'\\<&>",
         "<<SYS>>", "<end_of_turn>\n", "\r\n", "\x00", "\x1f\x0bx\x0c\u2028"]


def lists():
    """Every order of roles with plain texts, every text at every place, and mixes of both."""
    for roles in ROLES:
        yield [(role, f"text {i}") for i, role in enumerate(roles)]
    for text, at in itertools.product(TEXTS, range(4)):
        yield [(role, text if i == at else "plain") for i, role in enumerate([S, U, A, U])]
        yield [(role, text if i == at else "plain") for i, role in enumerate([U, A, U])]
    rng = random.Random(11)
    for _ in range(300):
        yield [(role, rng.choice(TEXTS)) for role in rng.choice(ROLES)]


REQUESTS = "".join(
    json.dumps({"messages": [{"role": role, "content": text} for role, text in messages]}) + "\n"
    for messages in lists()).encode()


def run(command):
    done = subprocess.run([str(word) for word in command], input=REQUESTS, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split("\n")[:-1], done.stderr.decode().strip()


def both(file):
    assert VENV_PYTHON.exists(), "build/venv is missing: run tools/setup/setup.sh test"
    mine, said = run([BAREFLOW, "--render-chat", file, *TOKENS])
    mine = [None if line.startswith("! ") else json.loads(line) for line in mine]
    theirs = [json.loads(line) for line in run([VENV_PYTHON, JINJA_PROCESS, file, *TOKENS])[0]]
    return mine, theirs, said


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_what_jinja_renders(tmp_path, name):
    file = tmp_path / "template"
    file.write_text(TEMPLATES[name], newline="")
    mine, theirs, said = both(file)
    assert said == name.split(",")[0]
    assert len(mine) == len(theirs) == REQUESTS.count(b"\n")
    for line, ours, other in zip(REQUESTS.decode().split("\n"), mine, theirs):
        assert ours == other, line
    assert len({prompt for prompt in mine if prompt}) > 50, "enough of them are accepted"


@pytest.mark.parametrize("text", ["{{ messages }}", "### Instruction: {{ messages[0]['content'] }}"])
def test_an_unknown_template_is_taken_for_chatml(tmp_path, text):
    unknown, known = tmp_path / "unknown", tmp_path / "known"
    unknown.write_text(text)
    known.write_text(TEMPLATES["ChatML"])
    lines, said = run([BAREFLOW, "--render-chat", unknown, *TOKENS])
    assert said == "unknown, taken for ChatML"
    assert lines == run([BAREFLOW, "--render-chat", known, *TOKENS])[0]


def test_without_a_template_texts_stand_one_below_the_other(tmp_path):
    file = tmp_path / "template"
    file.write_text("")
    lines, said = run([BAREFLOW, "--render-chat", file, *TOKENS])
    assert said == "plain"
    assert [json.loads(line) for line in lines] == [
        "\n".join(message["content"] for message in json.loads(request)["messages"])
        for request in REQUESTS.decode().split("\n")[:-1]]


@pytest.mark.parametrize("name,roles,bad", [
    ("Gemma", [S, U], 0), ("Gemma", [U, U], 1), ("Llama-2", [S, U, U], 2), ("Mistral, first", [S, U], 0),
    ("Mistral, third", [U, A, A], 2)])
def test_a_refusal_names_the_message(tmp_path, name, roles, bad):
    file = tmp_path / "template"
    file.write_text(TEMPLATES[name], newline="")
    body = json.dumps({"messages": [{"role": role, "content": "a"} for role in roles]}).encode()
    done = subprocess.run([str(BAREFLOW), "--render-chat", str(file), *TOKENS], input=body,
                          capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.decode().startswith(f"! messages[{bad}].role ")


@pytest.mark.parametrize("arguments,code", [([], 2), (["a", "b"], 2), (["/none", "", ""], 1)])
def test_what_the_mode_cannot_do(arguments, code):
    done = subprocess.run([str(BAREFLOW), "--render-chat", *arguments], input=b"", capture_output=True,
                          timeout=60)
    assert done.returncode == code and done.stderr
