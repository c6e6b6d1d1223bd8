"""The whole demo, short and without a terminal: faults, a kill -9, and equal segments at the end."""

import subprocess
import sys


def test_it_ends_equal_after_faults_and_a_kill() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stream", "demo", "--duration-s", "8", "--rate", "150"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
    assert "429: 20% of requests" in done.stdout
    assert "5xx: 30% of requests" in done.stdout
    assert "members in sync" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("equal: ")
