"""The machine that an engine runs on, as the engine describes it."""

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can say of this machine: versions, processor, accelerators.

    `cpu_threads` is how many threads torch computes with, `cpus` how many logical processors an engine may use.
    `avx512_bf16`: whether bitsandbytes has its fused 4-bit kernel here. `mps`: whether torch has Apple's GPU.
    """

    python: str
    platform: str
    cpu: str
    cpu_capability: str
    cpu_threads: int
    cpus: int | None = None
    avx512_bf16: bool = False
    ram_total_bytes: int
    versions: dict[str, str]
    gpus: tuple[str, ...] = ()
    mps: bool = False
    bfloat16: bool = True
