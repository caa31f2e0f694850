"""DeepDanbooru's releases: the one that `engine fetch` gets, and how to tell which one a model or tag list is of."""

from collections.abc import Mapping
from typing import NamedTuple

from convert.keras.project import Project


class Release(NamedTuple):
    """A published model. What was not checked is None.

    Attributes:
        name: as its page has it.
        sha256: of the model file, in hex.
        categories: how many tags each category has, in the order of the tags.
        tags_sha256: of the tags, `convert.keras.project.tags_sha256`.
    """

    name: str
    sha256: str
    categories: Mapping[str, int] | None = None
    tags_sha256: str | None = None

    @property
    def tags(self) -> int | None:
        """How many there are."""
        return sum(self.categories.values()) if self.categories else None


RELEASES = (
    Release(
        "v3-20211112-sgd-e28",
        "16c16713f7096d1385effa11dc1d6cfee4fbe9d1098d13b9a9b5279abbf13046",
        {"General": 6891, "Character": 2282, "System": 3},
    ),
    Release("of 2020-09-15", "9f487b6a459e21d85010b603f990e0c85ee5229dae693d2982dce38248500584"),
)
OFFICIAL = "deepdanbooru-v3-20211112-sgd-e28"
"""The release that `engine fetch` gets; its zip and the folder it is unpacked into are named so."""
_GITHUB = "https://github.com/KichangKim/DeepDanbooru/releases"
OFFICIAL_PAGE = f"{_GITHUB}/tag/v3-20211112-sgd-e28"
OFFICIAL_ADDRESS = f"{_GITHUB}/download/v3-20211112-sgd-e28/{OFFICIAL}.zip"


def advice(project: Project, outputs: int, sha256: str) -> str:
    """The sentence for a model whose outputs are not as many as there are tags."""
    problem = f"{project.model} gives {outputs} scores and tags.txt has {len(project.tags)} tags"
    for release in RELEASES:
        if release.sha256 == sha256:
            return f"{problem}: the model is release {release.name}, take the tags.txt of that release."
    for release in RELEASES:
        if release.tags == outputs:
            return f"{problem}: the model is probably release {release.name}, take the tags.txt of that release."
        if release.tags == len(project.tags):
            return f"{problem}: the tags are probably those of release {release.name}, take the model of that release."
    return f"{problem}: they belong to different trainings, take both from the same one."
