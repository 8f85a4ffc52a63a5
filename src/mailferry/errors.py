"""Every error that Mailferry raises on purpose, one exit code each.

    MailferryError
    ├── UserError            64  the command or file given makes no sense
    ├── ConfigError          78  the configuration is wrong
    ├── AuthError            77  a server refused who we say we are
    ├── Temporary            75  worth another try (carries retry_after, seconds)
    ├── Permanent            69  a server or disk says no, and will say so again
    ├── RemoteProtocolError  76  the other side broke its protocol (their bug)
    ├── LocalProtocolError   70  we broke ours (our bug)
    ├── ItemError             -  one message or folder; recorded as a failure, never ends a run
    ├── SafetyStop           65  it smells; the question must be answered by a human
    │   └── Busy             73  somebody else holds the mailbox
    ├── Fenced               74  our lease was taken over; stop at once, write nothing
    └── IntegrityError       71  the ledger or a store contradicts itself

Exit code 0: all well. 1: done, but some items failed (they are in the report). 2: wrong usage (click's own).
130: interrupted. The codes follow sysexits(3) where one fits. Retry lives in `copy/mailbox.py`, of
what is no message in `copy/items.py`.
What an error tells: what happened (`str`), to which object (`about`), what to do next (`advice`).
"""

from __future__ import annotations


class MailferryError(Exception):
    """Base of all: `message` says what happened, `about` to which object, `advice` what to do next."""

    exit_code = 70
    default_advice = ""

    def __init__(self, message: str, *, about: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.about = about
        self.advice = advice or self.default_advice


class UserError(MailferryError):
    exit_code = 64


class ConfigError(MailferryError):
    exit_code = 78


class AuthError(MailferryError):
    exit_code = 77
    default_advice = "check user name and password; for delegated access, the administrator's rights on the mailbox"


class Temporary(MailferryError):
    """Worth another try after `retry_after` seconds (None: the caller's own back-off)."""

    exit_code = 75
    default_advice = "run the same command again: it continues where it stopped"

    def __init__(self, message: str, *, about: str = "", advice: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, about=about, advice=advice)
        self.retry_after = retry_after


class Permanent(MailferryError):
    exit_code = 69


class RemoteProtocolError(MailferryError):
    exit_code = 76
    default_advice = "check that host and port belong to a server of this kind"


class LocalProtocolError(MailferryError):
    exit_code = 70
    default_advice = "this is a bug in Mailferry: please report it with the output of `mailferry log`"


class ItemError(MailferryError):
    """One message or folder could not be carried; it becomes a row in the ledger's failures."""

    exit_code = 1


class SafetyStop(MailferryError):
    exit_code = 65


class Busy(SafetyStop):
    exit_code = 73


class Fenced(MailferryError):
    exit_code = 74
    default_advice = "another run took this mailbox over; see `mailferry status`"


class IntegrityError(MailferryError):
    exit_code = 71


def explain(error: BaseException) -> str:
    """One error as text for people: what happened, to which object, what to do next.

    Errors that are not ours are shown by their type and text; secrets cannot occur in ours (see `secret.py`).
    """
    if not isinstance(error, MailferryError):
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = f"{error.about}: {error.message}" if error.about else error.message
    return f"{text}\n  → {error.advice}" if error.advice else text
