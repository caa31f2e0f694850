"""The conversion as a whole."""

import subprocess
import sys
from pathlib import Path

from tests.convert.projects import MODELS, make_project


def test_no_tensorflow_in_the_process(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", MODELS / "tf2.7-resnet.h5")
    code = (
        "import sys; from convert.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or any(name.split('.')[0] in ('tensorflow', 'keras', 'tf_keras') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, project, tmp_path / "model"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
