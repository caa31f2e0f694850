"""Stand-ins for builds of ONNX Runtime with other providers. The models run on the real ONNX Runtime's CPU."""

from types import SimpleNamespace
from typing import Any

import onnxruntime

CPU = "CPUExecutionProvider"


class FakeProviderRuntime:
    """An onnxruntime that has the provider `provider`; what it cannot do is passed on to the real onnxruntime.

    Attributes:
        works: whether the provider takes anything at all.
        lost: kinds of nodes that it leaves to the CPU.
        sessions: (providers, settings) of each session of a model.
    """

    package_name = "onnxruntime-other"

    def __init__(self, provider: str, works: bool = True, lost: tuple[str, ...] = ()) -> None:
        self.provider, self.works, self.lost = provider, works, lost
        self.sessions: list[tuple[Any, Any]] = []
        self.running = self.most_running = 0
        self.InferenceSession: Any = _session_class(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return [self.provider, CPU] if self.provider else [CPU]


def _session_class(ort: FakeProviderRuntime) -> type:
    class FakeSession:
        def __init__(self, file: Any, settings: Any, providers: Any, enable_fallback: int) -> None:
            assert not enable_fallback
            self._real = onnxruntime.InferenceSession(file, settings, providers=[CPU])
            if not isinstance(file, bytes):
                ort.sessions.append((providers, settings))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def disable_fallback(self) -> None: ...

        def get_providers(self) -> list[str]:
            return [ort.provider, CPU] if ort.works else [CPU]

        def run_with_iobinding(self, binding: Any, options: Any) -> None:
            ort.running += 1
            ort.most_running = max(ort.most_running, ort.running)
            try:
                self._real.run_with_iobinding(binding, options)
            finally:
                ort.running -= 1

        def get_provider_graph_assignment_info(self) -> list[Any]:
            """Where the real session's nodes went, as if the provider had taken all but those of `lost`."""
            return [
                SimpleNamespace(
                    ep_name=CPU if node.op_type in ort.lost else ort.provider, get_nodes=lambda it=node: [it]
                )
                for part in self._real.get_provider_graph_assignment_info()
                for node in part.get_nodes()
            ]

    return FakeSession
