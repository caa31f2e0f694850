"""The Java example that mirrors the dictionary, against a running service."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

EXAMPLE = Path(__file__).parents[2] / "examples" / "java" / "TagDictionary.java"


def test_it_mirrors_what_changed_and_resolves_names(running, http, tmp_path):
    java = shutil.which("java")
    assert java, "the full tests need a JDK (17 or later)"
    environment = {**os.environ, "ENGINE_API_TOKEN": running.token, "LC_ALL": "C.UTF-8"}
    mirror = tmp_path / "mirror.tsv"

    def run(*names: str) -> list[str]:
        command = [
            java,
            "-Dfile.encoding=UTF-8",
            "-Dstdout.encoding=UTF-8",
            str(EXAMPLE),
            running.url,
            str(mirror),
            *names,
        ]
        ended = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    told, *found = run("舰娘", "黑丝", "Long Hair", "nothing at all")
    assert found == [
        "舰娘\tkantai_collection",
        "黑丝\tblack_legwear black_pantyhose black_thighhighs",
        "Long Hair\tlong_hair",
        "nothing at all\t",
    ]
    assert int(told.split()[0]) > 1_000
    change = {"key": "long_hair", "do": "add", "names": [{"text": "Rapunzel's", "lang": "en"}]}
    assert http.post("/tags/edit", json=change).status_code == 200
    assert run("rapunzel's") == [told.replace(told.split()[0], "1", 1), "rapunzel's\tlong_hair"]
    assert run()[0].startswith("0 concepts changed")
