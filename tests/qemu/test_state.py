"""The state disk remembers the choices, whatever happens to the machine."""
import json
import random
import re
import time
from pathlib import Path

import pytest

import state_image
from test_appliance import MODEL, call, complete, wait_ready

SAVED = re.compile(r"profile: (\d+) choices saved on (\S+) in ([0-9.]+) ms")
REMEMBERED = re.compile(r"profile: (\d+) choices are remembered on (\S+),")
DISKS = {"ide": "if=ide,index=2", "virtio": "if=virtio"}


@pytest.fixture
def state(tmp_path):
    return state_image.make(tmp_path / "state.img")


def boot(qemu, state, options="", disk="ide", model=MODEL, **settings):
    vm = qemu.boot_elf(options, "-drive", f"file={state},format=raw,{DISKS[disk]}", initrd=model,
                       nic="virtio-net-pci", **settings)
    wait_ready(vm)
    return vm


def profile(vm):
    return json.loads(call(vm, "GET", "/profile?format=json")[2])


def kernels(vm):
    """{name: (level, variant)} of the functions for which the optimiser chooses."""
    return {f["name"]: (f["level"], f["variant"]) for f in profile(vm)["functions"] if f["variant"]}


def tune(vm, state):
    """Makes texts until all kernels are at their best and have been saved. Returns them."""
    end = time.monotonic() + 60
    while True:
        assert time.monotonic() < end, vm.story()
        complete(vm, max_tokens=60)
        chosen = kernels(vm)
        found = state_image.newest(state)
        if found and all(level >= 2 for level, _ in chosen.values()) and \
                state_image.choices(found[1]) == chosen:
            return chosen
        time.sleep(0.5)


def wait_for_recall(vm):
    """Waits until the remembered choices have been tried."""
    wanted = int(REMEMBERED.search(vm.text)[1])
    end = time.monotonic() + 30
    while True:
        jit = profile(vm)["jit"]
        if jit["recalled"] + jit["recalls_lost"] >= wanted:
            return jit
        assert time.monotonic() < end, (jit, vm.story())
        time.sleep(0.05)


@pytest.mark.parametrize("disk", DISKS)
def test_the_next_boot_starts_where_this_one_stopped(qemu, state, disk):
    vm = boot(qemu, state, disk=disk)
    assert "profile: nothing is remembered" in vm.text
    chosen = tune(vm, state)
    count = len(chosen)
    assert count >= 3
    assert SAVED.search(vm.text)
    first = profile(vm)["jit"]
    text = complete(vm)["choices"][0]["text"]
    vm.stop()
    kept = state_image.parse(state_image.newest(state)[1])
    assert kept["hypervisor"] == "TCGTCGTCGTCG"

    vm = boot(qemu, state, disk=disk)
    assert int(REMEMBERED.search(vm.text)[1]) == count
    jit = wait_for_recall(vm)
    # No token was made yet. Load on the host may have made a choice look slow: that one is searched again.
    assert profile(vm)["tokens"]["completion"] == 0
    assert jit["recalled"] >= count / 2, jit
    assert jit["candidates_tried"] < first["candidates_tried"] / 2
    again = kernels(vm)
    assert sum(again[name] == chosen[name] for name in chosen) >= count / 2, (again, chosen)
    assert complete(vm)["choices"][0]["text"] == text


def test_another_processor_model_or_nothing_at_all(qemu, state, tmp_path):
    vm = boot(qemu, state, cpu="max")
    tune(vm, state)
    vm.stop()
    before = state.read_bytes()
    vm = boot(qemu, state, cpu="qemu64")
    assert "remembers is ignored: it is of another processor" in vm.text
    vm.stop()
    other = tmp_path / "other.gguf"
    data = bytearray(MODEL.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    vm = boot(qemu, state, cpu="max", model=other)
    assert "remembers is ignored: it is of another model" in vm.text
    vm.stop()
    vm = boot(qemu, state, "state=off", cpu="max")
    assert "profile: not kept across reboots: state=off" in vm.text
    vm.stop()
    assert state.read_bytes() == before
    vm = qemu.boot_elf("", initrd=MODEL, nic="virtio-net-pci", cpu="max")
    wait_ready(vm)
    assert "profile: not kept across reboots: there is no state disk" in vm.text
    assert profile(vm)["jit"]["kept_on"] == ""


def test_damaged_copies(qemu, state):
    vm = boot(qemu, state, "state=continual")
    tune(vm, state)
    complete(vm, max_tokens=20)
    vm.stop()
    data = state.read_bytes()
    copies = [state_image.read_copy(data, index) for index in range(2)]
    assert all(copies)
    newer = int(copies[1] > copies[0])
    state_image.damage(state, newer)
    assert state_image.newest(state) == copies[1 - newer]
    vm = boot(qemu, state)
    assert REMEMBERED.search(vm.text)
    vm.stop()
    state_image.damage(state, 1 - newer)
    vm = boot(qemu, state)
    assert "remembers is ignored: both copies are damaged" in vm.text
    tune(vm, state)
    vm.stop()
    assert state_image.newest(state)[0] < 10  # the sequence starts again


def test_no_other_disk_is_ever_written_to(qemu, state, tmp_path):
    """The image and a disk with a model, attached so that the guest could write to them."""
    image, model = tmp_path / "boot.img", tmp_path / "model.img"
    image.write_bytes((Path(__file__).parents[2] / "build/fluid_llama.img").read_bytes())
    model.write_bytes(MODEL.read_bytes())
    vm = qemu.start("-drive", f"file={image},format=raw,if=ide,index=0", "-drive",
                    f"file={model},format=raw,if=ide,index=1", "-drive", f"file={state},format=raw,if=ide,index=2",
                    "-fw_cfg", "name=opt/bareflow/options,string=state=continual", nic="virtio-net-pci")
    wait_ready(vm)
    saves = 0
    for _ in range(20):  # enough for a slow machine
        complete(vm)
        saves = profile(vm)["jit"]["saves"]
        if saves > 10:
            break
    vm.stop()
    assert saves > 10
    assert image.read_bytes() == (Path(__file__).parents[2] / "build/fluid_llama.img").read_bytes()
    assert model.read_bytes() == MODEL.read_bytes()
    assert state_image.newest(state)


def kill_while_saving(qemu, state, times, disk):
    rng = random.Random(times)
    sequence = 0
    moved = 0
    for _ in range(times):
        vm = boot(qemu, state, "state=continual", disk=disk)
        assert "is ignored" not in vm.text
        time.sleep(rng.random() * 0.3)
        vm.process.kill()
        vm.process.wait()
        found = state_image.newest(state)
        if found:
            state_image.parse(found[1])
            assert found[0] >= sequence
            moved += found[0] > sequence
            sequence = found[0]
        else:
            assert sequence == 0
        vm.stop()
    print(f"{disk}: {sequence} saves in {times} lives")
    assert moved >= times / 2
    assert sequence > times
    vm = boot(qemu, state, disk=disk)
    assert REMEMBERED.search(vm.text)


@pytest.mark.parametrize("disk, times", [("ide", 6), ("virtio", 4)])
def test_survives_being_killed_while_it_saves(qemu, state, disk, times):
    kill_while_saving(qemu, state, times, disk)


@pytest.mark.soak
@pytest.mark.parametrize("disk", DISKS)
def test_survives_being_killed_fifty_times(qemu, state, disk):
    kill_while_saving(qemu, state, 50, disk)
