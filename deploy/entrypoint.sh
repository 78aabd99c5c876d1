#!/bin/sh
# Gives DAGSTER_HOME the dagster.yaml that lies beside this script, unless one of your own is there, and becomes the command.
set -eu
configuration=$(dirname "$0")/dagster.yaml
mkdir -p "$DAGSTER_HOME"
if [ ! -e "$DAGSTER_HOME/dagster.yaml" ]; then
    # Containers that share the folder may be here at the same moment.
    ln -sf "$configuration" "$DAGSTER_HOME/dagster.yaml" || [ -e "$DAGSTER_HOME/dagster.yaml" ]
fi
exec "$@"
