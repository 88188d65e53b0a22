"""What `qplayground doctor` tells: facts of a machine, and what is known to go wrong there. None is personal."""

from enum import StrEnum

import msgspec

from qplayground.core.errors import ErrorInfo


class Outcome(StrEnum):
    """How a small quantized matrix came out."""

    WORKS = "works"
    WRONG = "wrong"
    FAILED = "failed"


class MethodCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a quantized precision does on a device what it should.

    `relative_error` is ‖found − exact‖ / ‖exact‖, the largest of the matrix that is quantized and back again and of
    products with it. `problem` is a sentence for what is not WORKS, `detail` the output of an engine that ended.
    `unfit_inputs` and `unfit_outputs` are widths of layers, of those that were tried, which go wrong there.
    """

    precision: str
    label: str
    library: str = "bitsandbytes"
    device: str
    outcome: Outcome
    relative_error: float | None = None
    problem: str = ""
    detail: str = ""
    unfit_inputs: tuple[int, ...] = ()
    unfit_outputs: tuple[int, ...] = ()


class CudaBuild(msgspec.Struct, frozen=True, kw_only=True):
    """What torch and bitsandbytes were built for.

    `torch_cuda` is None for a torch without CUDA; `available`: whether that torch finds a GPU that it can use.
    `bitsandbytes_cuda` are the CUDA versions that bitsandbytes has libraries for, `library` the file that it loaded,
    empty when it could load none.
    """

    torch_cuda: str | None = None
    available: bool = False
    bitsandbytes_cuda: tuple[str, ...] = ()
    library: str = ""


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """A processor. `flags` says of each flag that matters whether it is there; empty where the system does not tell.

    `capability` is torch's word for the instructions that it uses, `threads` how many it computes with; both are of an
    engine, and unknown without one.
    """

    name: str
    architecture: str
    flags: dict[str, bool] = {}
    capability: str = ""
    threads: int | None = None


class Ram(msgspec.Struct, frozen=True):
    """Bytes in all and available; `limited`: less than the machine's, by a control group (a container)."""

    total_bytes: int
    available_bytes: int
    machine_bytes: int
    limited: bool = False


class NvidiaGpu(msgspec.Struct, frozen=True):
    """A GPU as the driver describes it. `compute_capability` is (7, 5) of a T4, None where it was not told."""

    name: str
    total_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int] | None = None


class QtPlatform(msgspec.Struct, frozen=True, kw_only=True):
    """How Qt shows windows here: the platform that is in use (`running`), or those that it would try, in order.

    `problem` says why the first of them cannot be loaded, `hint` what to do.
    """

    names: tuple[str, ...] = ()
    running: bool = False
    problem: str = ""
    hint: str = ""


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that is written to; where it does not exist yet, what is said is of the one that it would be made in.

    `is_there`: whether it exists. `problem` says why it cannot be written; `free_bytes` is None where the system does
    not tell.
    """

    purpose: str
    path: str
    free_bytes: int | None = None
    problem: str = ""
    is_there: bool = True


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the rules look at. `versions` has an empty text for a library that is not installed.

    `environment` has the variables that change what the libraries do, where they are set. `when` is the day and
    time, in UTC, `demo_model` whether that has been made. `cuda` and `checks` come from an engine; `engine_error`
    says why they are not complete. `undriven_gpus` has Linux's driver of each NVIDIA GPU that NVIDIA's management
    does not answer for.
    """

    python: str
    system: str
    versions: dict[str, str]
    when: str = ""
    environment: dict[str, str] = {}
    demo_model: bool | None = None
    cpu: Cpu
    ram: Ram
    driver: str = ""
    gpus: tuple[NvidiaGpu, ...] = ()
    undriven_gpus: tuple[str, ...] = ()
    mps: bool = False
    cuda: CudaBuild | None = None
    checks: tuple[MethodCheck, ...] = ()
    engine_error: ErrorInfo | None = None
    qt: QtPlatform = QtPlatform()
    folders: tuple[Folder, ...] = ()


class Severity(StrEnum):
    """PROBLEM: something will not work. CAUTION: it works, with a limit worth knowing."""

    PROBLEM = "problem"
    CAUTION = "caution"


class Finding(msgspec.Struct, frozen=True):
    """What is known to be bad about a machine, and what to do."""

    severity: Severity
    message: str
    hint: str


class Diagnosis(msgspec.Struct, frozen=True):
    """The facts and what was found in them."""

    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def works(self) -> bool:
        """Whether nothing says that something will not work."""
        return all(finding.severity is not Severity.PROBLEM for finding in self.findings)
