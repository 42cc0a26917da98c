"""The smallest machine that runs a model has memory for model + KV cache + 8 MiB. A smaller one says how much
is missing."""
import json
import re
import subprocess

import pytest

from conftest import BUILD, ROOT
from test_appliance import MODEL, call, complete, hosted_text, wait_ready

MIB = 1 << 20
PROGRAM_BYTES = 8 * MIB
# Layers, length of a key, context.
SHAPES = {"stories": (5, 64, 512), "15m": (6, 288, 256), "135m": (30, 192, 2048)}


def model_of(name):
    """The default model, or a model of a known shape with random weights, made once."""
    if name == "stories":
        return MODEL
    path = BUILD / f"test-{name}-q8_0.gguf"
    if not path.exists():
        half = path.with_suffix(".part")
        subprocess.run(["/usr/bin/python3", ROOT / "tools/gguf/make_gguf.py", "--preset", name, "--type", "Q8_0", half],
                       check=True, capture_output=True, timeout=180)
        half.rename(path)
    return path


def kv_bytes(name, slots=1):
    layers, kv_dim, context = SHAPES[name]
    return slots * context * layers * 2 * kv_dim * 2


def smallest(name, slots=1):
    """Mebibytes."""
    total = model_of(name).stat().st_size + kv_bytes(name, slots) + PROGRAM_BYTES
    return -(-total // MIB)


def boot(qemu, make_image, way, name, options, memory):
    if way == "initrd":
        return qemu.boot_elf(options, initrd=model_of(name), memory=memory, nic="virtio-net-pci")
    return qemu.boot_image(make_image(model=model_of(name), options=options), memory=memory, nic="virtio-net-pci",
                           hang_s=120)


@pytest.mark.parametrize("way", ["initrd", "disk"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_smallest_machine_has_the_whole_context(qemu, make_image, name, way):
    context = SHAPES[name][2]
    vm = boot(qemu, make_image, way, name, f"slots=1 context={context}", smallest(name))
    assert "a prompt can be typed" in wait_ready(vm)
    assert f"model: context {context}, 1 slot, KV cache" in vm.text
    assert "the longest context that fits" not in vm.text
    text = complete(vm, max_tokens=8)["choices"][0]["text"]
    assert text == hosted_text(8, model_of(name))
    # There is room for a large body. The largest one may be refused, and the machine goes on.
    status, _, data = call(vm, "POST", "/v1/completions", {"prompt": "x" * 250_000})
    assert status == 400 and b"longer than the model's context" in data
    assert call(vm, "POST", "/v1/completions", {"prompt": "x" * 1_000_000})[0] in (400, 503)
    assert complete(vm, max_tokens=8)["choices"][0]["text"] == text


@pytest.mark.parametrize("way", ["initrd", "disk"])
def test_too_little_memory_is_a_sentence(qemu, make_image, way):
    size = model_of("15m").stat().st_size
    vm = boot(qemu, make_image, way, "15m", "", -(-size // MIB) + (5 if way == "initrd" else 4))
    assert "there is no model" in wait_ready(vm)
    status, _, data = call(vm, "GET", "/health")
    message = json.loads(data)["message"]
    assert status == 503
    found = re.fullmatch(r"this model needs (\d+) MiB(?: at least)?: model ([\d.]+) MiB \+ .*8\.0 MiB.*; "
                         r"the machine has ([\d.]+) MiB", message)
    assert found, message
    needed, model, has = map(float, found.groups())
    assert model == pytest.approx(size / MIB, abs=0.06)
    assert model + 8 <= needed <= model + 10
    assert has < needed
    assert f"model: {message}" in vm.text
    assert message[:60] in vm.screen_text().replace("\n", "")


def test_the_longest_context_that_fits_is_said(qemu):
    vm = qemu.boot_elf("context=100000", initrd=MODEL, memory=24, nic="virtio-net-pci")
    wait_ready(vm)
    longest = int(re.search(r"the longest context that fits is (\d+) tokens, not 100000", vm.text)[1])
    assert 1000 < longest < 100_000
    assert "model: memory for 1 of 4 slots" in vm.text
    status, _, data = call(vm, "GET", "/v1/models")
    assert json.loads(data)["data"][0]["context_length"] == longest
    # Half the bytes for a token leave room for about twice as many tokens.
    vm = qemu.boot_elf("context=100000 kv=q8_0", initrd=MODEL, memory=24, nic="virtio-net-pci")
    wait_ready(vm)
    more = int(re.search(r"the longest context that fits is (\d+) tokens, not 100000", vm.text)[1])
    assert 1.4 * longest < more < 2 * longest


def test_slots_are_given_up_where_memory_is_short(qemu):
    # Half of the memory that four slots need.
    memory = smallest("stories", 2)
    vm = qemu.boot_elf("slots=16 context=2048", initrd=MODEL, memory=memory, nic="virtio-net-pci")
    wait_ready(vm)
    slots = int(re.search(r"model: memory for (\d+) of 16 slots", vm.text)[1])
    assert slots < 16
    assert f"context 2048, {slots} slot" in vm.text
    assert complete(vm)["choices"][0]["text"] == hosted_text(40)


@pytest.mark.parametrize("mebibytes, options, wanted", [
    (256, "", "owned"), (256, "weights=tight", "tight"), (0, "", "tight"), (256, "weights=mapped", "mapped")])
def test_the_placement_of_weights_is_shown(qemu, mebibytes, options, wanted):
    """A machine with hardly more memory than the model needs chooses weights=tight by itself."""
    memory = mebibytes or smallest("15m")
    vm = qemu.boot_elf(f"slots=1 {options}", initrd=model_of("15m"), memory=memory, nic="virtio-net-pci")
    wait_ready(vm)
    profile = json.loads(call(vm, "GET", "/profile?format=json")[2])
    assert profile["memory"]["weights"] == wanted
    assert profile["memory"]["packing_bytes"] == profile["memory"]["moved_bytes"] == 0
    matrices = [f for f in profile["functions"] if "q8_0_gemv" in f["name"]]
    assert matrices and all("rows16" not in f["variant"] for f in matrices)
