#!/bin/sh
# Fill a folder with wheels that benchmarks/gpu.py needs beside torch, accelerate and pyarrow, in requirements.lock's versions:
#     benchmarks/gpu_wheels.sh [FOLDER]        default: .gpu-wheels
# PYTHON is the interpreter that downloads, GPU_PYTHON_VERSION the device's, GPU_PLATFORMS what its wheels may be built for.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-.gpu-wheels}
python=${PYTHON:-.venv/bin/python}
gpu_python=${GPU_PYTHON_VERSION:-3.12}
platforms=${GPU_PLATFORMS:-manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64}
limit_mib=${GPU_WHEELS_MIB:-60}

locked() { sed -n "s/^\($1==[^ ;]*\).*/\1/p" requirements.lock; }

rm -rf "$folder"
mkdir -p "$folder"
set --
for platform in $platforms; do set -- "$@" --platform "$platform"; done
for name in transformers peft trl datasets dill multiprocess xxhash gguf \
    pydantic pydantic-core annotated-types typing-extensions typing-inspection hjson py-cpuinfo; do
    set -- "$@" "$(locked "$name")"
done
"$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
    --python-version "$gpu_python" -d "$folder" "$@"
# DeepSpeed is published as source; without its kernels, which we use none of, its wheel is plain Python.
DS_BUILD_OPS=0 "$python" -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$folder" "$(locked deepspeed)"

size=$(du -sm "$folder" | cut -f1)
echo "$folder: $(ls "$folder" | wc -l) wheels, $size MiB"
test "$size" -le "$limit_mib" || { echo "expected at most $limit_mib MiB" >&2; exit 1; }
