"""``python -m penstock.toolstack``: the process that keeps the domains. It is started when the first one is made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from penstock.toolstack.client import socket_path
from penstock.toolstack.errors import DomainError
from penstock.toolstack.service import serve


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="penstock.toolstack", description="Keep domains, and answer cosmos and 'penstock vm'.")
    parser.add_argument("--socket", type=Path, default=None, help="where to listen (only this user and root are heard)")
    parser.add_argument("--pool", type=int, default=4, metavar="N", help="ready-made empty machines to keep (4)")
    parser.add_argument("--until-empty", action="store_true", help="end with the last domain")
    options = parser.parse_args(arguments)
    try:
        serve(options.socket or socket_path(), pool_size=max(0, options.pool), until_empty=options.until_empty)
    except (DomainError, OSError) as error:
        print(f"penstock.toolstack: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
