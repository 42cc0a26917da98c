"""What takes minutes: `make soak`. The same promises as in test_appliance.py, over time."""
import json
import os
import random
import socket
import time

import pytest

from test_appliance import PROMPT, call, complete, wait_ready

pytestmark = pytest.mark.soak


def cpu_seconds(vm):
    fields = open(f"/proc/{vm.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("nic", ["e1000", "virtio-net-pci"])
def test_mixed_load_leaves_nothing_behind(qemu, nic):
    """Five minutes of good, bad and rude clients: the same text at the end as at the start, memory and
    connections back where they were."""
    vm = qemu.boot_image(None, nic=nic, hang_s=900)
    wait_ready(vm)
    text = complete(vm, max_tokens=60)["choices"][0]["text"]

    def memory():
        profile = json.loads(call(vm, "GET", "/profile?format=json")[2])
        return profile["memory"]["free_bytes"], profile["memory"]["heap_bytes"]

    rng = random.Random(1)
    for _ in range(50):
        complete(vm, max_tokens=4)
    before = memory()
    end = time.monotonic() + 300
    rounds = 0
    while time.monotonic() < end:
        rounds += 1
        kind = rng.randrange(6)
        if kind == 0:
            complete(vm, max_tokens=rng.randrange(1, 30), temperature=1.0, seed=rng.randrange(1 << 30))
        elif kind == 1:
            assert call(vm, "POST", "/v1/completions", bytes(rng.randrange(256) for _ in range(200)))[0] == 400
        elif kind == 2:
            with socket.create_connection(("127.0.0.1", vm.port), timeout=20) as client:
                client.sendall(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 3000))))
        elif kind == 3:
            client = socket.create_connection(("127.0.0.1", vm.port), timeout=20)
            body = json.dumps({"prompt": PROMPT, "max_tokens": 400, "stream": True}).encode()
            client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            if rng.randrange(2):
                client.recv(4096)
            client.close()
        elif kind == 4:
            assert call(vm, "GET", rng.choice(["/health", "/profile", "/", "/v1/models"]))[0] == 200
        else:
            # More at once than four or so is a test of QEMU's user network, which loses some.
            clients = [socket.create_connection(("127.0.0.1", vm.port), timeout=20) for _ in range(4)]
            for client in clients:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients:
                assert client.recv(4096).startswith(b"HTTP/1.1 200")
                client.close()
    time.sleep(3)
    assert complete(vm, max_tokens=60)["choices"][0]["text"] == text
    after = memory()
    print(f"{nic}: {rounds} rounds, free {before[0]} -> {after[0]}, heap {before[1]} -> {after[1]}")
    assert after[0] >= before[0] - (256 << 10)
    assert after[1] <= before[1] + (64 << 10)


def test_fifty_starts(qemu):
    """Every start reaches the ready line, by either path."""
    for i in range(25):
        for vm in (qemu.boot_image(None, nic="virtio-net-pci"), qemu.boot_elf("", initrd="models/stories.gguf", nic="e1000")):
            wait_ready(vm)
            vm.stop()


@pytest.mark.parametrize("nic", ["e1000", "virtio-net-pci"])
def test_a_minute_of_idling_costs_next_to_nothing(qemu, nic):
    vm = qemu.boot_image(None, nic=nic, hang_s=150)
    wait_ready(vm)
    time.sleep(3)
    before = cpu_seconds(vm)
    time.sleep(60)
    share = (cpu_seconds(vm) - before) / 60
    print(f"{nic}: {100 * share:.2f} % of a core")
    assert share < 0.02


def test_link_down_and_up_again(qemu):
    vm = qemu.boot_image(None, nic="e1000", hang_s=120)
    wait_ready(vm)
    for _ in range(3):
        vm.qmp.command("set_link", name="net0", up=False)
        time.sleep(1)
        vm.qmp.command("set_link", name="net0", up=True)
        end = time.monotonic() + 30
        while True:
            try:
                if call(vm, "GET", "/health", timeout=1)[0] == 200:
                    break
            except OSError:
                assert time.monotonic() < end, vm.story()
