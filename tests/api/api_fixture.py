"""Where the API under test is: BAREFLOW_URL, or the hosted program started here. No conftest.py: the
tests of QEMU import theirs by name."""

import os

import pytest

from api_client import MODEL, Api, start_hosted


@pytest.fixture(scope="session")
def api():
    url = os.environ.get("BAREFLOW_URL")
    if url:
        client = Api(url)
        client.wait_until_ready()
        yield client
        return
    process, url = start_hosted(["--model", MODEL])
    client = Api(url)
    client.wait_until_ready()
    yield client
    process.terminate()
    assert process.wait(10) == 0, "ends cleanly when asked to"
