"""Tries types in a child process, so that a type that crashes or hangs affects only itself."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import msgspec

from tests.sweep.one import quiet, try_type
from tests.sweep.outcome import Outcome

LIMIT_S = 180.0
"""For a type in all precisions. Most take five seconds, but the first also waits for the imports."""
TYPES_A_CHILD = 25
"""A process grows with each type's modules, and is replaced after this many."""


def outcomes(types: Sequence[str], limit_s: float = LIMIT_S) -> Iterator[Outcome]:
    """The outcome of each type, in order."""
    context = multiprocessing.get_context("spawn")
    waiting = list(types)
    while waiting:
        ours, theirs = context.Pipe()
        child = context.Process(target=_serve, args=(theirs,), daemon=True)
        child.start()
        theirs.close()
        for model_type in waiting[:TYPES_A_CHILD]:
            outcome = _ask(ours, child, model_type, limit_s)
            waiting.remove(model_type)
            yield outcome
            if not child.is_alive():
                break
        ours.close()
        child.join()


def _ask(connection: Connection, child: SpawnProcess, model_type: str, limit_s: float) -> Outcome:
    connection.send(model_type)
    if not connection.poll(limit_s):
        child.kill()
        child.join()
        return Outcome(model_type=model_type, ended=f"It was not done after {limit_s:g} seconds.")
    try:
        return msgspec.json.decode(connection.recv_bytes(), type=Outcome)
    except EOFError:
        child.join()
        return Outcome(model_type=model_type, ended=f"The process that tried it ended with {child.exitcode}.")


def _serve(connection: Connection) -> None:
    """Try each incoming type until the other end closes. Discards what libraries print."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    quiet()
    while True:
        try:
            model_type = connection.recv()
        except EOFError:
            return
        connection.send_bytes(msgspec.json.encode(try_type(model_type)))
