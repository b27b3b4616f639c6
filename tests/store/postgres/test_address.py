"""Which addresses are this machine, and what is asked of the others."""

from pathlib import Path

import pytest

from segue.model.errors import StorageUnavailable
from segue.store.postgres.address import Address


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "place",
    ["", "localhost", "127.0.0.1:5433", "127.8.0.1", "[::1]", "a@/db?host=/run", "/?host=/a,/b"],
)
def test_this_machine_needs_no_certificate(place: str) -> None:
    parameters = Address.parse(f"postgresql://{place}").parameters
    assert "sslmode" not in parameters
    assert Address.parse(f"postgresql://{place}").parameters["client_encoding"] == "UTF8"


@pytest.mark.parametrize(
    "place",
    [
        "db.example", "10.0.0.1", "127.0.0.1.example", "127.example", "localhost,db.example",
        "localhost/?hostaddr=10.0.0.1", "?service=team",
    ],
)  # fmt: skip
def test_the_certificate_of_another_machine_is_verified(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    monkeypatch.setenv("HOME", str(tmp_path))
    parameters = Address.parse(f"postgresql://{place}").parameters
    assert parameters["sslmode"] == "verify-full"
    assert parameters["sslrootcert"] == str(authorities)
    joint = "&" if "?" in place else "/?"
    given = Address.parse(f"postgresql://{place}{joint}sslrootcert=/own.pem").parameters
    assert given["sslrootcert"] == "/own.pem"
    for mode in ("disable", "prefer", "require", "verify-ca"):
        with pytest.raises(StorageUnavailable, match="verify-full"):
            Address.parse(f"postgresql://{place}{joint}sslmode={mode}")


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGSERVICE"])
def test_a_host_in_the_environment_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "10.0.0.1")
    assert Address.parse("postgresql://").parameters["sslmode"] == "verify-full"
