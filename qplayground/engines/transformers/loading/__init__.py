"""From a folder to a model that is really loaded: what is refused before, how it is loaded, what is checked after."""
