"""How long to wait before an attempt is repeated. Pure: numbers in, numbers out."""

from engine.api.backoff import Backoff


def test_back_off_is_full_jitter_under_a_cap_and_heeds_the_server() -> None:
    backoff = Backoff(base_s=1, cap_s=8, longest_s=100, seed=3)
    for attempt, most in [(0, 1), (1, 2), (2, 4), (3, 8), (9, 8), (5000, 8)]:
        delays = [backoff.delay(attempt) for _ in range(200)]
        assert 0 <= min(delays) < most / 8
        assert most * 7 / 8 < max(delays) <= most
    assert backoff.delay(0, 42) == 42
    assert backoff.delay(0, 1e9) == 100
    assert backoff.delay(0, 0) <= 1
