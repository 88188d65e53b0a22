"""Child processes: how they are started, listened to, ended and buried. Most of it knows no Qt."""
