#!/usr/bin/env bash
# Build the fuzzer in build/fuzz and run it: tests/fuzz/run.sh PYTHON [libFuzzer's options and files]
#
# Without files: the seeds, the corpus in git and what earlier runs have found (build/fuzz/grown).
# With files: those alone, once each, which is how a finding is run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
shift
clang=${CLANG:-clang}
build=build/fuzz

CC=$clang LDSHARED="$clang -shared" DCMVEIL_FUZZ=1 \
    "$python" setup.py -q build -b $build --build-lib $build/lib
read -r include folder library others < <("$python" -c 'import sysconfig as s
print(s.get_path("include"), *map(s.get_config_var, ("LIBDIR", "LDVERSION", "LIBS")))')
"$clang" -O1 -g -fsanitize=fuzzer,address,undefined -DPYTHON="\"$(realpath -s "$python")\"" \
    -I"$include" tests/fuzz/driver.c -o $build/fuzz -rdynamic \
    -L"$folder" -Wl,-rpath,"$folder" "-lpython$library" $others

packages=$PWD/tests${PYTHONPATH:+:$PYTHONPATH}
PYTHONPATH=$packages "$python" -m fuzz.seeds $build
PYTHONPATH=$packages "$python" -m fuzz.corpus unpack $build/corpus
mkdir -p $build/grown $build/findings

inputs=($build/grown $build/seeds $build/corpus)
for argument in "$@"; do
    [ ! -f "$argument" ] || inputs=()
done
# Python's own allocator would hide from the sanitizer where a buffer ends; it frees little at exit.
export PYTHONPATH=$PWD/$build/lib:$packages PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=64
export UBSAN_OPTIONS=print_stacktrace=1
status=0
$build/fuzz -dict=$build/dicom.dict -max_len=4096 -timeout=20 -rss_limit_mb=2048 \
    -detect_leaks=0 -artifact_prefix=$build/findings/ "$@" "${inputs[@]}" || status=$?

# A log may be all that is left of a machine: `base64 -d > FILE` makes the input of it again.
for finding in $build/findings/*; do
    [ $status = 0 ] || [ ! "$finding" -nt $build/corpus ] ||
        printf '%s, in base64:\n%s\n' "$finding" "$(base64 -w 0 "$finding")"
done
exit $status
