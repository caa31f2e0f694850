"""Where the next block is loaded, and which session scores it."""

from engine.cluster.messages import Opened
from engine.cluster.nodes import Node, Nodes, RunningSession


def node(name: str, cpus: int, *, gpus: int = 0, sessions: int = 0) -> Node:
    made = Node(name, name, cpus, gpus, ready=True)
    made.sessions = [RunningSession(made, None, Opened(8, "cuda", "fp32", ""), 8) for _ in range(sessions)]
    return made


def nodes(*all_of_them: Node, gpu: bool = True) -> Nodes:
    made = Nodes(gpu=gpu)
    made.all = {one.id: one for one in all_of_them}
    return made


def test_blocks_are_loaded_where_a_session_is_and_elsewhere_only_when_no_cpu_is_free_there() -> None:
    near, far = node("near", 2, gpus=1, sessions=1), node("far", 9)
    cluster = nodes(far, near)
    for _ in range(2):
        assert cluster.loader() is near
        near.loading += 1
    assert cluster.loader() is far
    near.ready = False
    far.loading = 9
    assert cluster.loader() is None


def test_of_nodes_with_sessions_the_least_supplied_comes_first() -> None:
    small, large = node("small", 8, gpus=1, sessions=1), node("large", 8, gpus=4, sessions=4)
    cluster = nodes(small, large)
    given = []
    for _ in range(10):
        chosen = cluster.loader()
        assert chosen
        chosen.loading += 1
        given.append(chosen.id)
    assert given.count("large") == 8


def test_rows_stay_on_their_node_unless_another_session_has_nothing_to_do() -> None:
    here, there = node("here", 2, gpus=1, sessions=1), node("there", 2, gpus=1, sessions=1)
    cluster = nodes(here, there)
    mine, other = here.sessions[0], there.sessions[0]
    assert cluster.scorer(here) is mine
    mine.under_way = mine.most
    other.under_way = 1
    assert cluster.scorer(here) is None
    other.under_way = 0
    assert cluster.scorer(here) is other
    assert cluster.scorer(node("only cpus", 4)) is other


def test_a_window_is_what_occupies_all_once() -> None:
    cluster = nodes(node("a", 4, gpus=1, sessions=1), node("b", 6))
    assert cluster.window == 4 + 6 + 3


def test_sessions_are_one_a_gpu_or_one_a_node_and_leave_a_cpu_for_reading() -> None:
    gpu = nodes(node("a", 4, gpus=2), node("b", 6))
    assert gpu.most_sessions() == 2 and gpu.place_for_session() is gpu.all["a"]
    cpu = nodes(node("a", 4), node("b", 1), node("head", 0), gpu=False)
    assert cpu.most_sessions() == 2
    assert [one.session_places(gpu=False) for one in cpu.all.values()] == [3, 1, 0]
    cpu.all["a"].failures = 3
    assert cpu.place_for_session() is cpu.all["b"]
    cpu.all["b"].gone = True
    assert cpu.place_for_session() is None
