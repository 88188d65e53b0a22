"""From a folder to a model that is really loaded: the checks before, the load, and the checks after."""
