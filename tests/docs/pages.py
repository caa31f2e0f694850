"""What a page of the documentation names, and which of it does not exist.

Each check takes a page and returns its faults as sentences; an empty list is a page that holds.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from engine.cli.settings import NOT_SETTINGS, PREFIX
from engine.config import RunConfig
from tests.docs.program import commands

ROOT = Path(__file__).parents[2]

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"[\w.*<>-]+(?:/[\w.*<>-]+)*/?")
SUFFIXES = {".py", ".md", ".toml", ".json", ".csv", ".html", ".db", ".txt", ".h5", ".svg", ".java", ".onnx"}


@dataclass(frozen=True)
class Page:
    """A page in Markdown; `folder` is where its links start."""

    text: str
    folder: Path = ROOT

    @classmethod
    def read(cls, path: Path) -> "Page":
        return cls(path.read_text(encoding="utf-8"), path.parent)

    @cached_property
    def blocks(self) -> list[tuple[str, str]]:
        """Fenced blocks: (language, content)."""
        return FENCE.findall(self.text)

    @cached_property
    def prose(self) -> str:
        """The page without its fenced blocks."""
        return FENCE.sub("", self.text)

    @cached_property
    def spans(self) -> list[str]:
        """Code within a line."""
        return SPAN.findall(self.prose)

    @cached_property
    def lines(self) -> list[str]:
        """Lines to type: of fenced and of indented blocks, those that go on in the next line joined."""
        indented = re.findall(r"^ {4}(.*)$", self.prose, re.MULTILINE)
        typed = "\n".join([*(content for _, content in self.blocks), *indented])
        return [line.strip() for line in re.sub(r"[\\^]\n", " ", typed).splitlines()]

    @cached_property
    def commands(self) -> list[str]:
        """Command lines of the engine, `python -m convert` and `python -m bench` among them, without comments."""
        code = [line.split(" #")[0].strip() for line in [*self.spans, *self.lines]]
        code = [re.sub(r"^\S*/bin/", "", line) for line in code]
        code = [re.sub(r"^python -m (convert|bench)\b", r"engine \1", line) for line in code]
        return [line for line in code if line.startswith("engine ")]

    @cached_property
    def anchors(self) -> set[str]:
        """The names of the headings, as GitHub makes them."""
        found: set[str] = set()
        for heading in re.findall(r"^#+ (.*)$", self.prose, re.MULTILINE):
            name = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
            again = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", old) is not None for old in found)
            found.add(f"{name}-{again}" if again else name)
        return found


def command_faults(page: Page) -> list[str]:
    """Commands of the engine that do not exist, and flags that the named command does not take."""
    return [fault for line in page.commands for fault in _line_faults(line)]


def _line_faults(line: str) -> Iterator[str]:
    first, *rest = line.split()[1:]
    known = commands()
    group = [command for words, command in known.items() if words.startswith(f"{first} ")]
    if group and rest and re.fullmatch(r"[\w-]+", rest[0]) and not rest[0].startswith("-"):
        first = f"{first} {rest[0]}"
    if first in known:
        allowed = known[first].names
    elif first in ("--help", "-h", "--version", "--install-completion"):
        allowed = {first}
    elif group and " " not in first:
        allowed = {"--help"}.union(*(command.names for command in group))
    else:
        yield f"`{line}`: there is no command `engine {first}`"
        return
    for flag in FLAG.findall(line):
        if flag not in allowed:
            yield f"`{line}`: `engine {first}` takes no {flag}"


def flag_faults(page: Page) -> list[str]:
    """Flags, in the text or as code, that no command takes. Lines of other programs may have flags of their own."""
    known = {name for command in commands().values() for name in command.names}
    alone = [span for span in page.spans if span.startswith("--")]
    prose = SPAN.sub("", page.prose)
    return [f"no command takes {flag}" for text in [*alone, prose] for flag in FLAG.findall(text) if flag not in known]


def setting_faults(page: Page) -> list[str]:
    """Variables of the environment and keys of engine.toml that are no settings."""
    fields = RunConfig.model_fields
    variables = NOT_SETTINGS | {PREFIX + name.upper() for name in fields}
    faults = [
        f"{name} is no setting" for name in re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]", page.text) if name not in variables
    ]
    files = [content for language, content in page.blocks if language == "toml"]
    keys = [key for content in files for key in tomllib.loads(content)]
    keys += [match[1] for span in page.spans if (match := re.fullmatch(r"([a-z_]+) = .*", span))]
    return faults + [f"{key} is no key of engine.toml" for key in keys if key not in fields]


def link_faults(page: Page) -> list[str]:
    """Links to files or headings that are not there."""
    faults = []
    for link in LINK.findall(page.prose):
        if re.match("[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.folder / name if name else None
        if target and not target.exists():
            faults.append(f"{link}: there is no such file")
        elif anchor and anchor not in (Page.read(target) if target else page).anchors:
            faults.append(f"{link}: there is no such heading")
    return faults


def file_faults(page: Page) -> list[str]:
    """Files and folders that are neither in the project nor written by it, targets of make and extras."""
    faults = [f"there is no file {span}" for span in page.spans if _names_file(span) and not _is_there(span)]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in [*page.spans, *page.lines]:
        target = re.match(r"make ([a-z-]+)", line)
        if target and not re.search(rf"^{target[1]}:", makefile, re.MULTILINE):
            faults.append(f"`{line}`: there is no such target")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for extras in re.findall(r"(?:deepdanbooru[-_]engine[\w.*-]*|\")\.?\[([\w,]+)\]", page.text):
        missing = set(extras.split(",")) - set(pyproject["project"]["optional-dependencies"])
        faults += [f"there is no extra {name}" for name in sorted(missing)]
    return faults


def _names_file(span: str) -> bool:
    if not FILE.fullmatch(span):
        return False
    first = span.split("/")[0]
    return Path(span).suffix in SUFFIXES or (
        "/" in span and any(file.split("/")[0] == first for file in project_files())
    )


def _is_there(name: str) -> bool:
    """In the project, by its path or by its name alone; else a file that the program's source speaks of."""
    if (ROOT / name).exists() or any(file.endswith(f"/{name}") for file in project_files()):
        return True
    return "/" not in name and name in sources()


@cache
def project_files() -> frozenset[str]:
    """The project's files, without what is made in its folder."""
    made = re.compile(r"__pycache__|build|dist|\.(?!ci$).*|.*\.egg-info")
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not made.fullmatch(name)]
        found += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in names]
    return frozenset(found)


@cache
def sources() -> str:
    """The text of the program: engine, convert, service, bench, demo."""
    folders = ("engine", "convert", "service", "bench", "demo")
    files = sorted(file for file in project_files() if file.endswith(".py") and file.split("/")[0] in folders)
    return "\n".join((ROOT / file).read_text(encoding="utf-8") for file in files)
