"""`--ray` where Ray is not installed."""

import os
from pathlib import Path

from tests.support.media_server import MediaServer
from tests.support.runs import WITHOUT, command, run


def test_without_ray_one_sentence_says_how_to_install_it(tiny_model, tmp_path) -> None:
    root = Path(__file__).parents[3]
    (tmp_path / "pictures").mkdir()
    with MediaServer([]) as server:
        arguments = command(server, tiny_model, tmp_path / "pictures", tmp_path / "s.db", "--ray", "local")
        result = run(arguments, WITHOUT="ray", PYTHONPATH=os.pathsep.join((str(WITHOUT), str(root))))
    assert result.returncode == 1
    wanted = 'error: this needs ray, which is not installed: `pip install "deepdanbooru-engine[ray]"`'
    assert result.stderr.splitlines() == [wanted]
