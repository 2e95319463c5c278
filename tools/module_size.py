"""Is any module too long to hold in one's head? Fails where a source file passes 600 lines."""

import pathlib
import sys

LIMIT_LINES = 600


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    sources = [p for p in (root / "runtime").rglob("*.py") if "generated" not in p.parts]
    lengths = {p.relative_to(root): len(p.read_text().splitlines()) for p in sources}
    long = {path: lines for path, lines in lengths.items() if lines > LIMIT_LINES}
    for path, lines in sorted(long.items()):
        print(f"{path}: {lines} lines, the limit is {LIMIT_LINES}: split it by noun")
    print(f"modules: {len(lengths)}, longest {max(lengths.values())} lines")
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
