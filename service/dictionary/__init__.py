"""The dictionary of tags: what people mean by a tag, under the names that they use for it.

It knows nothing of media or pictures, and nothing of the rest of the service. Others use it by this module alone:

    with Dictionary.open(path) as tags:            # or Dictionary.open("shipped"), which nobody can change
        tags.resolve("黑丝").found                  # every concept of that name: Found(concept, name, via, how)
        tags.suggest("kan", lang="ja", limit=10, pictures=count_of)   # count_of(key) -> pictures that have it
        tags.concept("kantai_collection")          # Concept: names, groups, implies, weights, revision
        tags.keys_of("kantai_collection")          # what models call it, and whatever implies it
        tags.concept_keys()                        # every model's key -> keys of its concepts
        tags.name("long_hair", "zh-Hans")          # 长发; the key itself where nothing is known
        tags.groups(), tags.concepts(group="hair") # the tree for browsing, and what lies in it
        tags.add(...), rename, remove_name, categorise, merge, split, relate, group, add_group, weigh, hide
        tags.journal(), tags.undo(entry, who), tags.revision(), tags.changes(since=revision)

Those that change take `who` does so; those of one concept take `expected`, the revision that the change is made upon.
Errors are `DictionaryError` with a whole sentence: `UnknownError` for what is not there, `ConflictError` for what was
changed in between or contradicts what is there. Any thread may call any method.
"""

from service.dictionary.concepts import Answer, Concept, Entry, Found, Group, Kind, Name
from service.dictionary.database import beside
from service.dictionary.dictionary import Dictionary
from service.dictionary.errors import ConflictError, DictionaryError, UnknownError

__all__ = [
    "Answer",
    "Concept",
    "ConflictError",
    "Dictionary",
    "DictionaryError",
    "Entry",
    "Found",
    "Group",
    "Kind",
    "Name",
    "UnknownError",
    "beside",
]
