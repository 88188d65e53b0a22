"""Preferences in one JSON file: the user's precisions, ticks, prompts, and what was run last."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import platformdirs
from msgspec.structs import replace

from qplayground.core.comparison.results import Mode
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import QuantizationParams
from qplayground.core.measures.quality import TextSource
from qplayground.core.measures.windows import QUICK_TOKENS
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.registry import available_methods
from qplayground.core.text import is_text
from qplayground.runtime.storage.preferences_file import READY, Kept, PreferencesFile

CONFIG_VARIABLE = "QPLAYGROUND_CONFIG"
RECENT_LIMIT = 20
TEXT_PERCENTS = (80, 90, 100, 110, 125, 150)
"""Possible text sizes, in percent of the system's."""

_Value = TypeVar("_Value")


def preferences_path() -> Path:
    """Default path of the preferences file."""
    return (kept_folder() or platformdirs.user_config_path("qplayground")) / "preferences.json"


def kept_folder() -> Path | None:
    """The folder for everything that is kept, if QPLAYGROUND_CONFIG names one."""
    folder = os.environ.get(CONFIG_VARIABLE)
    return Path(folder) if folder else None


def cache_folder() -> Path:
    """The folder for files that can be recreated."""
    kept = kept_folder()
    return platformdirs.user_cache_path("qplayground") if kept is None else kept / "cache"


class RunChoices(msgspec.Struct, frozen=True):
    """How comparisons are run. `scored_tokens`: how many tokens of the text are scored. `file`: its path, if a file."""

    mode: Mode = Mode.ONCE
    rounds: int = 1
    keep_loaded: bool = False
    scored_tokens: int | None = QUICK_TOKENS
    text: TextSource = TextSource.BUILTIN
    file: str = ""


class Preferences(PreferencesFile):
    """Owner of the preferences. A change takes effect at once and is written soon after, at the latest by `close`.

    It is merged with what another window has written meanwhile.
    """

    @classmethod
    def load(cls, path: Path | None = None) -> "Preferences":
        """Read the file. A missing one means defaults; a damaged one is renamed and set aside."""
        return cls(path or preferences_path())

    # ---- precisions -----------------------------------------------------------------------------------------------

    def all_precisions(self) -> tuple[Precision, ...]:
        """The ready-made precisions as edited, then the user's own in the order they were made."""
        return _all_precisions(self.now)

    def precision(self, name: str) -> Precision:
        """The precision of that name. Raises PlaygroundError(BAD_PRECISION), naming the known ones."""
        known = {precision.name: precision for precision in self.all_precisions()}
        if name not in known:
            raise fail(
                ErrorCode.BAD_PRECISION, f"There is no precision named {name!r}.", f"Known ones: {', '.join(known)}."
            )
        return known[name]

    def is_ready(self, name: str) -> bool:
        """Whether the precision is ready-made."""
        return name in READY

    def is_edited(self, name: str) -> bool:
        """Whether the precision is ready-made and has the user's options."""
        return name in self.now.edited

    def save_precision(self, precision: Precision, *, replacing: str | None = None) -> None:
        """Save a ready-made precision's options, or the user's own precision, new or `replacing` another.

        Raises PlaygroundError(BAD_PRECISION) and saves nothing if it is invalid or its name is taken.
        """
        precision.checked()
        if replacing is None and any(own.name == precision.name for own in self.now.custom):
            replacing = precision.name
        if replacing in READY and precision.name != replacing:
            raise fail(ErrorCode.BAD_PRECISION, f"{READY[replacing].label} cannot be renamed.", "Make a new one.")
        if precision.name in READY and replacing in (None, precision.name):
            self._save_edited(precision)
        else:
            self._save_custom(precision, replacing)

    def remove_precision(self, name: str) -> None:
        """Remove one of the user's own precisions. Ready-made ones stay; see `reset_precision`."""
        self.change(
            lambda kept: replace(
                kept,
                custom=tuple(own for own in kept.custom if own.name != name),
                ticked=tuple(ticked for ticked in kept.ticked if ticked != name or name in READY),
            )
        )

    def reset_precision(self, name: str) -> None:
        """Restore the default options of a ready-made precision."""
        self.change(lambda kept: replace(kept, edited=_without(kept.edited, name)))

    def new_name(self, like: str) -> str:
        """A free name close to that one: `nf4-2`, `nf4-3`, …"""
        taken = {precision.name for precision in self.all_precisions()}
        number = 2
        while (name := f"{like[:36]}-{number}") in taken:
            number += 1
        return name

    def _save_edited(self, precision: Precision) -> None:
        ready = READY[precision.name]
        if not precision.is_kind_of(ready):
            raise fail(
                ErrorCode.BAD_PRECISION,
                f"{ready.label} would no longer be what its name says.",
                "Make a new precision for that.",
            )
        if precision == ready:
            self.reset_precision(precision.name)
        else:
            self.change(lambda kept: replace(kept, edited={**kept.edited, precision.name: precision}))

    def _save_custom(self, precision: Precision, replacing: str | None) -> None:
        others = {known.name for known in self.all_precisions() if known.name != replacing}
        if precision.name in others:
            raise fail(
                ErrorCode.BAD_PRECISION,
                f"There is already a precision named {precision.name!r}.",
                "Choose another name.",
            )
        self.change(lambda kept: _with_custom(kept, precision, replacing))

    # ---- ticks, prompts, models -----------------------------------------------------------------------------------

    @property
    def ticked(self) -> tuple[str, ...]:
        """Names of the ticked precisions, in the order of `all_precisions`."""
        kept = self.now
        return tuple(known.name for known in _all_precisions(kept) if known.name in kept.ticked)

    def set_ticked(self, names: tuple[str, ...]) -> None:
        """Set the ticked precisions. Unknown names are ignored."""
        known = tuple(known.name for known in self.all_precisions() if known.name in names)
        self.change(lambda kept: replace(kept, ticked=known))

    @property
    def recent_prompts(self) -> tuple[str, ...]:
        """Prompts that were run, newest first."""
        return self.now.recent_prompts

    def remember_prompt(self, prompt: str) -> None:
        """Put a prompt first among the recent ones, unless it is empty."""
        if prompt.strip() and is_text(prompt):
            self.change(lambda kept: replace(kept, recent_prompts=_first(prompt, kept.recent_prompts)))

    @property
    def last_request(self) -> GenerationRequest | None:
        """The prompt and settings run last; None also if this version cannot run them."""
        try:
            request = msgspec.convert(self.now.last_request, GenerationRequest)
        except msgspec.ValidationError:
            return None
        return request if request.error() is None else None

    def remember_request(self, request: GenerationRequest) -> None:
        """Save the request for the next start, and its prompt among the recent ones."""
        if is_text(request.prompt):
            builtins = msgspec.to_builtins(request)
            self.change(lambda kept: replace(kept, last_request=builtins))
            self.remember_prompt(request.prompt)

    @property
    def recent_folders(self) -> tuple[Path, ...]:
        """Folders that models were opened from, newest first."""
        return tuple(Path(folder) for folder in self.now.recent_folders)

    def remember_folder(self, folder: Path) -> None:
        """Put a folder first among the recent ones."""
        if is_text(str(folder)):
            self.change(lambda kept: replace(kept, recent_folders=_first(str(folder), kept.recent_folders)))

    @property
    def last_model(self) -> str | None:
        """The id of the model picked last."""
        return self.now.last_model

    def set_last_model(self, model_id: str | None) -> None:
        """Set the picked model."""
        if model_id is None or is_text(model_id):
            self.change(lambda kept: replace(kept, last_model=model_id))

    @property
    def text_percent(self) -> int:
        """The text size in percent of the system's; one of TEXT_PERCENTS."""
        percent = self.now.text_percent
        return percent if percent in TEXT_PERCENTS else 100

    def set_text_percent(self, percent: int) -> None:
        """Set the text size, in percent of the system's."""
        self.change(lambda kept: replace(kept, text_percent=percent))

    # ---- placements -----------------------------------------------------------------------------------------------

    @property
    def placements(self) -> dict[str, Placement]:
        """The saved placements by name, in the order they were saved."""
        return dict(self.now.placements)

    def save_placement(self, name: str, placement: Placement) -> None:
        """Save a placement, replacing one of that name. Raises PlaygroundError if it is invalid or has no name."""
        placement.checked()
        if not name.strip() or not is_text(name):
            raise fail(ErrorCode.BAD_SETTINGS, "A placement is saved under a name.", "Type one.")
        self.change(lambda kept: replace(kept, placements={**kept.placements, name: placement}))

    def remove_placement(self, name: str) -> None:
        """Remove a saved placement."""
        self.change(lambda kept: replace(kept, placements=_without(kept.placements, name)))

    @property
    def last_placement(self) -> Placement:
        """The placement run last."""
        return self.now.last_placement

    def set_last_placement(self, placement: Placement) -> None:
        """Save the placement for the next start."""
        self.change(lambda kept: replace(kept, last_placement=placement))

    # ---- the window ------------------------------------------------------------------------------------------------

    @property
    def run_choices(self) -> RunChoices:
        """How comparisons are run. Defaults if this version cannot read the saved choices."""
        return _converted(self.now.run_choices, RunChoices)

    def set_run_choices(self, **changed: Any) -> None:
        """Set these fields of RunChoices."""
        builtins = msgspec.to_builtins(changed)
        self.change(lambda kept: replace(kept, run_choices={**kept.run_choices, **builtins}))

    @property
    def inside_params(self) -> QuantizationParams:
        """Inside's last parameters. Defaults if this version or installation does not support them."""
        try:
            kept = _converted(self.now.inside_params, QuantizationParams).checked()
        except PlaygroundError:
            return QuantizationParams()
        return kept if kept.kind in available_methods() else QuantizationParams()

    def set_inside_params(self, params: QuantizationParams) -> None:
        """Save Inside's parameters."""
        builtins = msgspec.to_builtins(params)
        self.change(lambda kept: replace(kept, inside_params=builtins))

    def layout(self, name: str) -> bytes:
        """The saved geometry of a window or splitter; empty if there is none."""
        try:
            return base64.b64decode(self.now.layout.get(name, ""), validate=True)
        except ValueError:
            return b""

    def set_layouts(self, layouts: Mapping[str, bytes]) -> None:
        """Save geometries by the names of windows and splitters."""
        texts = {name: base64.b64encode(layout).decode() for name, layout in layouts.items()}
        self.change(lambda kept: replace(kept, layout={**kept.layout, **texts}))


def _converted(builtins: dict[str, Any], kind: type[_Value]) -> _Value:
    try:
        return msgspec.convert(builtins, kind)
    except msgspec.ValidationError:
        return kind()


def _all_precisions(kept: Kept) -> tuple[Precision, ...]:
    return tuple(kept.edited.get(ready.name, ready) for ready in READY_PRECISIONS) + kept.custom


def _first(new: str, recent: tuple[str, ...]) -> tuple[str, ...]:
    return (new, *(old for old in recent if old != new))[:RECENT_LIMIT]


def _without(values: dict[str, _Value], name: str) -> dict[str, _Value]:
    return {key: value for key, value in values.items() if key != name}


def _with_custom(kept: Kept, precision: Precision, replacing: str | None) -> Kept:
    """Replace a precision, or add it: another window may have removed the old one or taken the name."""
    places = [place for place, own in enumerate(kept.custom) if own.name in (replacing, precision.name)]
    custom = [own for own in kept.custom if own.name not in (replacing, precision.name)]
    custom.insert(places[0] if places else len(custom), precision)
    ticked = tuple(precision.name if name == replacing else name for name in kept.ticked)
    return replace(kept, custom=tuple(custom), ticked=ticked)
