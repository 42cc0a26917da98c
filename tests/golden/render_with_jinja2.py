"""The PyPI package `jinja2` as a process, set up as the `transformers` package sets it up. Reads
requests from standard input, one JSON object a line. Writes prompts to standard output, one JSON
string a line; null: the template refuses the request. For build/venv's Python.

  render_with_jinja2.py TEMPLATE_FILE BOS EOS < requests
"""

import json
import sys

import jinja2
import jinja2.sandbox


def refuse(reason):
    raise jinja2.TemplateError(reason)


with open(sys.argv[1], encoding="utf-8", newline="") as file:
    text = file.read()
environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
environment.globals["raise_exception"] = refuse
template = environment.from_string(text)
for line in sys.stdin:
    try:
        prompt = template.render(messages=json.loads(line)["messages"], add_generation_prompt=True,
                                 bos_token=sys.argv[2], eos_token=sys.argv[3])
    except jinja2.TemplateError:
        prompt = None
    print(json.dumps(prompt))
