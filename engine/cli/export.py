"""`engine export`: the service's own command, and what the engine brings to it: the scores that ledgers keep."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from engine.cli.commands import import_function, naming_extra
from engine.cli.endpoints import state_file
from engine.config import RunConfig
from engine.errors import ConfigError, LedgerError
from engine.files import replacing
from engine.ledger.kept import Scorer
from engine.ledger.schema import LedgerView
from engine.scores import count, least_steps, scores_of, unpack

COLUMNS = ("media_id", "path", "tag", "category", "score", "model")


def main(argv: list[str]) -> int:
    """Run `engine export` with these arguments; the exit code."""
    return int(import_function("service.cli", "export_main", "service")(argv, kept_scores))


@contextmanager
def kept_scores(
    library: Path | None, db: Path | None, state: Path | None, threshold: float, categories: Sequence[str]
) -> Iterator["KeptScores"]:
    """The scores that a ledger keeps, of all models, for the length of a block.

    Args:
        library: whose ledger, unless `state` names it.
        db: the library's database, where it is not at its usual place.
        state: the ledger's file.
        threshold: only scores of at least this.
        categories: only tags of these; all when empty.

    Raises:
        LedgerError: there is no such ledger, or it keeps no scores.
        ConfigError: no tag is of such a category.
    """
    with LedgerView(state_file(RunConfig(library=library, db=db, state=state))) as view:
        scorers = view.scorers()
        if not scorers:
            raise LedgerError(
                f"the state file {view.path} keeps no scores: `engine run` keeps those of what it tags, "
                "and `engine retag` those of all media"
            )
        known = {category.casefold() for scorer in scorers for category in scorer.categories}
        for category in categories:
            if category.casefold() not in known:
                raise ConfigError(f"no tag is of the category {category}: there are {', '.join(sorted(known))}")
        yield KeptScores(view, scorers, threshold, {category.casefold() for category in categories})


class KeptScores:
    """What is written: a row a score, by model and medium."""

    def __init__(self, view: LedgerView, scorers: Sequence[Scorer], threshold: float, categories: set[str]) -> None:
        self._view, self._scorers, self._threshold, self._categories = view, scorers, threshold, categories

    def write_csv(self, out: TextIO) -> int:
        """A heading and the rows; how many rows."""
        written = 0
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for scorer, media, (of, tags, scores) in self._pages():
            names = list(zip(scorer.tags, scorer.categories, strict=True))
            writer.writerows(
                (*media[row], *names[tag], score, scorer.name)
                for row, tag, score in zip(of.tolist(), tags.tolist(), scores.tolist(), strict=True)
            )
            written += len(tags)
        return written

    def write_parquet(self, file: Path) -> int:
        """The same as Parquet, whole or not at all; a row group a page. Raises `EngineError` without pyarrow."""
        with naming_extra("pyarrow", "parquet"):
            import pyarrow as pa
            import pyarrow.parquet as pq
        text = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema(zip(COLUMNS, (pa.int64(), pa.string(), text, text, pa.float32(), text), strict=True))
        written = 0
        try:
            with replacing(file) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
                for scorer, media, (of, tags, scores) in self._pages():
                    kinds, kind_of = np.unique(np.array(scorer.categories), return_inverse=True)
                    columns = [
                        pa.array(np.array([number for number, _ in media], np.int64)[of]),
                        pa.array([path for _, path in media]).take(pa.array(of)),
                        pa.DictionaryArray.from_arrays(tags.astype(np.int32), pa.array(scorer.tags)),
                        pa.DictionaryArray.from_arrays(kind_of[tags].astype(np.int32), pa.array(kinds.tolist())),
                        pa.array(scores.astype(np.float32)),
                        pa.DictionaryArray.from_arrays(np.zeros(len(tags), np.int32), pa.array([scorer.name])),
                    ]
                    writer.write_table(pa.table(columns, schema=schema))
                    written += len(tags)
        except OSError as error:
            raise ConfigError(f"cannot write {file}: {error.strerror or error}") from None
        return written

    def _pages(self) -> Iterator[tuple[Scorer, list[tuple[int, str]], tuple[Any, Any, Any]]]:
        """Of each page the media, and of each score the place of its medium in the page, its tag's number, itself."""
        least = least_steps(np.array([self._threshold], np.float32))[0]
        for scorer in self._scorers:
            size = len(scorer.tags)
            wanted = np.array([not self._categories or c.casefold() in self._categories for c in scorer.categories])
            for page in self._view.scored(scorer):
                try:
                    blobs = [blob for *_, blob in page]
                    of = np.repeat(np.arange(len(page)), count(blobs, size))
                    tags, steps = unpack(b"".join(blobs), size)
                except ValueError as error:
                    raise LedgerError(
                        f"the state file {self._view.path} holds {error}: it is damaged; `engine retag` makes them anew"
                    ) from None
                chosen = (steps >= least) & wanted[tags]
                media = [(number, path) for number, path, _ in page]
                yield scorer, media, (of[chosen], tags[chosen], scores_of(steps[chosen]))
