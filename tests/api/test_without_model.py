"""The hosted program without a model it could use: clear words, never a crash."""

import subprocess
import time

import pytest

from api_client import MODEL, PROGRAM, Api, start_hosted


def broken_files(folder):
    good = MODEL.read_bytes()
    yield "missing", folder / "missing.gguf"
    for name, data in (
        ("empty", b""),
        ("no gguf", b"hello world" * 1000),
        ("truncated", good[: len(good) // 2]),
        ("header only", good[:64]),
    ):
        path = folder / (name.replace(" ", "-") + ".gguf")
        path.write_bytes(data)
        yield name, path


def test_broken_models_are_named_in_health(tmp_path):
    for name, path in broken_files(tmp_path):
        process, url = start_hosted(["--model", path])
        try:
            api = Api(url)
            for _ in range(200):
                health = api.get("/health")
                assert health.status == 503, name
                if health.json()["status"] != "loading":
                    break
                time.sleep(0.02)
            assert health.json()["status"] == "error", name
            assert health.json()["message"], name
            answer = api.complete(max_tokens=1)
            assert answer.status == 503, name
            assert answer.error()["message"] == health.json()["message"], name
            assert api.get("/v1/models").json()["data"] == []
            assert api.profile()["model"] is None
            assert api.get("/profile").status == 200
        finally:
            process.terminate()
            assert process.wait(10) == 0, name


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--port"], ["--bogus", "1"],
                                       ["--context", "x"]])
def test_bad_arguments(arguments):
    result = subprocess.run([str(PROGRAM), *arguments], capture_output=True, text=True, timeout=10,
                            check=False)
    assert result.returncode == 2
    assert "--help" in result.stderr
