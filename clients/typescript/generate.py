"""Writes ``quorum.d.ts`` from ``docs/openapi.yaml`` with openapi-typescript, which ``npm install`` puts here: ``make schema`` does both."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent.parent / "docs/openapi.yaml"


def main() -> None:
    tool = HERE / "node_modules/.bin/openapi-typescript"
    made = subprocess.run([tool, SCHEMA], capture_output=True, text=True, check=True).stdout  # noqa: S603  # our own tool and file
    # By this line a test knows, without node, that the types are of the document beside them.
    mark = f"// From docs/openapi.yaml, SHA-256 {hashlib.sha256(SCHEMA.read_bytes()).hexdigest()}"
    (HERE / "quorum.d.ts").write_text(f"{mark}\n{made}")


if __name__ == "__main__":
    main()
