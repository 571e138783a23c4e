"""Configuration: defaults, recipes, command-line overrides.

A recipe is a YAML file that overrides some of the defaults in ``settings``;
``--set SECTION.KEY value`` overrides the recipe. An unknown key or a value of the wrong
type is an error that names the file, the key and the nearest valid name. There is no
global configuration: builders read the configuration and pass plain numbers to layers.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ..utils.untrusted.safe_yaml import brief, read_settings_file, read_yaml
from .data_settings import LIBRARIES
from .net_settings import named_detector
from .settings import Config, Section
from .upper_bounds import excesses, too_many


class ConfigError(ValueError):
    """A recipe or override that cannot be used."""


def load_config(recipes: Sequence[Path] = (), overrides: Iterable[str] = ()) -> Config:
    """Read recipes in order, then apply overrides.

    Args:
        recipes: YAML files; later files override earlier ones.
        overrides: ``SECTION.KEY value`` pairs, flattened as after ``--set``.

    Returns:
        The validated configuration.

    Raises:
        ConfigError: a file cannot be read, or a key or value is invalid; the message
            names the file, the key and the nearest valid name.
    """
    merged: dict[str, dict[str, Any]] = {}
    for recipe in recipes:
        _merge(merged, _read_recipe(recipe), source=str(recipe))
    _merge(merged, _parse_overrides(list(overrides)), source="--set")
    return _validate(merged, source=" + ".join(map(str, recipes)) or "defaults")


def config_from_checkpoint(
    state: Mapping[str, Any], overrides: Iterable[str]
) -> Config:
    """Load the configuration stored in a checkpoint, and apply overrides.

    Raises:
        ConfigError: the checkpoint has no settings, or a key or value is invalid.
    """
    merged: dict[str, dict[str, Any]] = {}
    stored = state.get("config")
    if not isinstance(stored, Mapping):
        raise ConfigError(f"checkpoint: expected its settings, found {brief(stored)}")
    try:
        _merge(merged, stored, source="checkpoint")
    except ConfigError as error:
        raise ConfigError(
            f"{error} (a newer version of this package may have saved it)"
        ) from error
    _merge(merged, _parse_overrides(list(overrides)), source="--set")
    return _validate(merged, source="checkpoint")


def recipe_keys(path: Path) -> set[str]:
    """Return the keys that a recipe sets, ``section.key``."""
    sections = _read_recipe(path).items()
    return {f"{name}.{key}" for name, values in sections for key in values or ()}


def refuse_code(path: Path) -> None:
    """Refuse a recipe that comes with a data set and names code of its own.

    Raises:
        ConfigError: ``data.transforms`` names something outside the two libraries.
    """
    data = _read_recipe(path).get("data")
    entries = data.get("transforms") if isinstance(data, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        for name in entry if isinstance(entry, dict) else [entry]:
            if not str(name).startswith(LIBRARIES):
                raise ConfigError(
                    f"{path}: data.transforms: expected transforms of torchvision or "
                    f"albumentations in a recipe that comes with data, found "
                    f"{brief(name)}, which would be run; if you trust it, take it out "
                    "there and give it by --cfg or --set"
                )


_SHOWN = 20  # errors per message

_RENAMED = {("net", "fixed_trunk"): "fixed_shared"}
"""Keys that runs and recipes of earlier versions have under another name."""

_NOT_PART_OF_A_RUN = {
    *("data.root", "data.workers"),
    *("train.nonfinite", "train.nonfinite_limit"),
}
"""Keys that do not change results: where data lies and how fast it is loaded, and keys
that let a run continue after a fault stopped it."""


def differences(config: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """Return (other's value, own value) of each ``section.key`` that differs.

    Keys that do not change results, such as the location of data, are ignored.
    """
    ours, theirs = config.model_dump(mode="json"), other.model_dump(mode="json")
    return {
        f"{section}.{key}": (theirs[section][key], value)
        for section, values in ours.items()
        for key, value in values.items()
        if theirs[section][key] != value
        and f"{section}.{key}" not in _NOT_PART_OF_A_RUN
    }


def _read_recipe(path: Path) -> Mapping[str, Any]:
    try:
        content = read_yaml(read_settings_file(path))
    except OSError as error:
        raise ConfigError(
            f"recipe {path} cannot be read ({error.strerror}); give a YAML file as in "
            "experiments/cfgs/"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: not UTF-8, too large, or an impossible calendar date.
        raise ConfigError(f"recipe {path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"recipe {path}: expected sections with keys, found "
            f"{type(content).__name__}"
        )
    return content


def _parse_overrides(words: list[str]) -> dict[str, dict[str, Any]]:
    if len(words) % 2:
        raise ConfigError(
            f"--set takes SECTION.KEY value pairs; {words[-1]!r} has no value"
        )
    result: dict[str, dict[str, Any]] = {}
    for name, text in zip(words[::2], words[1::2], strict=True):
        section, dot, key = name.lower().partition(".")
        if not dot:
            raise ConfigError(
                f"--set {name}: expected SECTION.KEY, e.g. train.lr; sections are "
                f"{', '.join(Config.model_fields)}"
            )
        value = text if _is_text(section, key) else _parse_value(name, text)
        result.setdefault(section, {})[key] = value
    return result


def _is_text(section: str, key: str) -> bool:
    """Return whether a key takes its text verbatim: a folder may be named 2007 or a:
    b."""
    if section not in Config.model_fields:
        return False
    field = _section_model(section).model_fields.get(key)
    return field is not None and field.annotation in (str, Path)


def _parse_value(name: str, text: str) -> Any:
    try:
        value = read_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--set {name} {brief(text)} is not a YAML value: {reason}"
        ) from error
    if isinstance(value, str):
        # YAML 1.1 reads 1e-3 as a string.
        try:
            return float(value)
        except ValueError:
            return text
    return value


def _section_model(section: str) -> type[Section]:
    model = Config.model_fields[section].annotation
    assert isinstance(model, type) and issubclass(model, Section)
    return model


def _merge(
    into: dict[str, dict[str, Any]], new: Mapping[str, Any], *, source: str
) -> None:
    """Add the keys of ``new``, and check that each key exists."""
    for section, values in new.items():
        if section not in Config.model_fields:
            raise ConfigError(
                f"{source}: unknown section {brief(section)}"
                f"{_nearest(_word(section), Config)}"
            )
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{source}: section {section!r} must hold keys, found {brief(values)}"
            )
        model = _section_model(section)
        values = {_RENAMED.get((section, key), key): values[key] for key in values}
        for key in values:
            if key not in model.model_fields:
                raise ConfigError(
                    f"{source}: unknown key {section}.{_word(key)}"
                    f"{_nearest(_word(key), model, prefix=section + '.')}"
                )
            if too_many(values[key]):
                raise ConfigError(
                    f"{source}: {section}.{key}: expected fewer entries, found "
                    f"{brief(values[key])}"
                )
        # Values are validated file by file, so that an error names its source.
        _validate({section: values}, source=source)
        into.setdefault(section, {}).update(values)


def _word(key: object) -> str:
    return key if isinstance(key, str) and len(key) < 100 else brief(key)


def _nearest(name: str, model: type[BaseModel], *, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, model.model_fields, n=1, cutoff=0.4)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; known are {', '.join(prefix + field for field in model.model_fields)}"


def _validate(values: Mapping[str, Any], *, source: str) -> Config:
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False)[:_SHOWN]:
            # The alternatives of a union are part of pydantic's places: dict[str,int].
            place = ".".join(part for part in map(str, item["loc"]) if "[" not in part)
            text = item["msg"].removeprefix("Value error, ")
            text = text.replace("tuple", "list").replace("Tuple", "List")
            if len(item["loc"]) > 1:  # else the input is a whole section
                text += f", found {brief(item['input'])}"
            lines.append(f"{place}: {text}")
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error
    detector = _detector(config, source)
    if detector != config.net.detector:
        net = config.net.model_copy(update={"detector": detector})
        config = config.model_copy(update={"net": net})
    beyond = list(excesses(config, values))
    if beyond:
        raise ConfigError(f"{source}: " + "; ".join(beyond))
    return config


def _detector(config: Config, source: str) -> str:
    heads = {"mask": config.mask.enabled, "keypoint": config.keypoint.enabled}
    try:
        return named_detector(config.net.detector, **heads)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
