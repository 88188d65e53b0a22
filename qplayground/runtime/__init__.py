"""The parent side: child processes, their workers, the sampler, the scheduler and the session."""
