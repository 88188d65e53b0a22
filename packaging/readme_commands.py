"""Run every command in the documents' code blocks as written, and report each.

    python packaging/readme_commands.py --list             list the commands
    python packaging/readme_commands.py --clone            run them on this machine, in a fresh clone
    sudo python packaging/readme_commands.py               run them in a fresh Debian (debootstrap), as a new user

Runs the committed state. Debian's mirror and pip's settings come from this machine. Name folders that those settings
refer to with --bind. There is no display, because a window would stay open: the commands then compare.
"""

import argparse
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
"""In reading order. packaging/README.md is left out: its commands need the output of `make package`."""
PROGRAMS = re.compile(r"(make|python3?|qplayground|\.venv/bin/\S+|apt-get)( |$)")
SETTING = re.compile(r"(\.|source|cd|export) ")
INSTALLS = re.compile(r"make run$|python3 -m venv ")
SYSTEM = re.compile(r"`(apt-get install [^`]+)`")
PREREQUISITES = ("python3", "python3-venv", "make", "ca-certificates")
DISPLAY = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
INSIDE = "README_COMMANDS_INSIDE"
PERSON = 1000
LAST_LINES = 25


class NotCommandsError(Exception):
    """A code block mixes commands with other text."""


@dataclass
class Block:
    """The commands of one code block. `settings` run before each, as a shell would remember them."""

    settings: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    @property
    def installs(self) -> bool:
        """Whether it creates the environment, and so must start without one."""
        return any(INSTALLS.match(command) for command in self.commands)


def read_blocks(text: str) -> list[Block]:
    """The code blocks that hold commands. Raises NotCommandsError for a block that mixes them with other text."""
    blocks = []
    for body in re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        lines = [_uncommented(line.strip()) for line in body.replace("\\\n", " ").splitlines()]
        lines = [line for line in lines if line]
        known = [bool(PROGRAMS.match(line) or SETTING.match(line)) for line in lines]
        if not any(known):
            continue
        if not all(known):
            raise NotCommandsError(f"Not a command: {lines[known.index(False)]!r}")
        settings = [line for line in lines if SETTING.match(line)]
        blocks.append(Block(settings, [line for line in lines if not SETTING.match(line)]))
    return blocks


def all_blocks(texts: list[str]) -> list[Block]:
    """The commands a reader of these documents runs: each once, in a shell with all earlier settings."""
    blocks: list[Block] = []
    settings: list[str] = []
    known: set[str] = set()
    for block in (block for text in texts for block in read_blocks(text)):
        settings += [setting for setting in block.settings if setting not in settings]
        commands = [command for command in block.commands if command not in known]
        known.update(commands)
        if commands:
            blocks.append(Block([] if any(INSTALLS.match(command) for command in commands) else [*settings], commands))
    return blocks


def _uncommented(line: str) -> str:
    """The line without its comment. A # inside quotes does not start one."""
    before, mark, _ = line.partition(" #")
    try:
        ends = bool(mark) and shlex.split(before) == shlex.split(line, comments=True)
    except ValueError:  # the # is inside a quotation
        ends = False
    return before.rstrip() if ends else line


def system_command(text: str) -> str:
    """The command that installs the system libraries. Raises NotCommandsError if the README has none."""
    found = SYSTEM.search(text)
    if found is None:
        raise NotCommandsError("The README has no command that installs the system libraries.")
    return found[1]


class Place:
    """Where commands run: a folder on this machine, or another user's folder in a separate root."""

    def __init__(self, work: Path, root: Path | None = None) -> None:
        self._work = work
        self._root = root
        self._clones = 0
        self.folder = work

    def clone(self) -> None:
        """Continue in a new clone of the committed state."""
        self._clones += 1
        self.folder = self._work / f"clone-{self._clones}" / "qplayground"
        _check(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(self.folder)])
        if self._root is not None:
            _check(["chown", "-R", f"{PERSON}:{PERSON}", str(self.folder.parent)])

    def run(self, command: str, settings: list[str], extra: dict[str, str]) -> tuple[int, str]:
        """Run a command; returns its exit code and its last lines of output."""
        script = "\n".join([*settings, command])
        environment = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "LANG"))}
        environment |= {"PATH": os.environ["PATH"], "HOME": str(self._work / "home"), **extra}
        environment |= {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ and self._root is None}
        line = ["bash", "-ec", script]
        if self._root is not None:
            inside = shlex.quote("/" + str(self.folder.relative_to(self._root)))
            environment |= {"PATH": "/usr/bin:/bin", "HOME": "/home/person", "USER": "person"}
            user = f"--userspec={PERSON}:{PERSON}"
            line = [
                shutil.which("chroot") or "/usr/sbin/chroot",
                user,
                str(self._root),
                "bash",
                "-ec",
                f"cd {inside}\n{script}",
            ]
        (self._work / "home").mkdir(exist_ok=True)
        folder = None if self._root is not None else self.folder
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            code = subprocess.run(
                line, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            ).returncode
            output.seek(0)
            return code, "".join(output.readlines()[-LAST_LINES:])


def make_debian(work: Path, install: str, release: str, bound: list[Path]) -> Place:
    """A Debian with the README's prerequisites. The mirror, pip's settings and `bound` come from this machine."""
    root = work / "debian"
    _check(["debootstrap", "--variant=minbase", f"--include={','.join(PREREQUISITES)}", release, str(root), mirror()])
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    for file in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", certificates):
        if Path(file).exists():
            shutil.copy(file, root / file.lstrip("/"))
    for path in Path("/etc/apt/apt.conf.d").iterdir():
        shutil.copy(path, root / "etc" / "apt" / "apt.conf.d")
    for folder in bound:
        (root / str(folder).lstrip("/")).mkdir(parents=True, exist_ok=True)
        _check(["mount", "--bind", str(folder), str(root / str(folder).lstrip("/"))])
        _check(["mount", "-o", "remount,bind,ro", str(root / str(folder).lstrip("/"))])
    _check(["mount", "-t", "proc", "proc", str(root / "proc")])
    (root / "dev" / "shm").mkdir(exist_ok=True)
    _check(["mount", "-t", "tmpfs", "tmpfs", str(root / "dev" / "shm")])
    _check(["chroot", str(root), "useradd", "--create-home", "--uid", str(PERSON), "--shell", "/bin/bash", "person"])
    place = Place(root / "home" / "person", root)
    place.clone()
    _check(["chroot", str(root), "apt-get", "update", "-qq"])
    inside = "/" + str(place.folder.relative_to(root))
    quiet = install.replace("apt-get install", "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq", 1)
    _check(["chroot", str(root), "bash", "-ec", f"cd {shlex.quote(inside)}\n{quiet}"])
    return place


def mirror() -> str:
    """The Debian mirror that this machine's apt uses."""
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages", "Origin: Debian"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sites = [line.split()[0] for line in done.stdout.splitlines() if line and "security" not in line.split()[0]]
    if not sites:
        raise SystemExit("apt names no mirror of Debian.")
    return sites[0]


def _check(command: list[str]) -> None:
    """Run a step of the preparation. Print its output only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        print(done.stdout[-3000:], file=sys.stderr)
        raise SystemExit(f"This failed: {shlex.join(command)}")


def run_all(place: Place, blocks: list[Block], tests: str | None) -> int:
    """Run and report each command; returns how many failed."""
    extra = {"PYTEST_ADDOPTS": tests} if tests else {}
    failed = 0
    for block in blocks:
        if block.installs:
            place.clone()
        for command in block.commands:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            code, output = place.run(command, block.settings, extra)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{'ok    ' if code == 0 else f'FAILED {code}'} {seconds:6.0f} s of CPU  {command}", flush=True)
            if code:
                failed += 1
                print(output, flush=True)
    print(f"{sum(len(block.commands) for block in blocks) - failed} passed, {failed} failed")
    return failed


def main() -> int:
    """The exit code: 0 if every command succeeded."""
    parser = argparse.ArgumentParser(description="Run every command of the documents as it is written there.")
    parser.add_argument("--list", action="store_true", help="only print them")
    parser.add_argument("--clone", action="store_true", help="run them on this machine, in a fresh clone")
    parser.add_argument("--release", default="bookworm", help="Debian's release (default: %(default)s)")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="a folder that pip's settings name")
    parser.add_argument("--tests", help="what pytest is told beside (PYTEST_ADDOPTS), to run some of the tests only")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder, removed in the end)")
    arguments = parser.parse_args()
    texts = [(ROOT / name).read_text("utf-8") for name in DOCUMENTS]
    blocks, install = all_blocks(texts), system_command(texts[0])
    if arguments.list:
        print("\n".join([install, *(command for block in blocks for command in [*block.settings, *block.commands])]))
        return 0
    for name in DISPLAY:
        os.environ.pop(name, None)
    if not arguments.clone and INSIDE not in os.environ:
        if os.geteuid() or not shutil.which("debootstrap"):
            raise SystemExit("A fresh Debian needs root and debootstrap; --clone runs the commands on this machine.")
        os.environ[INSIDE] = "1"  # mounts and processes end with this namespace
        os.execvp("unshare", ["unshare", "--mount", "--pid", "--fork", "--kill-child", sys.executable, *sys.argv])
    work = Path(tempfile.mkdtemp(dir=arguments.folder, prefix="readme-"))
    work.chmod(0o755)
    try:
        place = Place(work) if arguments.clone else make_debian(work, install, arguments.release, arguments.bind)
        return 1 if run_all(place, blocks, arguments.tests) else 0
    finally:
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
        for path in reversed([path for path in mounted if Path(path).is_relative_to(work)]):
            subprocess.run(["umount", "--lazy", path], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", str(work)], check=False)  # keep whatever is still mounted


if __name__ == "__main__":
    sys.exit(main())
