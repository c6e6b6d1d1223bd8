"""`segstream demo --postgres`: SQL typed in one window, the member in the other, and nothing left at the end."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DEMO = [sys.executable, "-m", "stream", "demo", "--postgres", "--plain"]
DEADLINE_S = 120


def after(lines: Iterator[str], text: str, until_s: float) -> str:
    """The first line that has this."""
    seen = []
    for line in lines:
        seen.append(line)
        if text in line:
            return line
        assert time.monotonic() < until_s, "".join(seen)
    raise AssertionError(f"it ended without {text!r}: {''.join(seen)}")


def test_what_is_typed_is_there_a_moment_later(tmp_path: Path) -> None:
    until_s = time.monotonic() + DEADLINE_S
    with (
        (tmp_path / "errors").open("w+") as errors,
        subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=errors, text=True) as process,  # noqa: S603 - our own
    ):
        try:
            assert process.stdout is not None
            lines = iter(process.stdout)
            after(lines, "type SQL in another window", until_s)
            psql, example = shlex.split(next(lines)), next(lines).strip()
            after(lines, "20 of 20 members in sync", until_s)
            typed = subprocess.run([*psql, "-c", example], capture_output=True, text=True, check=False)  # noqa: S603 - what it told
            assert typed.stdout == "INSERT 0 1\n", typed.stderr
            after(lines, "vip: 4711 is a member now", until_s)
            shown = after(lines, "21 of 21 members in sync", until_s)
            assert re.search(r" p50 \d+\.\d\d s", shown), shown
            other = example.replace("'vip'", "'other'")
            subprocess.run([*psql, "-c", other], capture_output=True, check=True)  # noqa: S603 - what it told
            after(lines, "segment other does not exist at retail.red", until_s)
            process.send_signal(signal.SIGINT)
            rest = list(lines)
        finally:
            process.kill()
        code = process.wait()
        errors.seek(0)
        assert (code, errors.read()) == (0, ""), rest
    assert any(re.fullmatch(r"  vip +1 members  equal\n", line) for line in rest)
    assert rest[-1].startswith("equal: 21 members after 2 changes in PostgreSQL")
