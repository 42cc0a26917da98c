"""Every network card and disk for which there is a driver, each in a machine that has it."""
import http.client
import json
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models/stories.gguf"
READY = re.compile(r"\] ready: .*\n")

CARDS = ["e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "virtio-net-pci",
         "virtio-net-pci,disable-legacy=on", "virtio-net-pci,mq=on,vectors=0"]


def get(vm, path):
    """One GET by a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", vm.port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def complete(vm, prompt, max_tokens):
    """The greedy continuation of a prompt."""
    connection = http.client.HTTPConnection("127.0.0.1", vm.port, timeout=60)
    try:
        connection.request("POST", "/v1/completions", json.dumps(
            {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0}))
        return json.loads(connection.getresponse().read())["choices"][0]["text"]
    finally:
        connection.close()


def network_of(vm):
    return json.loads(get(vm, "/profile?format=json")[1])["network"]


@pytest.mark.parametrize("card", CARDS)
def test_network_card(qemu, card):
    vm = qemu.boot_elf("", initrd=MODEL, nic=card)
    assert "http://10.0.2.15:80/" in vm.wait_for(READY).group(0)
    assert "by DHCP" in vm.text
    for _ in range(20):
        assert get(vm, "/health")[0] == 200
    network = network_of(vm)
    assert network["device"] == ("virtio-net" if card.startswith("virtio") else "e1000")
    assert network["dropped_frames"] == 0
    # More full frames than a ring holds, to the guest and back.
    body = b"x" * 300_000
    connection = http.client.HTTPConnection("127.0.0.1", vm.port, timeout=20)
    connection.request("POST", "/v1/completions", body)
    assert connection.getresponse().status == 400
    connection.close()
    assert network_of(vm)["received_frames"] > network["received_frames"] + 200


@pytest.mark.parametrize("card", ["e1000", "e1000e", "virtio-net-pci"])
def test_link_goes_and_comes_back(qemu, card):
    vm = qemu.boot_elf("", initrd=MODEL, nic=f"{card},id=card")
    vm.wait_for(READY)
    assert get(vm, "/health")[0] == 200
    for state in ("off", "on"):
        vm.qmp.command("human-monitor-command", **{"command-line": f"set_link card {state}"})
        time.sleep(0.3)
    deadline = time.monotonic() + 15
    while True:
        try:
            assert get(vm, "/health")[0] == 200
            break
        except OSError:
            assert time.monotonic() < deadline, vm.story()
    assert network_of(vm)["link_up"] is True


DISKS = {
    "ide-primary-master": ["-drive", "file={},format=raw,snapshot=on,if=ide,index=0"],
    "ide-primary-slave": ["-drive", "file={},format=raw,snapshot=on,if=ide,index=1"],
    "ide-secondary-slave": ["-drive", "file={},format=raw,snapshot=on,if=ide,index=3"],
    "beside-a-cdrom": ["-drive", "if=ide,index=2,media=cdrom", "-drive",
                       "file={},format=raw,snapshot=on,if=ide,index=3"],
    "virtio": ["-drive", "file={},format=raw,snapshot=on,if=virtio"],
    "virtio-modern": ["-drive", "file={},format=raw,snapshot=on,if=none,id=model", "-device",
                      "virtio-blk-pci,drive=model,disable-legacy=on"],
    "virtio-read-only": ["-drive", "file={},format=raw,readonly=on,if=virtio"],
}


@pytest.mark.parametrize("place", DISKS)
def test_model_on_a_disk(qemu, place):
    vm = qemu.boot_elf("", *[argument.format(MODEL) for argument in DISKS[place]], nic="virtio-net-pci")
    vm.wait_for(READY)
    assert "from disk " + ("virtio-blk0" if place.startswith("virtio") else "ata") in vm.text
    assert get(vm, "/health")[0] == 200


def test_memory_that_an_ide_controller_cannot_reach(qemu, tmp_path):
    """With 64 MiB below 4 GiB, a larger model is loaded above them, through memory that the disk can reach."""
    model = tmp_path / "large.gguf"
    subprocess.run(["/usr/bin/python3", ROOT / "tools/gguf/make_gguf.py", "--dim", "288", "--hidden", "768", "--layers", "6",
                    "--heads", "6", "--kv-heads", "6", "--vocab", "1024", "--context", "64", "--type", "Q8_0", model],
                   check=True, capture_output=True, timeout=120)
    assert model.stat().st_size > 4 << 20
    said = []
    for machine in ("pc", "pc,max-ram-below-4g=64M"):
        vm = qemu.boot_elf("", "-drive", f"file={model},format=raw,snapshot=on", nic="virtio-net-pci",
                           memory="128", machine=machine)
        vm.wait_for(READY)
        assert "from disk ata0" in vm.text
        said.append(complete(vm, "abc", 8))
    assert said[0] == said[1] != ""


def test_entropy_device(qemu):
    """A processor without RDRAND takes its random bytes from the host."""
    vm = qemu.boot_elf("", "-device", "virtio-rng-pci", initrd=MODEL, nic="virtio-net-pci", cpu="qemu64")
    vm.wait_for(READY)
    assert "entropy from virtio-rng" in vm.text
