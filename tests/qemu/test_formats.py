"""Weight types in QEMU: a model with all of them gives the same text as in the hosted program, which
tests/golden compares with numpy bit for bit."""
import sys

from conftest import ROOT
from test_appliance import complete, hosted_text, synthetic, wait_ready

sys.path.insert(0, str(ROOT / "tools/gguf"))
from gguf_format import Reader  # noqa: E402
from make_gguf import TYPES  # noqa: E402

TENSORS = [f"blk.{layer}.{part}.weight" for layer in range(2)
           for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")]


def test_every_type_in_one_model(qemu, tmp_path):
    overrides = [f"--override={name}={kind}" for name, kind in zip(TENSORS, TYPES)]
    model = synthetic(tmp_path, "all", "--dim", "256", "--hidden", "512", "--layers", "2", "--heads", "8",
                      "--kv-heads", "4", "--vocab", "600", "--context", "64", "--type", "Q4_K",
                      "--override=output.weight=Q6_K", "--seed", "7", *overrides)
    assert {tensor.type_name for tensor in Reader(model).tensors} == set(TYPES)
    vm = qemu.boot_elf("", initrd=model, nic="virtio-net-pci")
    wait_ready(vm)
    text = complete(vm, max_tokens=24, prompt="abc")["choices"][0]["text"]
    assert len(text) > 10 and text == hosted_text(24, model, "abc")
