"""What Quorum is made of: the locked packages, their licences, what is known against them, and secrets that slipped in.

Tools for maintainers and CI (`make audit`, `make sbom`, `make licences`, `make secrets`); nothing here is imported by the
running product, and nothing here imports it but the format of an API key.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "deploy" / "supply" / "policy.toml"
FOLDER = ROOT / "docs" / "supply-chain"
