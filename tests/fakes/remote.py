"""The scripted engine as a remote one: it has texts and times, and lacks all other capabilities."""

from qplayground.core.capabilities import Capability
from qplayground.core.messages.channel import Channel
from tests.fakes.engine import serve

ELSEWHERE = "The model is on a server, whose memory is not seen from here."
LACKS = dict.fromkeys(Capability, ELSEWHERE) | {
    Capability.PROBABILITIES: "The server does not say how likely a token was.",
    Capability.SCORING: "The server does not score texts.",
    Capability.PLACEMENT: "The server decides where the model is.",
    Capability.INSIDE: "The server does not show its weights.",
    Capability.LOAD_STOP: "The server goes on loading when nobody waits for it.",
}


def main(channel: Channel) -> None:
    """Serve commands until the parent goes away."""
    serve(channel, LACKS)
