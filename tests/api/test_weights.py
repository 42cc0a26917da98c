"""Weights are repacked where that is faster; texts do not change, and /profile says what was done."""

import subprocess
import time

import pytest

from api_client import ROOT, Api, start_hosted

TYPES = ("Q8_0", "Q4_0")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for kind in TYPES:
        paths[kind] = folder / f"15m-{kind}.gguf"
        subprocess.run(["/usr/bin/python3", ROOT / "tools/gguf/make_gguf.py", "--preset", "15m", "--type", kind,
                        paths[kind]], check=True, capture_output=True, timeout=180)
    return paths


def text(api, prompt):
    answer = api.complete(prompt=prompt, max_tokens=60, temperature=0)
    return answer.json()["choices"][0]["text"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("mode", ["owned", "mapped", "tight"])
def test_texts_are_the_same_before_and_after(models, kind, mode):
    before = models[kind].read_bytes()
    process, url = start_hosted(["--model", models[kind], "state=off", f"weights={mode}", "jit.warm=1",
                                 "jit.hot=2", "jit.very_hot=3"])
    api = Api(url)
    try:
        api.wait_until_ready()
        prompts = ("Once", "Once upon a time there was " * 8)
        first = [text(api, prompt) for prompt in prompts]
        # Waits until nothing was tried or moved for two seconds.
        end = time.monotonic() + 90
        seen, since = None, 0.0
        while seen is None or time.monotonic() < since + 2:
            assert time.monotonic() < end, "the search does not end"
            assert [text(api, prompt) for prompt in prompts] == first
            shown = api.profile()
            now = (shown["jit"]["candidates_tried"], shown["memory"]["moved_bytes"])
            if now != seen:
                seen, since = now, time.monotonic()
        matrices = [f for f in shown["functions"] if "_gemv" in f["name"]]
        assert len(matrices) == 4 and any(f["level"] == 3 for f in matrices)
        memory = shown["memory"]
        assert memory["weights"] == mode
        packed = any("rows16" in f["variant"] for f in matrices)
        assert (memory["moved_bytes"] > 0) >= packed
        if mode == "mapped":
            assert (memory["packing_bytes"] > 0) == packed
            assert memory["packing_bytes"] < memory["model_bytes"]
        # Every rows16 that was tried gave the right bits.
        tried = [t for t in shown["candidates"] if "rows16" in t["variant"]]
        assert tried and all(t["verdict"] in ("won", "lost") for t in tried)
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert models[kind].read_bytes() == before
