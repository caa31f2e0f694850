"""How an opinion is kept: its blob against the same made tag by tag."""

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from service.opinions import entries, pack, unpack

TAGS = st.dictionaries(st.integers(1, 2**32 - 1), st.floats(0, 1), max_size=60)


@given(TAGS)
@example({7: 0.0, 3: 1.0, 5: 0.5})
def test_tags_ascend_and_scores_are_rounded_to_the_nearest_step(tags: dict[int, float]) -> None:
    expected = [(tag, max(1, round(score * 65_535))) for tag, score in sorted(tags.items())]
    assert pack(tags) == b"".join(struct.pack("<IH", *one) for one in expected)
    assert entries(pack(tags)).tolist() == expected


def test_the_three_decimals_of_the_media_api_come_back() -> None:
    given = {number: number / 1000 for number in range(1, 1001)}
    assert unpack(pack(given)) == given
