"""Keycloak from Maven Central, made ready once and kept in the cache beside the jars of Apache Kafka.

A start of the distribution as it comes costs 70 seconds of a core: it builds itself, makes its tables and fills them.
Here all of that is done once, with fewer features, so that a start on a copy of the tables costs about ten.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.local.info import KafkaJarsError
from streams.local.jars import FETCH_SECONDS_MAX, MESSAGE_CHARS_MAX, find_java
from streams.local.probe import LOOPBACK, find_free_port
from tests.identity_providers.process import ServerProcess

VERSION: Final = "26.5.1"
ARTIFACT: Final = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
ADMIN: Final = "macaw-tests"
BUILD_SECONDS_MAX: Final = 300.0
START_SECONDS_MAX: Final = 240.0
NO_MAVEN: Final = "Keycloak is not cached, and there is no `mvn` to fetch it"
# Nothing here is tested, and each of them costs time at the start.
WITHOUT: Final = (
    "account,account-api,admin,admin-fine-grained-authz,authorization,ciba,client-policies,docker,impersonation,kerberos,openapi,"
    "par,passkeys,persistent-user-sessions,rolling-updates,step-up-authentication,update-email,user-event-metrics,"
    "web-authn"
)
BUILD: Final = ("build", "--db=dev-file", f"--features-disabled={WITHOUT}")
JVM: Final = (
    "-Xms64m",
    "-Xmx384m",
    "-XX:MaxMetaspaceSize=256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # the second compiler does not pay off within a few minutes
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",  # two seconds of a start; the classes are those that Maven checked
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",
    "-Duser.country=US",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED",
)

THREADS: Final = "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory"


class KeycloakError(Exception):
    """Keycloak cannot be fetched or made ready here."""


def choose_home() -> Path:
    """Return the folder of the cache: in XDG_CACHE_HOME, or in the user's cache."""
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "macaw" / f"keycloak-{VERSION}"


def why_no_keycloak(home: Path) -> str | None:
    """Return why Keycloak cannot run here, None if it can. Nothing is fetched, so Maven may still fail later."""
    try:
        find_java()
    except KafkaJarsError as error:
        return str(error)
    return None if is_ready(home) or shutil.which("mvn") else NO_MAVEN


def is_ready(home: Path) -> bool:
    mark = home / "ready"
    return mark.exists() and mark.read_text() == _wanted()


def prepare(home: Path) -> Path:
    """Fetch, build and fill a Keycloak, unless the cache has it; other processes wait. Raises KeycloakError."""
    if is_ready(home):
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.parent / f"{home.name}.lock"):
        if not is_ready(home):
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            _fetch(home)
            _run([*java_command(home), *BUILD], home, BUILD_SECONDS_MAX)
            _fill(home)
            (home / "ready").write_text(_wanted())  # last: a cache without it is made again
    return home


def admin_password(home: Path) -> str:
    """Return the password of the administrator in the prepared tables."""
    return (home / "admin-password").read_text()


def java_command(home: Path) -> list[str]:
    """Return the command that runs Keycloak's server with `home`: what `bin/kc.sh` runs, without its shell."""
    return [
        find_java(),
        *JVM,
        f"-Dkc.home.dir={home}",
        f"-Djboss.server.config.dir={home / 'conf'}",
        "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
        f"-Djava.util.concurrent.ForkJoinPool.common.threadFactory={THREADS}",
        "-Dpicocli.disable.closures=true",
        "-cp",
        str(home / "lib" / "quarkus-run.jar"),
        "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
    ]


def start_arguments(port: int) -> list[str]:
    """Return the arguments of a start on loopback. The issuer follows the `Host` of a request."""
    return [
        "start",
        "--optimized",
        "--http-enabled=true",
        f"--http-host={LOOPBACK}",
        f"--http-port={port}",
        "--hostname-strict=false",
        "--cache=local",
        "--log-level=warn",
    ]


def ready_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}/realms/master/.well-known/openid-configuration"


def copy_home(home: Path, folder: Path) -> Path:
    """Return a home in `folder` with tables of its own, and all else that of `home`."""
    folder.mkdir(parents=True)
    for name in ("lib", "conf", "providers", "themes"):
        (folder / name).symlink_to(home / name)
    shutil.copytree(home / "data", folder / "data")
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made if it is missing."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(home: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KeycloakError(NO_MAVEN)
    goal = ["dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={home}"]
    _run([maven, "-q", "-B", *goal], home, FETCH_SECONDS_MAX)
    archive = home / f"keycloak-quarkus-dist-{VERSION}.zip"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(home)
    archive.unlink()
    for found in (home / f"keycloak-{VERSION}").iterdir():
        found.rename(home / found.name)


def _fill(home: Path) -> None:
    """Start once on no tables: it makes them, the master realm and the administrator."""
    password = secrets.token_urlsafe(24)
    (home / "admin-password").touch(mode=0o600)
    (home / "admin-password").write_text(password)
    port = find_free_port()
    server = ServerProcess(home / "first-start.log")
    environ = {"KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": password}
    command = [*java_command(home), *start_arguments(port)]
    server.start(command, ready_url(port), seconds=START_SECONDS_MAX, environ=environ)
    server.stop()


def _run(command: Sequence[str], folder: Path, seconds: float) -> None:
    environ = dict(os.environ)
    if not environ.get("JAVA_HOME") and shutil.which("java") is None:  # Maven does not find the Java of the wheel
        environ["JAVA_HOME"] = str(Path(find_java()).parent.parent)
    try:
        subprocess.run(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        told = (str(error.stdout) + str(error.stderr)).strip()[-MESSAGE_CHARS_MAX:]
        raise KeycloakError(f"{Path(command[0]).name} failed for Keycloak: {told}") from error
    except subprocess.TimeoutExpired as error:
        raise KeycloakError(f"{Path(command[0]).name} did not end within {seconds:.0f} s for Keycloak") from error


def _wanted() -> str:
    return hashlib.sha256(repr((ARTIFACT, BUILD)).encode()).hexdigest()
