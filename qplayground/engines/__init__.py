"""What holds and runs models: each engine is a process that speaks `core.messages`, and alone imports its libraries."""
