"""Are the committed *_pb2 files what protos/ generates? Writes them; with --check, only compares.

The generated package is `perigrid.wire.generated`; generated imports are rewritten to be relative to it.
"""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = ROOT / "runtime" / "perigrid" / "wire" / "generated"


def generate(into: pathlib.Path) -> None:
    from grpc_tools import protoc

    sources = sorted(PROTOS.glob("*.proto"))
    include = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTOS}", f"-I{include}"]
    arguments += [f"--python_out={into}", f"--pyi_out={into}", f"--grpc_python_out={into}"]
    if protoc.main([*arguments, *[str(s) for s in sources]]) != 0:
        raise SystemExit("protoc failed: see its message above")
    for path in into.glob("*_pb2*.py*"):
        text = re.sub(r"^import (\w+_pb2)", r"from . import \1", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)
    for path in into.glob("*_pb2_grpc.py"):
        text = path.read_text()
        if not re.search(r"class \w+Servicer", text):
            path.unlink()
    (into / "__init__.py").write_text('"""Generated from protos/ by `make proto`; do not edit."""\n')


def main() -> int:
    if "--check" not in sys.argv:
        GENERATED.mkdir(parents=True, exist_ok=True)
        for old in GENERATED.glob("*_pb2*"):
            old.unlink()
        generate(GENERATED)
        return 0
    with tempfile.TemporaryDirectory() as name:
        fresh = pathlib.Path(name)
        generate(fresh)
        names = {p.name for p in fresh.iterdir()} | {p.name for p in GENERATED.glob("*.py*")}
        stale = [n for n in sorted(names) if not _same(fresh / n, GENERATED / n)]
    for name in stale:
        print(f"runtime/perigrid/wire/generated/{name} differs from protos/: run `make proto` and commit")
    return 1 if stale else 0


def _same(one: pathlib.Path, other: pathlib.Path) -> bool:
    return one.exists() and other.exists() and one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
