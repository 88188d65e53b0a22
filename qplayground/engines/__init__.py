"""Engines hold and run models. Each is a process that speaks `core.messages` and alone imports its libraries."""
