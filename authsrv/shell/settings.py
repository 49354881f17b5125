"""Settings: by flag, by environment, by file, in this order; checked at the start, before anything is touched.

Each setting has one name everywhere: `--drain-s` on the command line, `AUTHSRV_DRAIN_S` in the environment, `drain_s`
in the TOML file of `--config`. What is wrong is told with the place that it came from, the value and what to write
instead, all mistakes at once. Where the database is, is one setting in two forms: the first place that names a data
folder or a DSN decides, and the places after it are not asked.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from authsrv.shell.key_file import load_keys
from authsrv.shell.logs import LogFormat, LogLevel
from ledger.shell.database import SCHEMA

PREFIX: Final = "AUTHSRV_"
PLACES: Final = ("data_dir", "database")
SECRET: Final = frozenset({"database"})


class SettingsError(Exception):
    """Settings that cannot be used; the message lists every mistake and what to do about it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(given: object) -> object:
    if not isinstance(given, str):
        return given
    host, colon, port = given.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 2**16) or (":" in host) != (
        "[" in given
    ):
        raise ValueError("not HOST:PORT, like 127.0.0.1:7411 or [::1]:7411")
    return Address(host, int(port))


HostPort = Annotated[Address, NoDecode, BeforeValidator(_address)]


class Settings(BaseSettings):
    """All settings of all commands; a command looks at those that it needs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_prefix_target="all", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    data_dir: Path | None = Field(None, description="the folder of the embedded database")
    database: SecretStr | None = Field(None, description="the DSN of a PostgreSQL server")
    schema_name: str = Field(
        SCHEMA,
        alias="schema",
        pattern="^[a-z][a-z0-9_]{0,40}$",
        description="the issuer's schema, where one is made: a letter, then up to 40 of a-z, 0-9 and _",
    )
    key_file: Path | None = Field(None, description="the file of the key-encryption key")
    operator: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="who gives the command, for the audit trail; else the login name",
    )
    why: str = Field("", description="why, for the audit trail")
    log_format: LogFormat = Field(LogFormat.KEY_VALUE, description="key-value or json")
    log_level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")

    listen: HostPort = Field(Address("127.0.0.1", 7411), description="where modules connect, HOST:PORT")
    tls_certificate: Path | None = Field(None, description="the certificate chain, PEM; TLS 1.3 where it is given")
    tls_key: Path | None = Field(None, description="the certificate's private key, PEM")
    tls_client_ca: Path | None = Field(
        None,
        description="the authorities whose client certificates are asked for, PEM; they list the modules they carry",
    )
    metrics: HostPort | None = Field(None, description="where a monitor reads metrics, HOST:PORT")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes on the port, 1 to 64; what follows is for each, metrics on one port after the other",
    )
    keep_to_cores: bool = Field(
        True,
        description="true or false: where there are as many workers as cores, each keeps to one, together with what"
        " works for it in a server on this host",
    )
    lanes: int | None = Field(
        None, ge=1, le=64, description="transactions at once, 1 to 64; else 2, or 1 in each of several workers"
    )
    batch_max: int = Field(256, ge=1, le=10_000, description="requests in a transaction at most, 1 to 10000")
    waiting_max: int = Field(4096, ge=1, le=1_000_000, description="requests that wait at most, 1 to 1000000")
    connections_max: int = Field(4096, ge=1, le=1_000_000, description="connections of modules at most, 1 to 1000000")
    sessions_max: int = Field(20_000, ge=1, le=1_000_000, description="sessions of modules at most, 1 to 1000000")
    drain_s: float = Field(10.0, gt=0, le=3600, description="seconds to finish in after SIGTERM, above 0 to 3600")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.data_dir is not None and self.database is not None:
            raise ValueError("data_dir and database are both given; give the one or the other")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together; give both or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key; give them too")
        if self.workers > 1 and not self.listen.port:
            raise ValueError("workers share one port: give listen a port that is not 0")
        return self

    @property
    def place(self) -> dict[str, Any]:
        """Where the database is, for `open_database`; raises `SettingsError` if nothing says it."""
        if self.data_dir is None and self.database is None:
            raise SettingsError(
                "nothing says where the database is: give --data-dir DIR for the embedded one, or --database DSN"
            )
        return {
            "data_dir": self.data_dir,
            "dsn": self.database.get_secret_value() if self.database else None,
            "schema": self.schema_name,
        }

    def key_encryption_key(self) -> bytes:
        """The 32 bytes that wrap all other keys; raises `KeyFileError`."""
        return self.key_encryption_keys()[0]

    def key_encryption_keys(self) -> tuple[bytes, ...]:
        """The same, and the one that is to take its place, where there is one; raises `KeyFileError`."""
        return load_keys(key_file=self.key_file, data_dir=self.data_dir)


DEFAULTS: Final = {
    field.alias or name: str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    for name, field in Settings.model_fields.items()
    if field.default is not None
}
NAMES: Final = {field.alias or name: field.description or "" for name, field in Settings.model_fields.items()}


def load_settings(flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Put the settings together.

    Args:
        flags: what the command line gave, by name; None is not given.
        config: the TOML file, if there is one.

    Raises:
        SettingsError: with every mistake.

    """
    given = {name: value for name, value in flags.items() if value is not None}
    written = {} if config is None else _read(config)
    environment = {name for name in NAMES if PREFIX + name.upper() in os.environ}
    for place in (given, environment, written):
        named = [name for name in PLACES if name in place]
        if named:
            given |= {name: None for name in PLACES if name not in named}
            break

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there is none
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there are none
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, written)

    def told(name: str, problem: str) -> str:
        if name not in NAMES:
            return problem if not name else f"{config}: there is no setting {name}; leave it out"
        if name in given:
            source, value = f"--{name.replace('_', '-')}", given[name]
        elif name in environment:
            source, value = PREFIX + name.upper(), os.environ[PREFIX + name.upper()]
        else:
            source, value = f"{name} in {config}", written.get(name)
        shown = "" if name in SECRET else f" is {value}"
        return f"{source}{shown}, which cannot be; give {NAMES[name]}"

    try:
        return Layered(**given)
    except ValidationError as error:
        mistakes = [
            told(str(each["loc"][0]) if each["loc"] else "", each["msg"].removeprefix("Value error, "))
            for each in error.errors(include_input=False, include_url=False)
        ]
    raise SettingsError("; ".join(dict.fromkeys(mistakes)))


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"the settings file {config} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {config} is not TOML: {error}") from None
