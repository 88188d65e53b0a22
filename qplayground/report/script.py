"""The plain transformers script that does what a run did."""

from qplayground.core.comparison.results import Comparison, Mode, Run, RunState
from qplayground.core.placement import AUTO, BALANCED, CUSTOM, DISK
from qplayground.core.precision import Precision
from qplayground.report.describe import state_text

_MAIN = '''"""{title}

Made by qplayground. {promise}
{versions}.
"""

{imports}

path = {path}
prompt = {prompt}
{threads}
tokenizer = AutoTokenizer.from_pretrained(path)
{config}{quantization}model = AutoModelForCausalLM.from_pretrained(
    path,
{arguments})
own = model.generation_config  # of the model's own habits only the special tokens are kept
model.generation_config = GenerationConfig(
    bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
)
{inputs}
torch.manual_seed({seed})
output = model.generate(
    **inputs,
{settings})
new_ids = output[0, inputs["input_ids"].shape[1] :].tolist()
print(tokenizer.decode(new_ids, skip_special_tokens=True))
'''

_CONFIG = """config = AutoConfig.from_pretrained(path)
# What config.json asks for besides the model's shape is left out.
config._attn_implementation = {attention}
config.return_dict = True
vars(config).pop("transformers_weights", None)
"""

_SKIPS = """# A list of skipped modules replaces the library's own, so those come first.
with torch.device("meta"):
    skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path))
skips = [*get_keys_to_not_convert(skeleton), {own}]
"""


def to_script(comparison: Comparison, run: Run) -> str:
    """Python source. Every text of the user's stands in it as a literal."""
    recipe, threads = run.precision, comparison.placement.threads
    skips = bool(recipe.skip_modules) and recipe.is_quantized and not run.skips
    return _MAIN.format(
        title=_prose(f"{run.model.id} in {recipe.name}: {recipe.summary}."),
        promise=_promise(run),
        versions=_prose(_versions(comparison)),
        imports=_imports(recipe, skips, config=skips or bool(run.attention)),
        path=repr(run.model.path),
        prompt=repr(comparison.prompt),
        threads="" if threads is None else f"torch.set_num_threads({threads})\n",
        config=_CONFIG.format(attention=repr(run.attention)) if run.attention else "",
        quantization=_quantization(recipe, run.skips, skips, split=len(set(_device_map(comparison, run).values())) > 1),
        arguments=_lines(
            f"dtype=torch.{recipe.dtype}",
            *(["quantization_config=quantization"] if recipe.is_quantized else []),
            f"device_map={_device_map(comparison, run)!r}",
            *(['offload_folder="offload"'] if DISK in _device_map(comparison, run).values() else []),
            *(["config=config"] if run.attention else []),
            "use_safetensors=True",
        ),
        inputs=_inputs(comparison, run),
        seed=comparison.settings.seed,
        settings=_lines(*_settings(comparison)),
    )


def _promise(run: Run) -> str:
    if run.beside:
        return (
            "The run was one of a race, on a share of the processor's threads; with all of them sums are rounded\n"
            "in another order, so a token can differ. The versions there were"
        )
    if run.state is not RunState.DONE:
        return f"The run itself is {state_text(run)}. The versions there were"
    return "On the same machine and library versions it gives the same tokens as the run there:"


def _imports(recipe: Precision, skips: bool, *, config: bool) -> str:
    call = None if recipe.quantization is None else recipe.quantization.call()
    names = ["AutoModelForCausalLM", "AutoTokenizer", "GenerationConfig"]
    names += [] if call is None else [call.config_class]
    names += ["AutoConfig"] if config else []
    lines = [
        "import torch",
        *([] if call is None else call.imports),
        f"from transformers import {', '.join(sorted(names))}",
    ]
    if skips:
        lines.append("from transformers.quantizers.base import get_keys_to_not_convert")
    return "\n".join(lines)


def _quantization(recipe: Precision, known: tuple[str, ...], skips: bool, *, split: bool) -> str:
    """`known` is the list of modules that the run left alone; `skips`: it has to be put together."""
    if recipe.quantization is None:
        return ""
    call = recipe.quantization.call()
    arguments, before = list(call.arguments), ""
    if known:
        arguments.append(f"{call.skips_argument}={recipe.quantization.skip_patterns(known)!r}")
    elif skips:
        before = _SKIPS.format(own=", ".join(map(repr, recipe.quantization.skip_patterns(recipe.skip_modules))))
        arguments.append(f"{call.skips_argument}=skips")
    arguments += call.split_arguments if split else ()
    return f"{before}quantization = {call.config_class}(\n{_lines(*arguments)})\n"


def _inputs(comparison: Comparison, run: Run) -> str:
    if comparison.settings.chat_template:
        content = '[{"type": "text", "text": prompt}]' if run.prompt_in_parts else "prompt"
        return (
            f'messages = [{{"role": "user", "content": {content}}}]\n'
            "inputs = tokenizer.apply_chat_template(\n"
            '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"\n'
            ").to(model.device)"
        )
    return 'inputs = tokenizer(prompt, return_tensors="pt").to(model.device)'


def _settings(comparison: Comparison) -> list[str]:
    settings = comparison.settings
    options = [f"max_new_tokens={settings.max_new_tokens}"]
    if comparison.mode is Mode.BENCHMARK:
        options.append(f"min_new_tokens={settings.max_new_tokens}")
    options.append(f"do_sample={settings.do_sample}")
    if settings.do_sample:
        options += [
            f"temperature={settings.temperature!r}",
            f"top_p={settings.top_p!r}",
            f"top_k={settings.top_k}",
        ]
    options.append(f"repetition_penalty={settings.repetition_penalty!r}")
    return options


def _device_map(comparison: Comparison, run: Run) -> dict[str, str]:
    """Where the run was; of one that did not come so far, where it was to be."""
    if run.device_map or comparison.placement.modules:
        return run.device_map or comparison.placement.modules
    if comparison.device not in (AUTO, BALANCED, CUSTOM):
        return {"": comparison.device}
    has_gpu = comparison.environment is not None and bool(comparison.environment.gpus)
    return {"": "cuda:0" if has_gpu else "cpu"}


def _versions(comparison: Comparison) -> str:
    machine = comparison.environment
    return "unknown" if machine is None else ", ".join(f"{name} {value}" for name, value in machine.versions.items())


def _prose(text: str) -> str:
    """Text that cannot end the docstring that it stands in."""
    harmless = text.replace("\\", "/").replace('"', "'")
    return "".join(character if character.isprintable() else " " for character in harmless)


def _lines(*arguments: str) -> str:
    return "".join(f"    {argument},\n" for argument in arguments)
