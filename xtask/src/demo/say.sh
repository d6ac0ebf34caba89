# How the demo's scripts talk; read by each of them. COLOR is always or never.

bold= plain=
[ "$COLOR" = never ] || bold=$(printf '\033[1m') plain=$(printf '\033[0m')

step() { # headline
    printf '\n%s==> %s%s\n' "$bold" "$1" "$plain"
}

fail() { # reason, files that may tell more...
    echo "error: $1" >&2
    shift
    for file in "$@"; do
        echo "--- the end of $file:" >&2
        tail -n 20 "$file" >&2
    done
    exit 1
}
