"""What is kept between two starts: precisions of one's own, ticks, prompts, what was run last. One JSON file."""

import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.placement import Placement
from qplayground.core.precision import DEFAULT_TICKED, READY_PRECISIONS, FourBit, Precision
from qplayground.core.saving import save_file
from qplayground.core.text import is_text

CONFIG_VARIABLE = "QPLAYGROUND_CONFIG"
RECENT_LIMIT = 20

_Stamp = tuple[int, int, int]
_UNREADABLE = (OSError, UnicodeError, RecursionError, msgspec.MsgspecError, PlaygroundError)
_READY = {precision.name: precision for precision in READY_PRECISIONS}


def preferences_path() -> Path:
    """The file that `Preferences.load` reads unless told otherwise."""
    return (kept_folder() or platformdirs.user_config_path("qplayground")) / "preferences.json"


def kept_folder() -> Path | None:
    """The folder that QPLAYGROUND_CONFIG names for all that is kept, if it does."""
    folder = os.environ.get(CONFIG_VARIABLE)
    return Path(folder) if folder else None


class _Kept(msgspec.Struct, frozen=True):
    """The file, as it is written."""

    version: int = 1
    custom: tuple[Precision, ...] = ()
    edited: dict[str, Precision] = {}
    ticked: tuple[str, ...] = DEFAULT_TICKED
    recent_prompts: tuple[str, ...] = ()
    recent_folders: tuple[str, ...] = ()
    last_model: str | None = None
    placements: dict[str, Placement] = {}
    last_placement: Placement = Placement()
    last_request: dict[str, Any] | None = None  # another version's may have other settings, which is no damage


class Preferences:
    """The owner of what is kept. Every verb writes the file at once, on top of what another window wrote meanwhile.

    `notice` is a sentence for the user, empty as a rule: the file was damaged and set aside, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._newest = _Kept()
        self._seen: _Stamp | None = None
        self._writable = True
        self._damage = ""
        self._unwritten = ""

    @classmethod
    def load(cls, path: Path | None = None) -> "Preferences":
        """Read the file; a missing one means defaults, a damaged one is set aside under another name."""
        preferences = cls(path or preferences_path())
        try:
            preferences._seen = _stamp(preferences._path)
            preferences._newest = _read(preferences._path)
        except FileNotFoundError:
            pass
        except (OSError, UnicodeError, RecursionError, msgspec.MsgspecError, PlaygroundError) as error:
            preferences._set_aside(error)
        return preferences

    @property
    def notice(self) -> str:
        """See above."""
        return " ".join(filter(None, (self._damage, self._unwritten)))

    # ---- precisions -----------------------------------------------------------------------------------------------

    def all_precisions(self) -> tuple[Precision, ...]:
        """The ready precisions as edited, then the user's own in the order they were made."""
        return tuple(self._kept.edited.get(ready.name, ready) for ready in READY_PRECISIONS) + self._kept.custom

    def precision(self, name: str) -> Precision:
        """The precision of that name. Raises PlaygroundError(BAD_PRECISION), naming the known ones."""
        known = {precision.name: precision for precision in self.all_precisions()}
        if name not in known:
            raise fail(
                ErrorCode.BAD_PRECISION, f"There is no precision named {name!r}.", f"Known ones: {', '.join(known)}."
            )
        return known[name]

    def is_ready(self, name: str) -> bool:
        """Whether that is one of the precisions that are always offered."""
        return name in _READY

    def is_edited(self, name: str) -> bool:
        """Whether that is a ready precision with options of the user's own."""
        return name in self._kept.edited

    def save_precision(self, precision: Precision, *, replacing: str | None = None) -> None:
        """Keep a ready precision's options, or a precision of the user's own, new or `replacing` another of theirs.

        Raises PlaygroundError(BAD_PRECISION) and keeps nothing when it is not valid, or the name is taken.
        """
        precision.checked()
        if replacing is None and any(own.name == precision.name for own in self._kept.custom):
            replacing = precision.name
        if replacing in _READY and precision.name != replacing:
            raise fail(ErrorCode.BAD_PRECISION, f"{_READY[replacing].label} cannot be renamed.", "Make a new one.")
        if precision.name in _READY and replacing in (None, precision.name):
            self._save_edited(precision)
        else:
            self._save_custom(precision, replacing)

    def remove_precision(self, name: str) -> None:
        """Forget a precision of the user's own. Ready ones stay; see `reset_precision`."""
        self._change(
            custom=tuple(own for own in self._kept.custom if own.name != name),
            ticked=tuple(ticked for ticked in self._kept.ticked if ticked != name or name in _READY),
        )

    def reset_precision(self, name: str) -> None:
        """Give a ready precision its own options back."""
        self._change(edited={key: value for key, value in self._kept.edited.items() if key != name})

    def new_name(self, like: str) -> str:
        """A free name close to that one: `nf4-2`, `nf4-3`, …"""
        taken = {precision.name for precision in self.all_precisions()}
        number = 2
        while (name := f"{like[:36]}-{number}") in taken:
            number += 1
        return name

    def _save_edited(self, precision: Precision) -> None:
        ready = _READY[precision.name]
        if not _says_what_it_is(precision, ready):
            raise fail(
                ErrorCode.BAD_PRECISION,
                f"{ready.label} would no longer be what its name says.",
                "Make a new precision for that.",
            )
        edited = {key: value for key, value in self._kept.edited.items() if key != precision.name}
        if precision != ready:
            edited[precision.name] = precision
        self._change(edited=edited)

    def _save_custom(self, precision: Precision, replacing: str | None) -> None:
        others = {known.name for known in self.all_precisions() if known.name != replacing}
        if precision.name in others:
            raise fail(
                ErrorCode.BAD_PRECISION,
                f"There is already a precision named {precision.name!r}.",
                "Choose another name.",
            )
        custom = list(self._kept.custom)
        places = [index for index, own in enumerate(custom) if own.name == replacing]
        if places:
            custom[places[0]] = precision
        else:
            custom.append(precision)
        ticked = tuple(precision.name if name == replacing else name for name in self._kept.ticked)
        self._change(custom=tuple(custom), ticked=ticked)

    # ---- ticks, prompts, models -----------------------------------------------------------------------------------

    @property
    def ticked(self) -> tuple[str, ...]:
        """Names of the ticked precisions, in the order of `all_precisions`."""
        return tuple(known.name for known in self.all_precisions() if known.name in self._kept.ticked)

    def set_ticked(self, names: tuple[str, ...]) -> None:
        """Keep which precisions are ticked; names that are not known are left out."""
        self._change(ticked=tuple(known.name for known in self.all_precisions() if known.name in names))

    @property
    def recent_prompts(self) -> tuple[str, ...]:
        """Prompts that were run, newest first."""
        return self._kept.recent_prompts

    def remember_prompt(self, prompt: str) -> None:
        """Put a prompt first among the recent ones; an empty one is not kept."""
        if prompt.strip() and is_text(prompt):
            self._change(recent_prompts=_first(prompt, self._kept.recent_prompts))

    @property
    def last_request(self) -> GenerationRequest | None:
        """Prompt and settings that were run last; None too when this version cannot run them."""
        try:
            request = msgspec.convert(self._kept.last_request, GenerationRequest)
        except msgspec.ValidationError:
            return None
        return request if request.error() is None else None

    def remember_request(self, request: GenerationRequest) -> None:
        """Keep what is run, for the next start, and its prompt among the recent ones."""
        if is_text(request.prompt):
            self._change(last_request=msgspec.to_builtins(request))
            self.remember_prompt(request.prompt)

    @property
    def recent_folders(self) -> tuple[Path, ...]:
        """Folders that models were opened from, newest first."""
        return tuple(Path(folder) for folder in self._kept.recent_folders)

    def remember_folder(self, folder: Path) -> None:
        """Put a folder first among the recent ones."""
        if is_text(str(folder)):
            self._change(recent_folders=_first(str(folder), self._kept.recent_folders))

    @property
    def last_model(self) -> str | None:
        """Id of the model that was picked last."""
        return self._kept.last_model

    def set_last_model(self, model_id: str | None) -> None:
        """Keep which model is picked."""
        if model_id is None or is_text(model_id):
            self._change(last_model=model_id)

    # ---- placements -----------------------------------------------------------------------------------------------

    @property
    def placements(self) -> dict[str, Placement]:
        """Those that were saved, by name, in the order that they were."""
        return dict(self._kept.placements)

    def save_placement(self, name: str, placement: Placement) -> None:
        """Keep it, in the place of another of that name. Raises PlaygroundError for one that cannot be, and no name."""
        placement.checked()
        if not name.strip() or not is_text(name):
            raise fail(ErrorCode.BAD_SETTINGS, "A placement is saved under a name.", "Type one.")
        self._change(placements={**self._kept.placements, name: placement})

    def remove_placement(self, name: str) -> None:
        """Forget it."""
        self._change(placements={key: kept for key, kept in self._kept.placements.items() if key != name})

    @property
    def last_placement(self) -> Placement:
        """That of what was run last."""
        return self._kept.last_placement

    def set_last_placement(self, placement: Placement) -> None:
        """Keep it for the next start."""
        self._change(last_placement=placement)

    # ---- the file -------------------------------------------------------------------------------------------------

    @property
    def _kept(self) -> _Kept:
        """What the file says now; what is known of it where it is gone or damaged."""
        with contextlib.suppress(*_UNREADABLE):
            stamp = _stamp(self._path)
            if self._writable and stamp != self._seen:
                self._newest = _read(self._path)
                self._seen = stamp
        return self._newest

    def _change(self, **changes: object) -> None:
        before = self._kept
        self._spare_what_is_damaged()
        self._newest = msgspec.structs.replace(before, **changes)
        if self._newest == before or not self._writable:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(self._path, msgspec.json.format(msgspec.json.encode(self._newest), indent=2), private=True)
            self._seen = _stamp(self._path)
            self._unwritten = ""
        except OSError as error:
            self._unwritten = f"The preferences cannot be written to {self._path}: {error.strerror or error}."

    def _spare_what_is_damaged(self) -> None:
        """Somebody has edited the file, and it cannot be read any more: it is not written over."""
        try:
            if self._writable and _stamp(self._path) != self._seen:
                _read(self._path)
        except OSError:
            pass  # it is gone, or nobody may read it: writing will tell
        except _UNREADABLE as error:
            self._set_aside(error)

    def _set_aside(self, error: Exception) -> None:
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.damaged-{number}")).exists():
            number += 1
        try:
            self._path.replace(aside)
            self._damage = f"The preferences could not be read ({error}). They were set aside as {aside.name}."
        except OSError:
            self._writable = False  # what cannot be read and cannot be moved is not overwritten either
            self._damage = f"The preferences in {self._path} could not be read ({error}). Nothing is kept this time."


def _read(path: Path) -> _Kept:
    kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    names = [precision.checked().name for precision in kept.custom]
    if len({*names, *_READY}) != len(names) + len(_READY):
        raise fail(ErrorCode.BAD_PRECISION, "Two precisions have the same name.", "")
    for name, precision in kept.edited.items():
        if name not in _READY or precision.name != name or not _says_what_it_is(precision.checked(), _READY[name]):
            raise fail(ErrorCode.BAD_PRECISION, f"{name!r} is not a ready precision.", "")
    for placement in (*kept.placements.values(), kept.last_placement):
        placement.checked()
    return kept


def _stamp(path: Path) -> _Stamp:
    """Another one whenever the file was replaced. Raises OSError."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _says_what_it_is(edited: Precision, ready: Precision) -> bool:
    """A ready precision keeps what it is named after, so that NF4 on a chart is always NF4."""
    if edited.label != ready.label or type(edited.quantization) is not type(ready.quantization):
        return False
    if isinstance(edited.quantization, FourBit) and isinstance(ready.quantization, FourBit):
        return (edited.quantization.quant_type, edited.quantization.double_quantization) == (
            ready.quantization.quant_type,
            ready.quantization.double_quantization,
        )
    return ready.is_quantized or edited.dtype is ready.dtype


def _first(new: str, recent: tuple[str, ...]) -> tuple[str, ...]:
    return (new, *(old for old in recent if old != new))[:RECENT_LIMIT]
