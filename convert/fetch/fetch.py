"""Downloads the official release, unpacks, checks and converts it; a step whose result is there already is left out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.conversion import Conversion, convert
from convert.errors import ConvertError, reading
from convert.fetch.download import DownloadError, Progress, checked_url, download, without_secrets
from convert.fetch.unpack import BadArchive, unpack
from convert.keras.project import Project, read_project, tags_sha256
from convert.model_folder import staged
from convert.releases import OFFICIAL, OFFICIAL_ADDRESS, OFFICIAL_PAGE, RELEASES, Release
from engine.model.folder import MANIFEST, open_model, sha256_of


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What to get and where to put it.

    Attributes:
        model_dir: the model folder to make.
        project_dir: where the release is unpacked; one that is there already is taken as it is.
        address: of the release's zip; redirects never lead from https to http.
        sha256: what the model file's SHA-256 must be, in hex; without it, that of a known release.
        tags_sha256: the same of the tags, see `convert.keras.project.tags_sha256`.
        precisions: as `convert.conversion.convert` takes them.
        overwrite: replace a model folder of another model.
    """

    model_dir: Path
    project_dir: Path = Path(OFFICIAL)
    address: str = OFFICIAL_ADDRESS
    sha256: str | None = None
    tags_sha256: str | None = None
    precisions: Sequence[str] = ("fp32",)
    overwrite: bool = False

    @property
    def archive(self) -> Path:
        """Where the zip is looked for and downloaded to: beside the project folder, under its name."""
        folder = self.project_dir.absolute()
        return folder.with_name(f"{folder.name}.zip")


def fetch(options: FetchOptions, progress: Progress, say: Callable[[str], None]) -> Conversion | None:
    """Makes the model folder; None if it is there already.

    Args:
        options: what to get.
        progress: told how the download goes.
        say: takes a line for the user before each step that takes long.

    Raises:
        ConvertError: the reason as a sentence. What was downloaded stays and is used the next time, unless it is wrong.
        ModelError: likewise, where the model folder cannot be read.
    """
    checked_url(options.address)
    if _is_there(options):
        return None
    if not _occupied(options.project_dir):
        _make_project(options, progress, say)
    else:
        say(f"taking the project that is in {options.project_dir}")
        project = read_project(options.project_dir)
        if problem := _not_trusted(project, options):
            raise ConvertError(f"{problem}. Move {options.project_dir} away to have it downloaded again.")
    say(f"converting to {', '.join(options.precisions)}")
    return convert(options.project_dir, options.model_dir, options.precisions, options.overwrite)


def _occupied(folder: Path) -> bool:
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def _is_there(options: FetchOptions) -> bool:
    """Whether the model folder holds all that is asked for.

    Raises ConvertError or ModelError if it is something that cannot be added to: now, not after the download.
    """
    if not _occupied(options.model_dir) or options.overwrite:
        return False
    if not (options.model_dir / MANIFEST).is_file():
        raise ConvertError(
            f"{options.model_dir} exists and holds no model of ours: name a folder that does not exist yet with --to."
        )
    model = open_model(options.model_dir)
    other_tags = options.tags_sha256 and tags_sha256(model.tags) != options.tags_sha256
    if model.sha256 not in _trusted(options.sha256) or other_tags:
        raise ConvertError(
            f"{options.model_dir} holds another model: give --overwrite to replace it, or name another folder "
            "with --to."
        )
    return all(p in model.precisions and model.precisions[p].file.is_file() for p in options.precisions)


def _make_project(options: FetchOptions, progress: Progress, say: Callable[[str], None]) -> None:
    """Downloads the zip, unless it is there, and unpacks it. The folder appears only when it is whole and trusted."""
    archive = options.archive
    ours = not archive.exists()
    if ours:
        say(f"downloading {without_secrets(options.address)}")
        _download(options, progress)
    say(f"unpacking {archive} into {options.project_dir}")
    try:
        with staged(options.project_dir, keep=False) as folder:
            unpack(archive, folder)
            _check(archive, folder, options)
    except BadArchive as error:
        if not ours:
            raise BadArchive(f"{error} Delete it to have it downloaded again.") from error
        archive.unlink()
        raise BadArchive(f"{error} It was deleted.") from error
    if ours:
        archive.unlink()


def _download(options: FetchOptions, progress: Progress) -> None:
    try:
        download(options.address, options.archive, progress)
    except DownloadError as error:
        raise ConvertError(
            f"{without_secrets(options.address)} cannot be downloaded: {error}. {_by_hand(options)}"
        ) from error
    except OSError as error:
        raise ConvertError(
            f"{options.archive} cannot be written ({error.strerror or error}): make room, about 2 GB, or name a folder "
            "on another disk with --project. What has come is kept, the same command goes on with it. "
            f"{_by_hand(options)}"
        ) from error


def _by_hand(options: FetchOptions) -> str:
    official = options.address == OFFICIAL_ADDRESS
    what = f"{OFFICIAL}.zip (about 600 MB, from {OFFICIAL_PAGE})" if official else without_secrets(options.address)
    return f"Or download {what} by hand, put it at {options.archive} and give the same command: it goes on from there."


def _check(archive: Path, folder: Path, options: FetchOptions) -> None:
    """Raises BadArchive, whose sentence names the archive, unless `folder` is a trusted project."""
    try:
        problem = _not_trusted(read_project(folder), options)
    except ConvertError as error:
        raise BadArchive(str(error).replace(str(folder), str(archive))) from error
    if problem:
        raise BadArchive(f"{archive}: {problem}.")


def _trusted(sha256: str | None) -> set[str]:
    return {sha256.lower()} if sha256 else {release.sha256 for release in RELEASES}


def _not_trusted(project: Project, options: FetchOptions) -> str | None:
    """What is wrong with the model file or the tags; None if nothing."""
    with reading(project.model):
        found = sha256_of(project.model)
    if found not in _trusted(options.sha256):
        known = "that of a release this engine knows (--sha256 accepts another)"
        return (
            f"{project.model.name} has the SHA-256 {found}, which is not "
            f"{'what --sha256 says' if options.sha256 else known}"
        )
    return _wrong_tags(project, next((release for release in RELEASES if release.sha256 == found), None), options)


def _wrong_tags(project: Project, release: Release | None, options: FetchOptions) -> str | None:
    """The scores would get other names: what is wrong with the tags, as far as it is known what they must be."""
    wanted = options.tags_sha256 or (release and release.tags_sha256)
    if wanted and tags_sha256(project.tags) != wanted:
        said = "what --tags-sha256 says" if options.tags_sha256 else f"that of the release {release and release.name}"
        return f"tags.txt has the SHA-256 {tags_sha256(project.tags)} (with LF), which is not {said}"
    found = dict(Counter(project.categories))
    if release and release.categories not in (None, found):
        return (
            f"tags.txt holds {_counts(found)} tags, and the release {release.name} {_counts(release.categories or {})}"
        )
    return None


def _counts(categories: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in categories.items())
