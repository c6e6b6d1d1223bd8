"""Every error this program raises on purpose.

SegstreamError                exit code
├── UsageError                2    the command line
├── SettingsError             78   a setting: names key, value and what is allowed
├── DataError                 65   what was read cannot be used (state of another topic, a missing column)
├── Unavailable               69   something outside does not answer; trying again may help
├── Unfinished                75   stopped before it was done (a drain that ran out of time)
├── AuthError                 77   credentials refused
└── Fenced                    75   this instance no longer owns what it acted for
"""

from __future__ import annotations


class SegstreamError(Exception):
    """An error with an exit code and one line for people; `advice` is what to do about it, perhaps a command."""

    exit_code = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class UsageError(SegstreamError):
    exit_code = 2


class SettingsError(SegstreamError):
    exit_code = 78


class DataError(SegstreamError):
    exit_code = 65


class Unavailable(SegstreamError):
    exit_code = 69


class Unfinished(SegstreamError):
    exit_code = 75


class AuthError(SegstreamError):
    exit_code = 77


class Fenced(SegstreamError):
    exit_code = 75
