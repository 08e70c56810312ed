#!/bin/bash
# Which scans should be labelled next? Those that the network is most unsure of: cases in the order of their mean uncertainty, the highest first.
# Nothing is written; one prediction at a time goes through the pipe.
#   PATH=$PWD/build/bin:$PATH examples/label-next.sh MODEL.st.zst cases/*.st.zst
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 MODEL CASE..." >&2
    exit 2
fi

# A line of dbisl-info --json per case: the tensor's mean comes before the metadata with the id.
dbisl-predict --output uncertainty --compress=none "$@" | dbisl-info --json - |
    sed -E 's/.*"mean":([^,}]*).*"id":"([^"]*)".*/\1\t\2/' | sort -rg
