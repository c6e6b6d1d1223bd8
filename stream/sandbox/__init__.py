"""A simulated retail.red with switchable faults, for trials, the demo and the tests."""

from stream.sandbox.config import SandboxConfig
from stream.sandbox.server import Sandbox, SandboxProcess

__all__ = ["Sandbox", "SandboxConfig", "SandboxProcess"]
