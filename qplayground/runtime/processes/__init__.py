"""Child processes: how they are started, listened to and ended. Most of this uses no Qt."""
