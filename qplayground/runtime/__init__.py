"""The window's side: child processes, their workers, the memory sampler, the scheduler and the session."""
