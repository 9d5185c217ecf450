#!/bin/sh
# Write the hash-locked requirement files anew: `requirements.lock` (what runs Talkoot, and its build backend) and
# `requirements-dev.lock` (that, and what its tests need). No addresses stand in them. Give --upgrade for newer versions.
set -eu
cd "$(dirname "$0")/.."
for group in build dev; do
    case $group in build) file=requirements.lock ;; dev) file=requirements-dev.lock ;; esac
    uv pip compile --no-config --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
        --only-binary :all: --python-version 3.11 --group "$group" "$@" pyproject.toml --output-file "$file"
done
