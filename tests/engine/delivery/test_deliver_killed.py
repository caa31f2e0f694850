"""A delivery that is killed, again and again, by a service that fails a quarter of its requests: nothing lost."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.delivery.chunks import Limits
from engine.ledger.ledger import Ledger
from tests.support.delivery import Bench, expected, tagged
from tests.support.media_server import FAILURES, MediaServer, Reply, Request, randomly

KILLS = 3
DELIVER = """
import sys
from pathlib import Path
from engine.delivery.chunks import Limits
from engine.ledger.ledger import Ledger
from tests.support.delivery import Bench
from tests.support.media_server import MediaServer

server = MediaServer()
server.recognition_url, server.bulk_url = sys.argv[2:4]
with Ledger(Path(sys.argv[1])) as ledger:
    Bench(ledger, server).deliver(bulk=sys.argv[4] == "True", limits=Limits(records=9))
"""


@pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "single"])
def test_a_killed_delivery_goes_on_where_it_was(tmp_path: Path, bulk: bool) -> None:
    state = tmp_path / "state.db"
    media = tagged(100, tags=3)
    with Ledger(state) as ledger, MediaServer() as unused:
        Bench(ledger, unused).put(media)
    reached = threading.Event()
    kill_at = [0]

    def notice(request: Request) -> Reply | None:
        if request.index >= kill_at[0]:
            reached.set()
        return None

    cut_after_store = sum(reply.cut and reply.store for reply in FAILURES)
    with MediaServer([], notice, randomly(0.25, FAILURES, seed=5)) as server:
        for _ in range(KILLS):
            reached.clear()
            kill_at[0] = len(server.requests) + 10
            command = [sys.executable, "-c", DELIVER, str(state), server.recognition_url, server.bulk_url, str(bulk)]
            with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as process:
                assert reached.wait(60)
                process.kill()
        assert len(server.store) < len(expected(media))  # or the kills came too late to show anything
        with Ledger(state) as ledger:
            bench = Bench(ledger, server)
            bench.deliver(bulk=bulk, limits=Limits(records=9))
            assert bench.counts() == {"done": len(media)}
        assert server.violations == []
        assert server.store == expected(media)
        if not bulk:  # a record is sent again only where its answer was lost: four a kill, and those the service cut
            share = 0.25 * cut_after_store / len(FAILURES)
            assert len(server.stored_twice) <= 4 * KILLS + 2 * share * len(server.requests)
