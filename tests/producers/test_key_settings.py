"""The section `keys` of config.json: the stores that it names, and what is refused in it."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest

from producers.home.home import Home, TenantHome
from producers.home.keystores.errors import KeySettingsError
from tests.passphrase_keys import stores


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ([], "`keys` must be an object"),
        ({"store": "file"}, "`keys` must be an object of default, passphrase, roles, tokens"),
        ({"default": "usb"}, "`keys.default` is 'usb'; the stores are file, passphrase, keyring"),
        ({"default": ["file"]}, "`keys.default` is not a text"),
        ({"roles": {"monitor": "hsm"}}, "`keys.roles.monitor` is 'hsm'"),
        ({"roles": {"boss": "file"}}, "`keys.roles` has 'boss'"),
        ({"roles": "file"}, "`keys.roles` must be an object of strings"),
        ({"passphrase": "hunter2hunter2"}, "must be file:PATH or |COMMAND"),
        ({"passphrase": "file:"}, "must be file:PATH or |COMMAND"),
        ({"passphrase": "|'"}, "must be file:PATH or |COMMAND"),
        ({"passphrase": 5}, "must be file:PATH or |COMMAND"),
        ({"tokens": {"file": "pkcs11:token=a?module-path=/x"}}, "has the name 'file'"),
        ({"tokens": {"HSM": "pkcs11:token=a?module-path=/x"}}, "has the name 'HSM'"),
        ({"tokens": {"hsm": "token=a"}}, "must begin with `pkcs11:`"),
        ({"tokens": {"hsm": "pkcs11:?module-path=/x"}}, "must name the token"),
        ({"tokens": {"hsm": "pkcs11:token=a"}}, "must name its library"),
        ({"tokens": {"hsm": "pkcs11:token=a?module-path=x.so"}}, "an absolute path"),
        ({"tokens": {"hsm": "pkcs11:token=a?module-path=/x&pin-value=hunter2hunter2"}}, "may not have 'pin-value'"),
        ({"tokens": {"hsm": "pkcs11:token=a?module-path=/x&pin-source=hunter2hunter2"}}, "`pin-source`"),
        ({"tokens": {"hsm": "pkcs11:token=a;token=b?module-path=/x"}}, "a value once"),
        ({"tokens": {"hsm": "pkcs11:token=%f?module-path=/x"}}, "a value once"),
        ({"tokens": {"hsm": "pkcs11:token=%ff?module-path=/x"}}, "not UTF-8"),
        ({"tokens": {"hsm": "pkcs11:object=a?module-path=/x"}}, "'object' where it takes token"),
        ({"tokens": {"hsm": f"pkcs11:token={'a' * 3000}?module-path=/x"}}, "at most 2048"),
        (
            {"tokens": {"hsm": "pkcs11:token=a?module-path=/x"}, "roles": {"session": "hsm"}},
            "keys of role 'session' are many",
        ),
    ],
)
def test_wrong_settings_are_refused_by_name(tmp_path: Path, section: object, says: str) -> None:
    """A passphrase or PIN that stands in the wrong place is not repeated."""
    (tmp_path / ".macaw").mkdir()
    (tmp_path / ".macaw" / "config.json").write_text(json.dumps({"keys": section}))

    with pytest.raises(KeySettingsError) as raised:
        TenantHome("acme", tmp_path / ".macaw" / "tenants" / "acme").keys  # noqa: B018
    assert says in str(raised.value)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_the_section_survives_what_other_commands_write(tmp_path: Path) -> None:
    """As `macaw tenant create` writes the default tenant."""
    section = {"default": "passphrase", "passphrase": "file:p"}
    Home.create(tmp_path, {"bootstrap": "x:1"})
    config = tmp_path / ".macaw" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "keys": section}))
    home = Home.create(tmp_path, {"tenant": "acme"})

    assert json.loads(config.read_text()) == {"bootstrap": "x:1", "tenant": "acme", "keys": section}
    assert home.tenant().keys.settings.default == "passphrase"


def test_a_role_has_its_store(tmp_path: Path) -> None:
    """Those of sessions and calls never lie on a token, which would fill up."""
    tokens = {"hsm": "pkcs11:token=a?module-path=/x"}
    settings = stores(tmp_path, default="hsm", roles={"agent": "keyring"}, tokens=tokens).settings
    wanted = {"root": "hsm", "agent": "keyring", "service": "keyring", "session": "file", "call": "file"}
    assert {role: settings.store_for(role) for role in wanted} == wanted

    settings = stores(tmp_path, default="passphrase").settings
    assert [settings.store_for(role) for role in ("session", "call", "tool")] == ["passphrase", "file", "passphrase"]
