"""A Samba server with one share, and the share mounted: smbd, and rclone through FUSE, where the machine has them."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

NEEDED = ("smbd", "rclone", "fusermount3")
SHARE = "pictures"


def missing() -> str | None:
    """What this machine lacks for a mounted share, in words; None if it has all."""
    lacking = [name for name in NEEDED if not (shutil.which(name) or Path("/usr/sbin", name).exists())]
    if lacking:
        return f"no {', '.join(lacking)} on this machine: a mounted Samba share was not tried"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        return "this machine lets the tests mount nothing: a mounted Samba share was not tried"
    return None


class Samba:
    """The share's files lie in `files`, what is read through the network in `mount`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files, self.mount = folder / "files", folder / "mount"
        for path in (self.files, self.mount, folder / "state"):
            path.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        state = "\n".join(
            f"{name} = {folder / 'state'}"
            for name in ("private dir", "lock directory", "state directory", "cache directory", "pid directory")
        )
        (folder / "smb.conf").write_text(
            f"[global]\nserver role = standalone server\nsmb ports = {self._port}\ninterfaces = lo\n"
            f"bind interfaces only = yes\n{state}\nncalrpc dir = {folder / 'state' / 'ncalrpc'}\n"
            f"log file = {folder / 'smbd.log'}\nmap to guest = Bad User\nguest account = root\nload printers = no\n"
            f"disable spoolss = yes\n[{SHARE}]\npath = {self.files}\nguest ok = yes\nread only = no\n",
            encoding="utf-8",
        )
        self._server: subprocess.Popen[bytes] | None = None
        self._mounted: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [shutil.which("smbd") or "/usr/sbin/smbd", "--foreground", "--no-process-group"]
        command += ["-s", str(self._folder / "smb.conf")]
        with (self._folder / "smbd.out").open("ab") as out:
            self._server = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self._until(self._answers)

    def kill(self) -> None:
        """End the server and each process that it has for a client, as when the NAS loses its power."""
        if self._server:
            os.killpg(self._server.pid, 9)
            self._server.wait()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        hidden = subprocess.run(["rclone", "obscure", "x"], capture_output=True, encoding="utf-8", check=True).stdout
        remote = f":smb,host=127.0.0.1,port={self._port},user=guest,pass={hidden.strip()}:{SHARE}"
        command = ["rclone", "--config", os.devnull, "mount", remote, str(self.mount)]
        command += ["--dir-cache-time", "0s", "--attr-timeout", "0s", "--low-level-retries", "1"]
        with (self._folder / "rclone.out").open("ab") as out:
            self._mounted = subprocess.Popen(command, stdout=out, stderr=out)
        self._until(lambda: os.path.ismount(self.mount))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        subprocess.run(["fusermount3", "-uz", str(self.mount)], check=False)
        if self._mounted:
            self._mounted.kill()
            self._mounted.wait()
        self.kill()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def _until(self, there: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not there():
            if time.monotonic() > end:
                raise TimeoutError((self._folder / "smbd.out").read_text(errors="replace")[-2000:])
            time.sleep(0.05)
