"""A model of the exact shape of TinyLlama-1.1B loads and makes text in a machine of 2 GiB: 22 layers,
2048/5632, 32/4 heads, 32,000 tokens, random weights. Part of `make soak`."""
import json
import sys
import time
from pathlib import Path

import pytest

from test_appliance import call, complete, hosted_text

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tools/gguf")]
from bench import files  # noqa: E402

pytestmark = pytest.mark.soak

TOKENS = 3
PROMPT = "the"
PLACES = ("initrd", "disk")
LOAD_S = 300  # a busy host reads 1.2 GB slowly
TOTAL_S = 1800


@pytest.fixture(scope="module")
def texts():
    """The text that each model gives in the hosted program. Neither the machine nor the model's place may change
    it."""
    return {}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_K"])
def test_tinyllama_shape_in_two_gib(qemu, texts, kind, place):
    path = files.path_of(f"tinyllama-{kind}")
    options = "threads=2 context=512 model=" + place
    settings = dict(memory="2G", cpu="max", smp=2, nic="virtio-net-pci", hang_s=TOTAL_S)
    if place == "initrd":
        vm = qemu.boot_elf(options, initrd=path, **settings)
    else:
        vm = qemu.boot_elf(options, "-drive", f"file={path},format=raw,snapshot=on,if=ide,index=1", **settings)
    vm.wait_for("] ready", LOAD_S)
    loaded_s = time.monotonic() - vm.started
    assert call(vm, "GET", "/health")[0] == 200
    began = time.monotonic()
    answer = complete(vm, prompt=PROMPT, max_tokens=TOKENS, timeout=TOTAL_S)
    spent_s = time.monotonic() - began
    profile = json.loads(call(vm, "GET", "/profile?format=json", timeout=20)[2])
    memory = profile["memory"]
    used = memory["total_bytes"] - memory["free_bytes"]
    print(f"\n{kind} by {place}: {path.stat().st_size >> 20} MiB, ready after {loaded_s:.1f} s, "
          f"{answer['usage']['prompt_tokens']} + {TOKENS} tokens in {spent_s:.1f} s "
          f"({answer['bareflow']['prompt_ms'] / 1000:.1f} + {answer['bareflow']['decode_ms'] / 1000:.1f} s), "
          f"memory {used >> 20} of {memory['total_bytes'] >> 20} MiB")
    assert answer["usage"]["completion_tokens"] == TOKENS
    assert answer["choices"][0]["finish_reason"] == "length"
    assert profile["model"]["layers"] == 22 and profile["model"]["parameters"] == 1_100_048_384
    # A disk consists of whole sectors.
    assert 0 <= memory["model_bytes"] - path.stat().st_size < 512
    # The model is used where it lies: no part of it is in memory twice.
    assert used < memory["model_bytes"] + (256 << 20)
    if kind not in texts:
        texts[kind] = hosted_text(TOKENS, path, PROMPT)
    assert answer["choices"][0]["text"] == texts[kind]
