"""How a name is typed by its sound: pinyin and its initials for Chinese names, romaji for kana.

Readings are kept with the names, because pypinyin needs 30 MB and too long for each start.
"""

from collections.abc import Iterator
from enum import StrEnum

from service.dictionary.fold import fold, is_han, is_kana

_MOST = 12
"""Readings of one name: every other reading of a character with several ones makes one more."""
_LONGEST = 24
"""Characters of a name that is given readings: nobody types a sentence by its sound."""


class Sound(StrEnum):
    """Which reading of a name."""

    ROMAJI = "romaji"
    PINYIN = "pinyin"
    INITIALS = "initials"


def readings(text: str, lang: str) -> Iterator[tuple[Sound, str]]:
    """The readings of a name, folded. A name without a language is read by its script: kana make it Japanese."""
    kana = any(is_kana(c) for c in text)
    if len(text) > _LONGEST:
        return
    if kana and not any(is_han(c) for c in text):
        yield Sound.ROMAJI, romaji(text)
    elif not kana and lang in ("", "zh-Hans", "zh-Hant") and any(is_han(c) for c in text):
        initials = set()
        for reading in _pinyin(text):
            yield Sound.PINYIN, fold("".join(reading))
            initials.add(fold("".join(syllable[:1] for syllable in reading)))
        yield from ((Sound.INITIALS, letters) for letters in sorted(initials) if len(letters) > 1)


def romaji(kana: str) -> str:
    """Kana in Latin letters (Hepburn), folded: カンコレ is kankore."""
    import jaconv

    return fold(jaconv.kana2alphabet(jaconv.kata2hira(jaconv.h2z(kana))))


def typed(query: str) -> str:
    """A folded query as pinyin is kept: ü is typed as v or as it is."""
    return query.replace("ü", "v")


def _pinyin(text: str) -> list[list[str]]:
    """The syllables of a text; first the usual reading, then those with one character read in another way."""
    from pypinyin import Style, lazy_pinyin, pinyin

    usual = lazy_pinyin(text, style=Style.NORMAL)
    found = [usual]
    every = pinyin(text, style=Style.NORMAL, heteronym=True)
    for place, readings_of_one in enumerate(every if len(every) == len(usual) else []):
        for other in readings_of_one:
            if other != usual[place] and len(found) < _MOST:
                found.append([*usual[:place], other, *usual[place + 1 :]])
    # lazy_pinyin knows words, `heteronym` every reading of a character that stands alone.
    for place, c in enumerate(text if len(text) == len(usual) else ""):
        if is_han(c):
            for other in pinyin(c, style=Style.NORMAL, heteronym=True)[0]:
                variant = [*usual[:place], other, *usual[place + 1 :]]
                if variant not in found and len(found) < _MOST:
                    found.append(variant)
    return found
