"""Settings from flags, then the environment, then engine.toml: the only place that reads the environment.

`options` turns the fields of a pydantic model into flags, so a setting is declared once, in engine/config.py.
"""

import difflib
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

import typer
from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from engine.api.token import Token
from engine.cli.plain_help import NAMED_ONLY
from engine.config import GROUPS, RARE
from engine.errors import ConfigError

C = TypeVar("C", bound=BaseModel)
PREFIX = "ENGINE_"
CONFIG_FILE = Path("engine.toml")
FLAGS = {"json_output": "json"}
"""Settings whose flag has another name."""
NOT_SETTINGS = {"ENGINE_API_TOKEN", "ENGINE_PAGE_PASSWORD", "ENGINE_CONFIG"}


def options(
    config: type[BaseModel], *names: str, explained: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one flag for each field of `config` (or for those named), besides its own parameters.

    Its help explains those of `explained`, by default all but the rare ones, and only names the others; where the
    fields are named, it explains all of them. The command receives one mapping, `flags`, of what was given.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields = {name: config.model_fields[name] for name in names or config.model_fields}
        panels = {} if names else _panels(fields, explained or set(fields) - RARE)
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "flags"]

        def with_flags(**given: Any) -> None:  # noqa: ANN401 - whatever typer parsed
            flags = {n: given.pop(n) for n in fields if n in given}
            command(**given, flags={key: value for key, value in flags.items() if value is not None})

        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    _flag_type(field),
                    typer.Option(_flag(name, field), help=_help(field), rich_help_panel=panels.get(name)),
                ],
            )
            for name, field in fields.items()
        ]
        with_flags.__signature__ = inspect.Signature(own + added)  # type: ignore[attr-defined]
        with_flags.__annotations__ = {p.name: p.annotation for p in own + added}
        with_flags.__doc__ = command.__doc__
        with_flags.__name__ = command.__name__
        return with_flags

    return decorate


def settings_file(flag: Path | None) -> Path:
    """The file that --config names, or ENGINE_CONFIG, or engine.toml here."""
    return flag or Path(os.environ.get("ENGINE_CONFIG") or CONFIG_FILE)


def load(config: type[C], flags: Mapping[str, Any], file: Path | None) -> C:
    """Merge the three sources. Raises `ConfigError` that names the setting, where it stands and what is wrong."""
    toml = settings_file(file)
    if (file or os.environ.get("ENGINE_CONFIG")) and not toml.is_file():
        raise ConfigError(f"there is no settings file {toml}")
    _refuse_unknown_variables(config)

    class Sources(config, BaseSettings):  # type: ignore[valid-type, misc]
        model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=toml, extra="forbid", frozen=True)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    try:
        return typing.cast(C, Sources(**flags))
    except ValidationError as error:
        raise ConfigError(
            "; ".join(_sentence(dict(e), flags, toml, config.model_fields) for e in error.errors())
        ) from None
    except SettingsError as error:
        variable = re.search(r'field "(\w+)"', str(error))
        name = PREFIX + variable[1].upper() if variable else "a variable ENGINE_…"
        raise ConfigError(f'{name} wants a list in JSON, for example ["0", "200"]') from None
    except ValueError as error:  # TOML that does not parse
        raise ConfigError(f"{toml} is no valid TOML: {error}") from None


def api_token(token_file: Path | None) -> Token:
    """The API token from a file or ENGINE_API_TOKEN; never from a flag, never printed."""
    return Token(os.environ.get("ENGINE_API_TOKEN", ""), token_file)


def _panels(fields: Iterable[str], explained: Collection[str]) -> dict[str, str]:
    """The heading under which each field's flag stands in the help."""
    panels, heading = {}, ""
    for name in fields:
        heading = GROUPS.get(name, heading)
        panels[name] = heading if name in explained else NAMED_ONLY
    return panels


def _help(field: FieldInfo) -> str:
    """The description and the default, where there is one that the description does not tell."""
    value = field.default
    if value is None or isinstance(value, bool):
        return field.description or ""
    return f"{field.description} [default: {', '.join(value) if isinstance(value, tuple) else _short(value)}]"


def _short(value: object) -> str:
    """A size as a user would write it: 256M; anything else as it is."""
    if isinstance(value, int) and value >= 10**6 and value % 10**6 == 0:
        return f"{value // 10**6}M"
    return str(value)


def _flag(name: str, field: FieldInfo) -> str:
    """`--name`, plus `--no-name` where unset differs from false."""
    flag = FLAGS.get(name, name).replace("_", "-")
    return f"--{flag}/--no-{flag}" if _flag_type(field) == bool | None and field.default is not False else f"--{flag}"


def _flag_type(field: FieldInfo) -> Any:  # noqa: ANN401 - types as values
    """The type that typer parses: what is not plain (a size) stays text for the model; everything may be left out."""
    annotation: Any = field.annotation
    if typing.get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if typing.get_origin(annotation) is tuple:
        return list[str] | None
    plain = annotation in (bool, int, float, Path) or typing.get_origin(annotation) is Literal
    parsed_by_the_model = any(isinstance(m, BeforeValidator) for m in field.metadata)
    return (annotation if plain and not parsed_by_the_model else str) | None


def _refuse_unknown_variables(config: type[BaseModel]) -> None:
    known = {PREFIX + name.upper() for name in config.model_fields} | NOT_SETTINGS
    for name in os.environ:
        if name.startswith(PREFIX) and name.upper() not in known:
            raise ConfigError(f"the environment variable {name} is no setting of the engine{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the name that was probably meant, else where all of them are."""
    by_letters = {one.lower().replace("_", ""): one for one in known}
    asked = re.sub(r"[-_.\s]", "", name.lower())
    found = difflib.get_close_matches(asked, by_letters, n=1, cutoff=0.75)
    return f": did you mean {by_letters[found[0]]}?" if found else ": `engine run --help` lists them"


def _sentence(error: Mapping[str, Any], flags: Mapping[str, Any], toml: Path, known: Iterable[str]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{toml} sets {name}, which is no setting of the engine{_nearest(name, known)}"
    if name in flags:
        where = "--" + FLAGS.get(name, name).replace("_", "-")
    elif PREFIX + name.upper() in os.environ:
        where = PREFIX + name.upper()
    else:
        where = f"{name} in {toml}"
    return f"{where}: {message[:1].lower()}{message[1:]}"
