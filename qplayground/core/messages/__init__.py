"""The wire between the window and its child processes: frozen msgspec structs, told apart by tag.

Every command has an id, and every event names the command that it belongs to (0: none), so that a late answer can be
dropped. Times are `time.monotonic` seconds, which are comparable between the processes of one machine.
"""
