"""Settings: which place decides, and what is said of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from authsrv.shell.settings import DEFAULTS, NAMES, Address, SettingsError, load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in NAMES:
        monkeypatch.delenv(f"AUTHSRV_{name.upper()}", raising=False)


def test_a_flag_is_above_the_environment_and_that_above_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place gives way to the one before it, setting by setting."""
    config = tmp_path / "authsrv.toml"
    config.write_text('lanes = 7\nbatch_max = 70\ndrain_s = 7.5\nschema = "seven"\n')
    monkeypatch.setenv("AUTHSRV_LANES", "8")
    monkeypatch.setenv("AUTHSRV_BATCH_MAX", "80")
    settings = load_settings({"lanes": "9", "batch_max": None}, config)
    assert (settings.lanes, settings.batch_max, settings.drain_s, settings.schema_name) == (9, 80, 7.5, "seven")


def test_the_first_place_that_names_a_database_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DSN by flag is not in the way of a data folder in the environment, nor that of one in the file."""
    config = tmp_path / "authsrv.toml"
    config.write_text('database = "postgresql://file"\n')
    assert load_settings({}, config).place["dsn"] == "postgresql://file"
    monkeypatch.setenv("AUTHSRV_DATA_DIR", "/environment")
    assert load_settings({}, config).place == {"data_dir": Path("/environment"), "dsn": None, "schema": "issuer"}
    flagged = load_settings({"database": "postgresql://flag"}, config)
    assert flagged.place == {"data_dir": None, "dsn": "postgresql://flag", "schema": "issuer"}


def test_two_databases_in_one_place_are_refused() -> None:
    """Nobody should have to know which one wins."""
    with pytest.raises(SettingsError, match="data_dir and database are both given"):
        load_settings({"data_dir": "/a", "database": "postgresql://b"})


def test_no_database_is_told_when_it_is_needed() -> None:
    """Not before: `version` needs none."""
    with pytest.raises(SettingsError, match="--data-dir DIR"):
        _ = load_settings({}).place


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7411", Address("127.0.0.1", 7411)),
        ("switch.example:0", Address("switch.example", 0)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: Address) -> None:
    """IPv6 stands in brackets, as in a URL."""
    assert load_settings({"listen": text}).listen == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["7411", "host:", ":7411", "host:65536", "host:-1", "::1:7411", "[::1]", "[host]:1", ""]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """With the value and the form that it needs."""
    with pytest.raises(SettingsError, match=r"--listen is .*HOST:PORT"):
        load_settings({"listen": text})


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("lanes", 1, 64),
        ("batch_max", 1, 10_000),
        ("waiting_max", 1, 1_000_000),
        ("connections_max", 1, 1_000_000),
        ("sessions_max", 1, 1_000_000),
    ],
)
def test_counts_have_bounds(name: str, low: int, high: int) -> None:
    """Both bounds are good, one beyond is not."""
    assert getattr(load_settings({name: str(low)}), name) == low
    assert getattr(load_settings({name: str(high)}), name) == high
    for wrong in (str(low - 1), str(high + 1), "many", "1.5"):
        with pytest.raises(SettingsError, match=f"--{name.replace('_', '-')} is {wrong}, which cannot be"):
            load_settings({name: wrong})


def test_workers_keep_to_cores_unless_told_otherwise() -> None:
    """Either word says it; a number of cores does not."""
    assert load_settings({}).keep_to_cores
    assert [load_settings({"keep_to_cores": word}).keep_to_cores for word in ("true", "false")] == [True, False]
    assert DEFAULTS["keep_to_cores"] == "true"
    with pytest.raises(SettingsError, match="--keep-to-cores is 2, which cannot be; give true or false"):
        load_settings({"keep_to_cores": "2"})


@pytest.mark.parametrize("wrong", ["0", "-1", "3601", "inf", "nan"])
def test_a_drain_has_an_end(wrong: str) -> None:
    """Every wait has a deadline."""
    with pytest.raises(SettingsError, match="--drain-s"):
        load_settings({"drain_s": wrong})


def test_all_mistakes_are_told_with_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in each place, all in one message."""
    config = tmp_path / "authsrv.toml"
    config.write_text('batch_max = "x"\nlain = 3\n')
    monkeypatch.setenv("AUTHSRV_WAITING_MAX", "none")
    with pytest.raises(SettingsError) as told:
        load_settings({"lanes": "0"}, config)
    message = str(told.value)
    assert "--lanes is 0" in message
    assert "AUTHSRV_WAITING_MAX is none" in message
    assert f"batch_max in {config} is x" in message
    assert f"{config}: there is no setting lain" in message


@pytest.mark.parametrize(
    "flags",
    [
        {"tls_key": "k"},
        {"tls_certificate": "c"},
        {"tls_client_ca": "a"},
    ],
)
def test_tls_settings_go_together(flags: dict[str, str]) -> None:
    """A switch that was meant to speak TLS never starts without."""
    with pytest.raises(SettingsError, match=r"tls_certificate.*give"):
        load_settings(flags)


@pytest.mark.parametrize("content", [b"lanes = ", b"\xff"])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """And so is one that is not there."""
    config = tmp_path / "authsrv.toml"
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings({}, config)
    config.write_bytes(content)
    with pytest.raises(SettingsError, match=r"authsrv\.toml is not TOML"):
        load_settings({}, config)


def test_a_password_is_in_no_repr_and_no_message() -> None:
    """A DSN holds one."""
    settings = load_settings({"database": "postgresql://owner:secret@host/x"})
    assert "secret" not in repr(settings) + str(settings)
    with pytest.raises(SettingsError) as told:
        load_settings({"database": "postgresql://owner:secret@host/x", "data_dir": "/a", "lanes": "0"})
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("wrong", ["Issuer", "1a", "a-b", "a" * 42, "", "a;drop"])
def test_a_schema_can_stand_in_sql(wrong: str) -> None:
    """It is put into statements by name."""
    with pytest.raises(SettingsError, match="--schema"):
        load_settings({"schema": wrong})


def test_the_sample_of_the_deployment_is_right() -> None:
    """What `deploy/` gives an operator to start from loads as it stands."""
    settings = load_settings({}, Path(__file__).parents[2] / "deploy" / "authsrv.toml")
    assert str(settings.listen) == "0.0.0.0:7411"
    assert settings.data_dir is None
