"""The arguments of every command, and what they ask for. Nothing heavy is imported to parse them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from qplayground import __version__
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.generation import DEFAULT_PROMPT, MAX_CONTEXT_TOKENS, GenerationRequest, GenerationSettings
from qplayground.core.inside import BLOCK_SIZES
from qplayground.core.measures.windows import ALL_TOKENS, MIN_SCORED, QUICK_TOKENS
from qplayground.core.placement import AUTO, BALANCED, CUSTOM, Placement, named_device, parse_max_memory, read_map
from qplayground.core.precision import DEFAULT_TICKED, READY_PRECISIONS
from qplayground.core.quantizers.installed import missing
from qplayground.core.quantizers.registry import available_methods

_ONLY_SAMPLING = ("temperature", "top_p", "top_k", "seed")
COMMANDS = ("compare", "estimate", "inspect", "doctor", "models")
_EXIT_CODES = "Exit codes: 0 everything ran, 1 something failed or was stopped, 2 wrong usage."


def build_parser() -> argparse.ArgumentParser:
    """The arguments of every subcommand."""
    parser = argparse.ArgumentParser(
        prog="qplayground",
        usage="%(prog)s [-h] [--version] [--watchdog] [FILE ... | COMMAND ...]",
        description="See what quantization does to a language model on this machine. "
        "Without a command it opens the window, and the saved comparisons (JSON) that are given.",
        epilog=_EXIT_CODES,
    )
    add_general(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog="qplayground")
    _add_compare(commands.add_parser("compare", help="compare precisions without a window", epilog=_EXIT_CODES))
    _add_estimate(commands.add_parser("estimate", help="say what precisions will take in memory", epilog=_EXIT_CODES))
    _add_inspect(commands.add_parser("inspect", help="measure what quantizing costs each layer", epilog=_EXIT_CODES))
    doctor = commands.add_parser(
        "doctor",
        help="check this machine, and print what a bug report needs",
        epilog="Exit codes: 0 nothing is wrong, 1 something will not work, 2 wrong usage.",
    )
    doctor.add_argument("--json", metavar="FILE", help="write what was found as JSON to FILE, or '-' for stdout")
    models = commands.add_parser("models", help="list the models on this machine")
    models.add_argument("--json", metavar="FILE", help="write the list as JSON to FILE, or to standard output for '-'")
    return parser


def add_general(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"qplayground {__version__}")
    parser.add_argument(
        "--watchdog",
        action="store_true",
        help="log when the window is ready, and where it hangs for more than 100 ms",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="show the technical detail of what failed")
    parser.add_argument("--model", default="demo", help="'demo', a folder, or a hub id (default: demo)")


def _names() -> str:
    return ", ".join(ready.name for ready in READY_PRECISIONS)


def _add_precisions(parser: argparse.ArgumentParser, precisions: Sequence[str]) -> None:
    _add_model(parser)
    parser.add_argument(
        "--precisions",
        default=",".join(precisions),
        metavar="LIST",
        help=f"comma-separated: {_names()}, or your own (default: %(default)s)",
    )
    parser.add_argument(
        "--device-map",
        "--device",
        default="auto",
        metavar="MAP",
        help="auto, balanced, cpu, cuda:N, mps, or a JSON FILE of modules and devices (default: auto)",
    )
    parser.add_argument(
        "--max-memory",
        metavar="LIMITS",
        help="the most bytes of weights on each device, for auto and balanced: 0=4GiB,cpu=8GiB",
    )
    parser.add_argument(
        "--offload-folder",
        metavar="DIR",
        help="the folder for offloaded weights that must be rewritten",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the processor (default: all)")


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    _add_precisions(parser, [ready.name for ready in READY_PRECISIONS if missing(ready.quantization) is None])
    parser.add_argument(
        "--context",
        type=_tokens,
        metavar="N",
        help="tokens in the KV cache (default: those of compare's own prompt and length)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the estimates as JSON to FILE, or '-' for stdout")


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    methods = available_methods()
    by_row = " and ".join(method.name for method in methods if not method.has_blocks)
    _add_model(parser)
    parser.add_argument(
        "--module",
        action="append",
        metavar="NAME",
        help="a module to measure; can be repeated (default: all quantized)",
    )
    parser.add_argument(
        "--methods",
        default="nf4,fp4,int8",
        metavar="LIST",
        help=f"comma-separated: {', '.join(method.name for method in methods)} (default: %(default)s)",
    )
    parser.add_argument(
        "--block-sizes",
        default="64,256,4096",
        metavar="LIST",
        help=f"comma-separated: {', '.join(map(str, BLOCK_SIZES))}, or tensor for one scale over all of it; "
        f"{by_row}: one a row (default: %(default)s)",
    )
    parser.add_argument("--double-quant", action="store_true", help="measure each choice of blocks with it as well")
    parser.add_argument(
        "--dtype",
        choices=[str(dtype) for dtype in Dtype],
        default=str(Dtype.BFLOAT16),
        help="the type that weights are quantized from and come back in (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON to FILE, or '-' for stdout")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    defaults = GenerationSettings()
    _add_precisions(parser, DEFAULT_TICKED)
    parser.add_argument("--prompt", default=DEFAULT_PROMPT, help="the text to continue (default: %(default)r)")
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=defaults.max_new_tokens,
        metavar="N",
        help="1 or more (default: %(default)s)",
    )
    parser.add_argument("--sample", action="store_true", help="sample instead of taking the likeliest token")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help=f"above 0, for --sample (default: {defaults.temperature})"
    )
    parser.add_argument("--top-p", type=float, metavar="P", help=f"1 is off, for --sample (default: {defaults.top_p})")
    parser.add_argument("--top-k", type=int, metavar="K", help=f"0 is off, for --sample (default: {defaults.top_k})")
    parser.add_argument(
        "--repetition-penalty", type=float, default=defaults.repetition_penalty, metavar="R", help="1 is off (default)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help=f"for --sample (default: {defaults.seed})")
    parser.add_argument("--chat-template", action="store_true", help="use the model's chat template")
    parser.add_argument(
        "--baseline", metavar="NAME", help="the precision that the others are compared with (default: the widest)"
    )
    parser.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help="benchmark: N rounds of equal length, greedy, end tokens ignored, in rotated order; medians are shown",
    )
    parser.add_argument(
        "--keep-loaded", action="store_true", help="keep models in memory between rounds, as long as there is room"
    )
    parser.add_argument(
        "--quality",
        default="off",
        metavar="TEXT",
        help="score a text: builtin, prompt (with the baseline's continuation), a text FILE, or off (default)",
    )
    parser.add_argument(
        "--quality-tokens",
        type=_scored_tokens,
        metavar="N|all",
        help=f"about how many tokens are scored (default: {QUICK_TOKENS:,}, of a file all)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the comparison as JSON to FILE, or '-' for stdout")
    parser.add_argument(
        "--out", metavar="DIR", help="write every report (JSON, HTML, Markdown, CSV, a script a precision) into DIR"
    )


def split_files(argv: Sequence[str]) -> tuple[list[str], list[Path]]:
    """The arguments without the files that a desktop or a person names to be opened, and those files.

    Where there is a command, and for what is neither a file nor looks like one, argparse has the word.
    """
    named = [argument for argument in argv if not argument.startswith("-")]
    if not named or named[0] in COMMANDS or not all(_names_a_file(argument) for argument in named):
        return list(argv), []
    return [argument for argument in argv if argument.startswith("-")], [Path(argument) for argument in named]


def _names_a_file(argument: str) -> bool:
    try:
        return Path(argument).suffix.lower() == ".json" or Path(argument).is_file()
    except OSError:  # too long for a name
        return False


def _tokens(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_CONTEXT_TOKENS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of tokens, 1 to {MAX_CONTEXT_TOKENS:,}")
    return int(text)


def _scored_tokens(text: str) -> int:
    if text == "all":
        return ALL_TOKENS
    if not text.isdecimal() or int(text) < MIN_SCORED:
        raise argparse.ArgumentTypeError(f"{text!r} is not 'all' or a number of tokens, {MIN_SCORED} or more")
    return int(text)


def request_of(arguments: argparse.Namespace) -> GenerationRequest:
    """The request that the arguments of `compare` ask for."""
    return GenerationRequest(
        prompt=arguments.prompt,
        settings=GenerationSettings(
            max_new_tokens=arguments.max_new_tokens,
            do_sample=arguments.sample,
            temperature=arguments.temperature,
            top_p=arguments.top_p,
            top_k=arguments.top_k,
            repetition_penalty=arguments.repetition_penalty,
            seed=arguments.seed,
            chat_template=arguments.chat_template,
        ),
    )


def check_sampling(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse what would be ignored without a word, and fill in what was not given."""
    defaults, named = GenerationSettings(), []
    for name in _ONLY_SAMPLING:
        if getattr(arguments, name) is not None:
            named.append(f"--{name.replace('_', '-')}")
        else:
            setattr(arguments, name, getattr(defaults, name))
    if named and not arguments.sample:
        parser.error(f"{', '.join(named)} without --sample would change nothing; add --sample")


def placement_of(arguments: argparse.Namespace) -> Placement:
    """What the arguments ask for. Raises PlaygroundError for a map that cannot be read, and for what cannot be."""
    device, modules = str(arguments.device_map), {}
    if device.endswith(".json"):
        modules, device = read_map(_read(Path(device))), CUSTOM
    elif device not in (AUTO, BALANCED):
        device = _named(device)
    return Placement(
        device=device,
        modules=modules,
        max_memory=parse_max_memory(arguments.max_memory) if arguments.max_memory is not None else {},
        offload_folder="" if arguments.offload_folder is None else str(Path(arguments.offload_folder).absolute()),
        threads=arguments.threads,
    ).checked()


def _named(device: str) -> str:
    try:
        return named_device(device)
    except PlaygroundError as error:
        hint = "Name auto, balanced, cpu, cuda:N, mps, or a file that ends in .json."
        raise fail(ErrorCode.BAD_DEVICE, error.info.message, hint) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise fail(
            ErrorCode.BAD_FILE, f"{path} cannot be read: {error.strerror}.", "Name a JSON file of a device map."
        ) from error
