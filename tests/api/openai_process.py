"""The PyPI package `openai`, unmodified, as a process: what it makes of a server's answers, as one
JSON object. For build/venv's Python.

  openai_process.py URL
"""

import json
import sys

import openai

MESSAGES = [{"role": "system", "content": "Lily was a girl."}, {"role": "user", "content": "Once upon a time"}]
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0, timeout=30)
model = client.models.list().data[0].id
settings = {"model": model, "max_tokens": 24, "temperature": 0}

chat = client.chat.completions.create(messages=MESSAGES, logprobs=True, top_logprobs=2, **settings)
chunks = list(client.chat.completions.create(messages=MESSAGES, stream=True,
                                             stream_options={"include_usage": True}, **settings))
completion = client.completions.create(prompt="Lily was a girl.\nOnce upon a time", **settings)
events = list(client.completions.create(prompt="Lily was a girl.\nOnce upon a time", stream=True, **settings))
seeded = [client.chat.completions.create(messages=MESSAGES, model=model, max_completion_tokens=16, seed=5)
          .choices[0].message.content for _ in range(2)]
try:
    client.chat.completions.create(model=model, messages=[MESSAGES[1], {"role": "tool", "content": "a"}])
    refusal = None
except openai.BadRequestError as error:
    refusal = {"param": error.param, "code": error.code, "type": error.type}
try:
    client.chat.completions.create(model="other", messages=MESSAGES)
    other_model = None
except openai.APIStatusError as error:
    other_model = {"status": error.status_code, "code": error.code}

json.dump({
    "version": openai.__version__,
    "model": model,
    "chat": chat.model_dump(),
    "chunks": [chunk.model_dump() for chunk in chunks],
    "completion": completion.model_dump(),
    "events": [event.model_dump() for event in events],
    "seeded": seeded,
    "refusal": refusal,
    "other_model": other_model,
}, sys.stdout)
