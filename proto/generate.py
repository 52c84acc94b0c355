"""Generate glimpse/v1 from proto/glimpse/v1.

    python proto/generate.py              write the generated code (`make proto`)
    python proto/generate.py --check      exit 1 if the committed code is not what would be written
    python proto/generate.py --release    also take the contract as it is now for the baseline

The baseline, proto/baseline.binpb, is what `buf breaking` compares with: the contract of the last
release. Renew it in the commit that releases a version, and only there, so that until then every
change is compared with what is in users' hands.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGE = Path("glimpse/v1")
BIN = Path(sys.executable).parent  # where pip puts buf and the plugins of this very environment


def generate(out: Path) -> None:
    """Write *_pb2.py, *_pb2.pyi, *_pb2_grpc.py and *_pb2_grpc.pyi under `out`/glimpse/v1."""
    protos = sorted(str(p.relative_to(HERE)) for p in (HERE / PACKAGE).glob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"-I{well_known}"),
            f"--plugin=protoc-gen-mypy={BIN / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={BIN / 'protoc-gen-mypy_grpc'}",
            *(f"--python_out={out}", f"--grpc_python_out={out}"),
            *(f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"),
            *protos,
        ],
        cwd=HERE,
        check=True,
    )
    for stub in (out / PACKAGE).glob("types_pb2_grpc.py*"):
        stub.unlink()  # types.proto has no service: the plugins write an empty module


def drift(root: Path = ROOT) -> list[str]:
    """Return the names of generated files that are missing, stale or left over under `root`."""
    with tempfile.TemporaryDirectory() as temp:
        generate(Path(temp))
        fresh = _contents(Path(temp))
    committed = _contents(root)
    return sorted(n for n in fresh | committed if fresh.get(n) != committed.get(n))


def _contents(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (root / PACKAGE).glob("*_pb2*.py*")}


def release() -> None:
    """Write proto/baseline.binpb from the contract as it is now."""
    subprocess.run(
        [str(BIN / "buf"), "build", "--exclude-source-info", "-o", "baseline.binpb"],
        cwd=HERE,
        check=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate glimpse/v1 from proto/glimpse/v1.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    parser.add_argument("--release", action="store_true", help="renew proto/baseline.binpb too")
    arguments = parser.parse_args()
    if arguments.check:
        stale = drift()
        if stale:
            print(f"not what proto/ says: {', '.join(stale)}; run `make proto`", file=sys.stderr)
        return 1 if stale else 0
    for old in (ROOT / PACKAGE).glob("*_pb2*.py*"):
        old.unlink()
    generate(ROOT)
    if arguments.release:
        release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
