"""Turns huggingface_hub's exceptions into messages."""

import errno
import os
from collections.abc import Iterator

from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError

FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: Exception, repo_id: str) -> ErrorInfo:
    """The ErrorInfo for any exception of a download, by its type and its causes."""
    from huggingface_hub import errors

    detail = f"{type(error).__name__}: {error}"
    for cause in _causes(error):
        if isinstance(cause, PlaygroundError):
            return cause.info
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return offline(repo_id)
        if isinstance(cause, errors.HFValidationError):
            return ErrorInfo(
                ErrorCode.MODEL_NOT_FOUND,
                f"{repo_id[:100]!r} is not the id of a model.",
                "Give it as owner/name, as it stands at the top of the model's page.",
                detail,
            )
        if isinstance(cause, errors.GatedRepoError):
            return _by_status(403, repo_id, detail)
        if isinstance(cause, (errors.RepositoryNotFoundError, errors.DisabledRepoError)):
            return _by_status(404, repo_id, detail)
        if isinstance(cause, errors.HfHubHTTPError):
            return _by_status(cause.response.status_code, repo_id, detail)
        if isinstance(cause, OSError) and cause.errno in FULL:
            return ErrorInfo(
                ErrorCode.DISK_FULL,
                f"The disk became full while {repo_id} was downloaded.",
                "Free some space, or set HF_HOME to a folder on another disk; whole files are kept.",
                detail,
            )
        if _is_network(cause):
            return ErrorInfo(
                ErrorCode.NO_NETWORK,
                f"The Hugging Face hub could not be reached to download {repo_id}.",
                "Check the network and try again; the demo model and folders work without one.",
                detail,
            )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _by_status(503, repo_id, detail)
    return ErrorInfo(
        ErrorCode.INTERNAL,
        f"{repo_id} could not be downloaded ({type(error).__name__}).",
        "Try again; the detail says more.",
        detail,
    )


def offline(repo_id: str) -> ErrorInfo:
    """The error if an environment variable forbids downloads."""
    names = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    variable = names[0] if names else "HF_HUB_OFFLINE"
    return ErrorInfo(
        ErrorCode.NO_NETWORK,
        f"{repo_id} was not downloaded: the environment variable {variable} forbids it.",
        f"Unset {variable} and start the program again.",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__ or current.__context__


def _is_network(error: BaseException) -> bool:
    """Whether the transport (httpx's hierarchy, without importing it) or its socket failed."""
    names = {base.__name__ for base in type(error).__mro__}
    return "TransportError" in names or isinstance(error, (ConnectionError, TimeoutError))


def _by_status(status: int, repo_id: str, detail: str) -> ErrorInfo:
    if status == 401:
        return ErrorInfo(
            ErrorCode.GATED,
            f"The hub does not accept this machine's login, so {repo_id} was not downloaded.",
            "Run `hf auth login` again and try again.",
            detail,
        )
    if status == 403:
        return ErrorInfo(
            ErrorCode.GATED,
            f"{repo_id} is gated: its authors hand it out only to accounts that they have accepted.",
            f"Ask for access at https://huggingface.co/{repo_id}, run `hf auth login`, and try again.",
            detail,
        )
    if status == 404:
        return ErrorInfo(
            ErrorCode.MODEL_NOT_FOUND,
            f"The hub has no model {repo_id}, or it is private.",
            "Check the spelling; for a private model run `hf auth login` first.",
            detail,
        )
    return ErrorInfo(
        ErrorCode.NO_NETWORK,
        f"The Hugging Face hub did not send {repo_id} (it answered {status}).",
        "Wait a little and try again.",
        detail,
    )
