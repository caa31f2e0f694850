"""What `engine export` can be told, apart from what does it: the command's help needs no database."""

from enum import StrEnum


class Format(StrEnum):
    """How tags are written."""

    JSONL = "jsonl"  # {"path": ..., "tags": [{"tag": ..., "score": ...}]}
    CSV = "csv"  # path,tag,score
    PARQUET = "parquet"  # scores alone
    TXT = "txt"  # tag, tag, tag: in a file beside each picture
    DEEPDANBOORU = "deepdanbooru"  # a training set: see training
    KOHYA = "kohya"  # another one


class Order(StrEnum):
    """Of a picture's tags; equal ones by score."""

    SCORE = "score"
    NAME = "name"
    CATEGORY = "category"  # Character, then General, others by name, System last
