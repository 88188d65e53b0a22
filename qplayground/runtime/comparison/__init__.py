"""A comparison: the request, the scheduler, the conductor that carries it out, and the session with the results."""
