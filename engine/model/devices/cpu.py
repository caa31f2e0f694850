"""The CPU: always there. It starts from the cache of optimised models."""

from typing import ClassVar

from engine.machine import cores
from engine.model.cache import ModelCache
from engine.model.devices.device import FILES, SessionRequest, check_signature, loading
from engine.model.onnx_runtime import FATAL, Ort
from engine.model.runners import ArrayRunner, Runner
from engine.model.session import Placement

DEFAULT_BATCH = 4
"""Pictures a batch. Larger batches are no faster on a CPU (measured: 1 to 8 alike), and each picture costs 44 MB."""


class Cpu:
    """The entry of the CPU in the table of devices."""

    name: ClassVar[str] = "cpu"
    hardware: ClassVar[str] = "a CPU"
    precisions: ClassVar[frozenset[str]] = FILES
    auto: ClassVar[frozenset[str]] = FILES

    def check(self, ort: Ort) -> str:
        """Never raises."""
        return f"by ONNX Runtime {ort.__version__}"

    def place(self, request: SessionRequest) -> Placement:
        """Never raises: the model is loaded when the runner is made."""
        return Placement(
            runner=lambda size: self.runner(request),  # a batch may have any size
            batch_size=request.config.batch_size or DEFAULT_BATCH,
        )

    def runner(self, request: SessionRequest) -> Runner:
        """Load the model. Raises `Unavailable` (out of memory), `ModelError`."""
        ort, file = request.ort, request.precision.file
        threads = request.config.intra_op_threads or cores()
        with loading(file):
            session = ModelCache(request.config.cache).load(ort, request.precision, lambda: cpu_options(ort, threads))
        check_signature(session, request.model, file)
        return ArrayRunner(session, request.run_options, features=request.features > 0)


def cpu_options(ort: Ort, threads: int) -> Ort:
    """SessionOptions for the CPU. docs/decisions/sessions.md says what each was measured to do."""
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding needs the cores meanwhile
    options.enable_mem_pattern = False  # its large block comes in addition to the arena
    return options


DEVICE = Cpu()
