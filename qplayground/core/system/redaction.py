"""Taking out of a text who and where somebody is, before it is shown around."""

import re

import msgspec

_NOBODY = frozenset({"", "root", "localhost"})


class Redaction(msgspec.Struct, frozen=True):
    """The folders of one's own, which become `~`, and the names of the user and the host."""

    homes: tuple[str, ...] = ()
    user: str = ""
    host: str = ""

    def apply(self, text: str) -> str:
        """The text without them. Names are replaced as whole words, so in paths elsewhere too."""
        for home in sorted((home.rstrip("/\\") for home in self.homes), key=len, reverse=True):
            if home:
                case = re.IGNORECASE if "\\" in home else re.NOFLAG  # Windows' paths
                text = re.sub(rf"(?<![\w.-]){re.escape(home)}(?![\w-]|\.\w)", "~", text, flags=case)
        for name, shown in ((self.user, "<user>"), (self.host, "<host>"), (self.host.partition(".")[0], "<host>")):
            if name.lower() not in _NOBODY:
                text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", shown, text, flags=re.IGNORECASE)
        return text
