"""The hosted program remembers what it tuned in a file, as the image does on its disk."""

import time

from api_client import MODEL, Api, start_hosted


def run(path, *more):
    process, url = start_hosted(["--model", MODEL, "--state", path, *more])
    api = Api(url)
    api.wait_until_ready()
    return process, api


def jit(api):
    return api.profile()["jit"]


def wait_until(done, what):
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def test_a_second_start_remembers(tmp_path):
    path = tmp_path / "state.img"
    process, api = run(path)
    assert jit(api)["kept_on"] == str(path)
    text = api.complete(max_tokens=200, temperature=0).json()["choices"][0]["text"]
    wait_until(lambda: jit(api)["saves"] > 0, "never saved")
    first = jit(api)
    # A second process does not get the file, and works without it.
    other, other_api = run(path)
    assert jit(other_api)["kept_on"] == ""
    for one in (process, other):
        one.terminate()
        assert one.wait(10) == 0
    assert path.stat().st_size == 64 << 10

    process, api = run(path)
    # Before the first request is served.
    assert jit(api)["recalled"] + jit(api)["recalls_lost"] > 0, "nothing was remembered"
    assert jit(api)["candidates_tried"] < first["candidates_tried"]
    assert api.complete(max_tokens=200, temperature=0).json()["choices"][0]["text"] == text
    process.terminate()
    assert process.wait(10) == 0


def test_a_file_that_is_no_state_disk_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"not to be lost\n" * 10_000)
    before = path.read_bytes()
    process, api = run(path, "state=continual")
    api.complete(max_tokens=20)
    assert jit(api)["kept_on"] == ""
    process.terminate()
    assert process.wait(10) == 0
    assert path.read_bytes() == before
