"""Chat templates of every family that api/chat_template.cpp knows. They are short templates of our
own: they write what the published ones write, and keep the marks by which those are recognised.
jinja2 renders them to say what to expect."""

TURN_ERROR = "{{ raise_exception('turns') }}"


def each(body, messages="messages"):
    body = body.replace("content", "message['content']")
    return "{% for message in " + messages + " %}" + body + "{% endfor %}"


def prompted(text):
    return "{% if add_generation_prompt %}" + text + "{% endif %}"


# Roles must alternate: a user at even places, another role at odd ones.
IN_TURN = "{% if (loop.index0 % 2 == 0) != (message.role == 'user') %}" + TURN_ERROR + "{% endif %}"
SYSTEM_APART = (
    "{% set has = messages and messages[0].role == 'system' %}"
    "{% set first = messages[0]['content'] if has else '' %}"
    "{% set rest = messages[1:] if has else messages %}"
)
CHATML_TURNS = each(
    "<|im_start|>{{ message.role }}\n{{ content }}<|im_end|>{{ '\\n' }}"
) + prompted("<|im_start|>assistant{{ '\\n' }}")


def chatml_default(text):
    return (
        "{% if not messages or messages[0].role != 'system' %}"
        "{{ '<|im_start|>system\\n" + text + "<|im_end|>\\n' }}{% endif %}" + CHATML_TURNS
    )


def llama_3_turns(messages):
    return each(
        "<|start_header_id|>{{ message.role }}<|end_header_id|>{{ '\\n\\n' }}"
        "{{ content | trim }}<|eot_id|>",
        messages,
    ) + prompted("<|start_header_id|>assistant<|end_header_id|>{{ '\\n\\n' }}")


def mistral(begin, end, answer, system_at=None):
    """`system_at`: the user message that takes the system message; without it one is refused."""
    said = "{{ '" + begin + "' + BEFORE + content + '" + end + "' }}"
    plain = said.replace("BEFORE + ", "")
    if system_at:
        before = SYSTEM_APART + "{% if has %}{% set system_message = first + '\\n\\n' %}{% endif %}"
        user = (
            "{% if " + system_at + " and system_message is defined %}"
            + said.replace("BEFORE", "system_message") + "{% else %}" + plain + "{% endif %}"
        )
    else:
        before, user = "{% set rest = messages %}", plain
    return before + "{{ bos_token }}" + each(
        IN_TURN + "{% if message.role == 'user' %}" + user
        + "{% elif message.role == 'assistant' %}{{ " + answer + " + eos_token }}"
        "{% else %}" + TURN_ERROR + "{% endif %}",
        "rest",
    )


# The name is the family that the program must recognise.
TEMPLATES = {
    "ChatML": CHATML_TURNS,
    "ChatML, bos": "{{ bos_token }}" + CHATML_TURNS,
    "ChatML, default of SmolLM2's kind": chatml_default("You help, and you are small."),
    "ChatML, default of Qwen's kind": chatml_default("You are Q. You are of help."),
    "ChatML, empty default": chatml_default(""),
    "Llama-2": SYSTEM_APART
    + each(
        IN_TURN
        + "{% set frame = '<<SYS>>\\n' + first + '\\n<</SYS>>\\n\\n' %}"
        "{% if not has or not loop.first %}{% set frame = '' %}{% endif %}"
        "{% set said = (frame + content).strip() %}"
        "{% if message.role == 'user' %}{{ bos_token + '[INST] ' + said + ' [/INST]' }}"
        "{% elif message.role == 'assistant' %}{{ ' ' + said + ' ' + eos_token }}{% endif %}",
        "rest",
    ),
    "Llama-3": "{{ bos_token }}" + llama_3_turns("messages"),
    "Llama-3, dated": SYSTEM_APART
    + "{% if date_string is not defined %}{% set date_string = \"26 Jul 2024\" %}{% endif %}"
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>{{ '\\n\\n' }}"
    "Cutting Knowledge Date: December 2023{{ '\\n' }}Today Date: {{ date_string + '\\n\\n' }}"
    "{{ first | trim }}<|eot_id|>" + llama_3_turns("rest"),
    # The comment has the marks; the published templates write them out one by one.
    "Zephyr": "{# <|user|> <|assistant|> #}"
    + each("{{ '<|' + message.role + '|>\\n' + content + eos_token + '\\n' }}")
    + prompted("{{ '<|assistant|>\\n' }}"),
    "Gemma": "{{ bos_token }}"
    + each(
        IN_TURN
        + "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
        "{{ content | trim }}<end_of_turn>{{ '\\n' }}"
    )
    + prompted("<start_of_turn>model{{ '\\n' }}"),
    "Mistral, first": mistral("[INST] ", " [/INST]", "content"),
    "Mistral, second": mistral(" [INST] ", " [/INST]", "' ' + content", "loop.first"),
    "Mistral, third": mistral("[INST] ", "[/INST]", "' ' + content", "loop.last"),
}
