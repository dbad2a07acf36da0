"""Serves a card's page as `zoo demo` does."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def served(name: str) -> Iterator[str]:
    """The address of a card's page, which the real command serves in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "zoo", "demo", name, "--no-browser", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout
            told = next((line for line in process.stdout if "http://" in line), "nothing")
            assert str(port) in told
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
