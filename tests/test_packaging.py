"""What a user downloads and starts: the lock, the images, the licence."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_batch_gemini.batch.models import RETIRED

ROOT = Path(__file__).parents[1]
LOCKS = ["requirements.lock", "requirements-dev.lock"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["project"]["classifiers"]))
SERVICES = {
    "postgres",
    "local-cloud",
    "airflow-init",
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
}
# Written in two halves: this file too is searched.
REGISTRY_HOSTS = ["py" + "pi.org", "python" + "hosted.org", "conda" + ".org"]


def requirements(lock: str) -> dict[str, list[tuple[str, str]]]:
    """Return name → (version and marker, hashes) of a lock."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        requirement, _, hashes = line.partition(" --hash=")
        name, _, rest = requirement.partition("==")
        found.setdefault(name.strip(), []).append((rest.strip(), f"--hash={hashes}"))
    return found


def committed_files() -> list[Path]:
    """Return the files of the project, as git knows them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def interpolated(value: Any, environment: dict[str, str]) -> Any:
    """Fill ``${NAME:-default}`` as compose does."""
    if isinstance(value, dict):
        return {key: interpolated(member, environment) for key, member in value.items()}
    if isinstance(value, list):
        return [interpolated(member, environment) for member in value]
    if not isinstance(value, str):
        return value
    filled = re.sub(r"(?<!\$)\$\{(\w+):-([^}]*)\}", lambda m: environment.get(m[1]) or m[2], value)
    return filled.replace("$$", "$")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file with its defaults filled in."""
    read: dict[str, Any] = interpolated(yaml.safe_load((ROOT / "docker-compose.yaml").read_text()), {})
    return read


def env_file(path: Path) -> dict[str, str]:
    """Read an env file."""
    pairs = shlex.split(path.read_text(), comments=True)
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_has_its_version_and_hashes(lock: str) -> None:
    """Nothing is installed that was not seen before."""
    for name, versions in requirements(lock).items():
        for version, hashes in versions:
            assert re.match(r"[0-9]\S*", version), name
            assert re.fullmatch(r"(--hash=sha256:[0-9a-f]{64}\s*)+", hashes), name


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_no_option_and_no_address(lock: str) -> None:
    """It works with whatever registry the person has configured."""
    text = (ROOT / lock).read_text()
    assert "//" not in text
    assert [line for line in text.splitlines() if line.startswith("-") or line.lstrip().startswith("#")] == []


def test_the_locks_hold_what_the_project_declares() -> None:
    """A new dependency comes with a new lock."""
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    names = lambda texts: {re.split(r"[\[<>=!;~ ]", text)[0].lower() for text in texts}  # noqa: E731
    run = names(project["dependencies"]) | names(project["optional-dependencies"]["local"])
    assert run <= set(requirements("requirements.lock"))
    assert run | names(groups["dev"]) <= set(requirements("requirements-dev.lock"))


def test_the_two_locks_agree() -> None:
    """What the tests ran with is what the demo installs; another dependent may ask for it on more Pythons."""

    def installed(lock: str) -> dict[str, set[tuple[str, str]]]:
        return {
            name: {(version.partition(";")[0].strip(), hashes) for version, hashes in versions}
            for name, versions in requirements(lock).items()
        }

    demo, tests = map(installed, LOCKS)
    assert {name: tests.get(name) for name in demo} == demo


def test_what_says_for_which_pythons_the_package_is_says_the_same() -> None:
    """The classifiers, what pip obeys, what makes the environment, the lock's floor, the README."""
    from packaging.specifiers import SpecifierSet

    obeyed = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}.9" in obeyed] == PYTHONS
    lowest, highest = (python.replace(".", ", ") for python in (PYTHONS[0], PYTHONS[-1]))
    words = f"{', '.join(PYTHONS[:-1])} or {PYTHONS[-1]}"
    venv = (ROOT / "scripts/venv.sh").read_text()
    assert f"({lowest}) <= sys.version_info[:2] <= ({highest})" in venv
    assert " ".join(f"python{python}" for python in reversed(PYTHONS)) in venv
    assert f"No Python {words} that runs" in venv
    assert f"--universal --python-version {PYTHONS[0]} " in (ROOT / "Makefile").read_text()
    assert f"a machine with Python {words}," in (ROOT / "README.md").read_text()
    assert PROJECT["tool"]["mypy"]["python_version"] == PYTHONS[0]
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{PYTHONS[0].replace('.', '')}"


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("python", PYTHONS)
def test_each_supported_python_gets_one_version_of_each_package(python: str, lock: str) -> None:
    """Where versions differ by Python, the markers split them."""
    from packaging.markers import Marker

    environment = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    for name, versions in requirements(lock).items():
        markers = [version.partition(";")[2].strip() for version, _ in versions]
        matching = [marker for marker in markers if not marker or Marker(marker).evaluate(environment)]
        assert len(matching) <= 1, (name, markers)
        if "" in markers:
            assert len(markers) == 1, name


def test_no_file_names_the_host_of_a_package_registry() -> None:
    """Which registry is used is the user's matter."""
    found = [
        (str(path.relative_to(ROOT)), host)
        for path in committed_files()
        for host in REGISTRY_HOSTS
        if host in path.read_bytes().decode(errors="replace")
    ]
    assert found == []


def test_the_licence_is_the_one_declared() -> None:
    """The whole text of the Apache License 2.0."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text.splitlines()[0]
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_the_changelog_speaks_of_this_version() -> None:
    """Every release says what changed for the user."""
    assert f"## {PROJECT['project']['version']}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_compose_has_the_services_and_everything_is_health_checked_and_restarted(
    compose: dict[str, Any],
) -> None:
    """What stops is started again; what depends waits until its need is healthy."""
    services = compose["services"]
    assert {name for name, service in services.items() if not service.get("profiles")} == SERVICES
    for name, service in services.items():
        if name == "airflow-init":
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_compose_publishes_ports_on_loopback_only(compose: dict[str, Any]) -> None:
    """The UI asks for no password and the local cloud for no credentials."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:9090:9090", "127.0.0.1:8080:8080"]


def test_every_airflow_command_of_compose_exists(compose: dict[str, Any]) -> None:
    """Airflow's own parser takes them, health checks included."""
    from airflow.cli.cli_parser import get_parser

    services = compose["services"]
    for name in ["airflow-init", "api-server", "scheduler", "dag-processor", "triggerer"]:
        get_parser().parse_args(shlex.split(services[name]["command"]))
        check = shlex.split(services[name].get("healthcheck", {}).get("test", ["", ""])[1])
        if check[:1] == ["airflow"]:
            get_parser().parse_args(check[1:])


def test_every_airflow_setting_of_compose_exists(compose: dict[str, Any]) -> None:
    """A misspelt setting is silently ignored by Airflow, so it is looked up here."""
    from airflow.configuration import conf

    for name in compose["services"]["scheduler"]["environment"]:
        _, section, key = name.split("__")
        if section != "CELERY":  # that provider is in the Airflow image, not in the lock
            known = conf.configuration_description[section.lower()]["options"]
            assert key.lower() in known, name


def test_the_local_cloud_of_compose_starts_with_options_it_has(compose: dict[str, Any]) -> None:
    """Its address, project, bucket and dataset are those that the environment file gives to Airflow."""
    from argparse import ArgumentParser

    from airflow_batch_gemini.local.__main__ import add_arguments, settings_of

    parser = ArgumentParser()
    add_arguments(parser)
    settings = settings_of(parser.parse_args(shlex.split(compose["services"]["local-cloud"]["command"])))
    environment = env_file(ROOT / "config/local-cloud.env")
    hosts = {environment[f"{name}_EMULATOR_HOST"] for name in ("VERTEX_AI", "STORAGE", "BIGQUERY")}
    assert hosts == {settings.advertise}
    assert environment["GEMINI_BATCH_TRUSTED_HOSTS"] == "local-cloud"
    assert environment["AIRFLOW_VAR_GEMINI_BATCH_BUCKET"] == settings.bucket
    assert environment["AIRFLOW_VAR_GEMINI_BATCH_DATASET"] == settings.dataset
    assert environment["AIRFLOW_VAR_GEMINI_BATCH_LOCATION"] == settings.location
    assert f'"project": "{settings.project}"' in environment["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"]


@pytest.mark.parametrize("file", ["local-cloud.env", "google.env.example"])
def test_an_environment_file_gives_a_connection_airflow_can_read(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And names what the example DAGs ask for."""
    from airflow.models import Connection

    environment = env_file(ROOT / "config" / file)
    connection = Connection.from_json(environment["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    assert connection.conn_type == "google_cloud_platform"
    assert connection.extra_dejson["project"]
    assert {"AIRFLOW_VAR_GEMINI_BATCH_BUCKET", "AIRFLOW_VAR_GEMINI_BATCH_DATASET"} <= set(environment)


def test_the_file_for_google_points_at_nothing_local() -> None:
    """One variable too many there, and jobs would go to a stand-in."""
    names = env_file(ROOT / "config/google.env.example")
    assert [name for name in names if "EMULATOR" in name or "TRUSTED" in name] == []


def test_the_file_for_google_names_a_model_that_is_served() -> None:
    """Whoever only fills in the project gets jobs that run."""
    environment = env_file(ROOT / "config/google.env.example")
    assert environment["AIRFLOW_VAR_GEMINI_BATCH_MODEL"] not in RETIRED


def test_the_secrets_of_compose_are_long_enough(compose: dict[str, Any]) -> None:
    """A Fernet key of 32 bytes, a token secret of at least 64."""
    from cryptography.fernet import Fernet

    environment = compose["services"]["scheduler"]["environment"]
    Fernet(environment["AIRFLOW__CORE__FERNET_KEY"].encode())
    assert len(environment["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64


def test_the_image_copies_only_what_its_context_has() -> None:
    """Every source of a COPY exists and is let through by .dockerignore."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = re.findall(r"^COPY (?:--\S+ )*(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for copy in copies for source in copy.split()}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def _docker_compose() -> bool:
    docker = shutil.which("docker")
    return (
        bool(docker)
        and not subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not _docker_compose(), reason="no docker compose on this machine")
@pytest.mark.parametrize("profile", [[], ["--profile", "celery"]])
def test_docker_compose_reads_the_file(profile: list[str]) -> None:
    """Its own parser judges the whole file; no engine is needed for that."""
    command = ["docker", "compose", *profile, "config", "--quiet"]
    subprocess.run(command, cwd=ROOT, check=True, env=dict(os.environ))
