"""Each body of an event has its handler, and so its rule."""

from typing import get_args

from processors.handlers import HANDLERS
from processors.intake.authority import MAY_SIGN
from schemas.records import Body


def test_each_body_of_an_event_has_one_handler():
    assert HANDLERS.keys() == set(get_args(Body))


def test_each_body_that_a_role_may_sign_has_one_handler():
    assert HANDLERS.keys() == MAY_SIGN.keys()
