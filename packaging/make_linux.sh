#!/usr/bin/env bash
# From the frozen folder: a .deb, an AppDir for AppImage, and a tar archive, all beside it.
# Usage: packaging/make_linux.sh dist/qplayground        (PYTHON and SOURCE_DATE_EPOCH are heeded)
#        packaging/make_linux.sh --check                 only says whether what it needs is there
# HOMEPAGE: the program's own page on the web, for the metainfo, with the pictures of docs/ below it; none unless given.
# LEVEL: zstd's, 9 unless told; "none" makes a .deb that is not compressed, and no archive, to try things quickly.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
level=${LEVEL:-9}

needed=(dpkg dpkg-deb)
[ "$level" = none ] || needed+=(zstd)
missing=()
for tool in "${needed[@]}"; do
    command -v "$tool" > /dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "The .deb and the archive cannot be made without ${missing[*]}: install the packages dpkg and zstd." >&2
    exit 1
fi
if [ "$level" != none ] && [[ $(dpkg-deb --help) != *zstd* ]]; then
    echo "This system's dpkg-deb does not know zstd. Build on a newer one (Debian 12 has it), or with LEVEL=none." >&2
    exit 1
fi

desktop_files() { "$python" "$here/desktop_files.py" "$1" ${HOMEPAGE:+--homepage "$HOMEPAGE"} > /dev/null; }
if [ "$1" = --check ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    desktop_files "$work" # which refuses what is no homepage
    exit
fi
frozen=$(cd "$1" && pwd)
out=$(dirname "$frozen")
work=$(mktemp -d "$out/.linux-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$here/.."
read -r id version < <("$python" -c 'import qplayground as q; print(q.APPLICATION_ID, q.__version__)')
architecture=$(dpkg --print-architecture)
libc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)

# ---- .deb: the folder in /opt, a command and the desktop's files in /usr -----------------------------------------
deb=$work/deb
mkdir -p "$deb/DEBIAN" "$deb/opt" "$deb/usr/bin" "$deb/usr/share/doc/qplayground"
cp -al "$frozen" "$deb/opt/qplayground"
ln -s /opt/qplayground/qplayground "$deb/usr/bin/qplayground"
desktop_files "$deb/usr"
cp LICENSE "$deb/usr/share/doc/qplayground/copyright"
homepage=${HOMEPAGE:+$'\n'Homepage: $HOMEPAGE}
cat > "$deb/DEBIAN/control" <<CONTROL
Package: qplayground
Version: $version
Architecture: $architecture
Maintainer: The maintainers of qplayground <maintainers@localhost>
Section: science
Priority: optional$homepage
Installed-Size: $(du -sk "$deb/opt" "$deb/usr" | awk '{sum += $1} END {print sum}')
Depends: libc6 (>= $libc)$(sed 's/^/, /' packaging/debian-packages.txt | grep -v fonts | tr -d '\n')
Recommends: fonts-dejavu-core | fonts-freefont-ttf, shared-mime-info, desktop-file-utils
Description: see what quantization does to a language model
 Pick a Hugging Face causal model, tick precisions, type a prompt and compare: each
 precision loads in a process of its own and writes its text beside the others, while
 plots show its memory, speed and quality. Works offline, with or without a GPU.
CONTROL
chmod -R u+rwX,go+rX,go-w "$deb"
compression=("-Zzstd" "-z$level")
[ "$level" != none ] || compression=(-Znone)
dpkg-deb --root-owner-group "${compression[@]}" --build "$deb" "$out/qplayground_${version}_$architecture.deb"

# ---- AppDir: `appimagetool` makes an AppImage of it ---------------------------------------------------------------
app=$out/QPlayground.AppDir
rm -rf "$app"
mkdir -p "$app/usr/lib" "$app/usr/bin"
cp -al "$frozen" "$app/usr/lib/qplayground"
ln -s ../lib/qplayground/qplayground "$app/usr/bin/qplayground"
desktop_files "$app/usr"
ln -s usr/bin/qplayground "$app/AppRun"
ln -s "usr/share/applications/$id.desktop" "$app/$id.desktop"
ln -s "usr/share/icons/hicolor/scalable/apps/$id.svg" "$app/$id.svg"
ln -s "usr/share/icons/hicolor/256x256/apps/$id.png" "$app/.DirIcon"

# ---- the folder as it is ------------------------------------------------------------------------------------------
if [ "$level" != none ]; then
    tar -C "$out" --owner=0 --group=0 --sort=name -c "$(basename "$frozen")" |
        zstd -q -f -T0 "-$level" -o "$out/qplayground-$version-linux-$architecture.tar.zst"
fi
ls -l "$out"/*.deb
