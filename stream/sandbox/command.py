"""segstream sandbox: the command line of the simulated retail.red."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream.errors import SettingsError, UsageError
from stream.sandbox.config import CLIENT_ID, CLIENT_SECRET, PASSWORD, USERNAME, SandboxConfig
from stream.sandbox.faults import FAULTS, Faults
from stream.sandbox.server import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.sandbox.app import App

UNAVAILABLE = 69


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT. The first line on stdout is the address. Returns an exit code."""
    args = _parser().parse_args(argv)
    if args.list_faults:
        for name, fault in FAULTS.items():
            choices = f" ({', '.join(fault.choices)})" if fault.choices else ""
            sys.stdout.write(f"{name}={_shown(fault.default)}  {fault.meaning}{choices}\n")
        return 0
    try:
        config = _config(args)
        asyncio.run(_serve(config))
    except (UsageError, SettingsError) as error:
        sys.stderr.write(f"segstream sandbox: {error}\n")
        return error.exit_code
    except ValueError as error:
        sys.stderr.write(f"segstream sandbox: {error}\n")
        return SettingsError.exit_code
    except OSError as error:
        sys.stderr.write(f"segstream sandbox: {error}\n")
        return UNAVAILABLE
    return 0


async def _serve(config: SandboxConfig) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # where the system has no signal handlers for loops
            loop.add_signal_handler(number, stop.set)

    def ready(url: str, _app: App) -> None:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    await serve(config, ready, stop)


def _config(args: argparse.Namespace) -> SandboxConfig:
    faults: dict[str, object] = dict(_fault(text) for text in args.fault)
    if args.latency_ms is not None:
        faults["latency_s"] = args.latency_ms / 1000
    if not 0 <= args.port <= 65_535:
        raise SettingsError(f"--port takes 0 to 65535, not {args.port}")
    try:
        Faults(args.seed, faults)
    except ValueError as error:
        raise SettingsError(f"--fault {error}") from None
    return SandboxConfig(
        host=args.host,
        port=args.port,
        merchant=args.merchant,
        client_id=args.client_id,
        client_secret=_secret(args.client_secret_file, CLIENT_SECRET),
        username=args.username,
        password=_secret(args.password_file, PASSWORD),
        segments=tuple(args.segment),
        create_segments=args.create_segments,
        load=args.load,
        save=args.save,
        seed=args.seed,
        faults=faults,
    )


def _fault(text: str) -> tuple[str, object]:
    """`NAME=VALUE`, the value as JSON where it is JSON, else as text."""
    name, mark, value = text.partition("=")
    if not mark:
        raise UsageError(f"--fault {text}: write NAME=VALUE")
    fault = FAULTS.get(name)
    if fault is not None and isinstance(fault.default, str):
        return name, value
    try:
        return name, msgspec.json.decode(value.encode())
    except msgspec.DecodeError:
        return name, value


def _secret(path: Path | None, default: str) -> str:
    return default if path is None else path.read_text(encoding="utf-8").strip()


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="segstream sandbox",
        description="Serve a simulated retail.red: segments, members, customers, tokens, and what may go wrong.",
        epilog="The first line printed is the address. /_sandbox/stats tells what was done to it.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=8099, help="0 picks a free one (default %(default)s)")
    add("--merchant", default="10006", help="the one merchant that it knows (default %(default)s)")
    add("--client-id", default=CLIENT_ID, help="default %(default)s")
    add("--client-secret-file", type=Path, help=f"file with the secret (default secret: {CLIENT_SECRET})")
    add("--username", default=USERNAME, help="for the password grant (default %(default)s)")
    add("--password-file", type=Path, help=f"file with the password (default password: {PASSWORD})")
    add("--segment", action="append", default=[], metavar="CODE", help="a fixed segment to begin with; repeatable")
    add("--create-segments", action="store_true", help="create unknown segments when members are added or removed")
    add("--load", type=Path, metavar="FILE", help="JSON lines with customers, segments and members")
    add("--save", type=Path, metavar="FILE", help="write the state there at the end")
    add("--latency-ms", type=float, metavar="N", help="every answer takes this long")
    add("--seed", type=int, default=1, help="of all chance (default %(default)s)")
    add("--fault", action="append", default=[], metavar="NAME=VALUE", help="what goes wrong; repeatable")
    add("--list-faults", action="store_true", help="print the faults with their defaults, and end")
    return parser
