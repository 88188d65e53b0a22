"""A baseline for tests of the kept ones."""

from qplayground.engines.transformers.scoring.baselines import BaselineKey
from tests.engine import tiny

KEY = BaselineKey(
    weights_sha256="0",
    config_sha256="0",
    precision=tiny.precision("fp32"),
    place="cpu",
    versions=("1",),
    ids_sha256="0",
    starts=(0,),
    window=64,
    vocabulary=1000,
)
