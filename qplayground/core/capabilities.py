"""What an engine can do and say. What it cannot is shown as "–" with the reason, and never guessed."""

from enum import StrEnum

from qplayground.core.errors import ErrorCode, ErrorInfo


class Capability(StrEnum):
    """An engine has all of these but those that its Hello lists under `lacks`, each with the reason as a sentence.

    The values stand in the JSON of a comparison and never change meaning.
    """

    PROBABILITIES = "probabilities"
    """Each token comes with its probability, its rank and the likeliest alternatives."""
    SCORING = "scoring"
    """It carries out Score."""
    MEMORY = "memory"
    """It holds the model in its own process, so that the RAM and VRAM of that process are the run's."""
    WEIGHTS = "weights"
    """It counts the bytes of the tensors that it holds, by kind, module and device."""
    PREDICTION = "prediction"
    """It carries out EstimateMemory, and says before a load what that will take."""
    PLACEMENT = "placement"
    """It puts the parts of a model where it is told to, and says where they are. It carries out PlanPlacement."""
    INSIDE = "inside"
    """It carries out the commands of `messages.inside`."""
    LOAD_STOP = "load_stop"
    """A load ends with its process."""


def refusal(reason: str) -> ErrorInfo:
    """What is said when an engine is asked for something that it lacks for that reason."""
    return ErrorInfo(ErrorCode.UNSUPPORTED, reason, "Choose another engine for this.")
