"""The arguments that a client is made with, checked together before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from processors.policy.names import check_name
from processors.refusal import Refusal
from schemas.errors import MisuseError

USER = "user"
TYPES = ("agent", "service", "app", USER, "admin")
APP_OF_A_PERSON = "app"


class ArgumentsError(MisuseError, ValueError):
    """The arguments of a client contradict each other, or one is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The checked arguments. `principal` is the name that a program is registered with."""

    app: str
    principal: str
    app_version: str
    agent_type: str
    user_name: str | None
    token: str | None = field(repr=False)
    provider: str | None

    @classmethod
    def of(
        cls,
        *,
        app_name: str | None,
        app_version: str,
        agent_type: str,
        user_name: str | None,
        token: str | None,
        is_doubled: bool,
        provider: str | None,
        service_account: str | None,
    ) -> Self:
        """Return the arguments, checked. Raises ArgumentsError."""
        if agent_type not in TYPES:
            raise ArgumentsError(f"agent_type must be one of {', '.join(TYPES)}, got {str(agent_type)[:40]!r}")
        if is_doubled:
            raise ArgumentsError("iam_token and jwt_token are the same argument: give one of them")
        if token is not None and service_account is not None:
            raise ArgumentsError("iam_token is a person's and service_account a program's: give one of them")
        if token is not None and not str(token).strip():
            raise ArgumentsError("iam_token must be the text of a token")
        if agent_type == USER and token is None:
            raise ArgumentsError('agent_type="user" needs iam_token: a token of the person\'s identity provider')
        app = app_name or (APP_OF_A_PERSON if token is not None else service_account)
        if not app:
            raise ArgumentsError("app_name is missing: it is the name that the program is registered with")
        principal = service_account or app
        if token is None:
            _check_principal(principal)
        return cls(
            app=app,
            principal=principal,
            app_version=app_version,
            agent_type=agent_type,
            user_name=user_name,
            token=None if token is None else token.strip(),
            provider=provider,
        )


def _check_principal(name: str) -> None:
    try:
        check_name(name)
    except Refusal as exc:
        raise ArgumentsError(f"app_name {name[:80]!r} cannot be a program's: {exc.detail}") from exc
