"""docker-compose.yml, the image and the units: what can be seen of them without starting anything."""

import configparser
import re
import tomllib

import pytest
import yaml

from batchmill.settings.fields import variables_of
from batchmill.settings.groups import Settings, leaves
from cli.main import COMMANDS
from tests.support.compose import REPOSITORY, compose_file, new_env, services

PIN = re.compile(r"^([a-z0-9-]+)(?:\[[a-z0-9,]+\])?==(\S+)", re.MULTILINE)
DEPLOY = REPOSITORY / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def test_new_env_is_all_that_compose_asks_for() -> None:
    """With what new-env.sh prints, and with that alone, every variable of the file has a value; each time others."""
    one, other = new_env(), new_env()
    assert services(one).keys() == services(other).keys()
    assert one.keys() == other.keys()
    assert not set(one.values()) & set(other.values())
    for missing in (
        "BATCHMILL_KEYS_SECRET",
        "BATCHMILL_METRICS_TOKEN",
        "BATCHMILL_FLOWER_AUTH",
        "GRAFANA_PASSWORD",
    ):
        with pytest.raises(KeyError, match=missing):
            services({name: value for name, value in one.items() if name != missing})


def test_every_variable_that_our_services_get_is_one_of_ours() -> None:
    """A misspelt variable would be set for nobody."""
    known = {variable for _, field in leaves(Settings) for variable in variables_of(field)}
    for service in services(new_env()).values():
        if service.is_ours:
            assert service.environment.keys() <= known, service.name


def test_images_are_pinned_and_services_watched() -> None:
    """No service changes by itself, and each that stays says whether it is well; but beat, which listens nowhere."""
    for service in services(new_env()).values():
        assert re.search(r":v?\d+\.\d+", service.image), service.name
        if service.name not in ("beat", "migrate"):
            assert service.check, service.name


def test_nothing_is_open_beyond_this_machine() -> None:
    """Ports are this machine's alone."""
    ports = [port for service in compose_file()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_scrapes_services_there_are() -> None:
    """Each target is a service, where it tells its metrics, and the token is where its secret lies."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    found = services(new_env())
    targets = [
        target
        for job in config["scrape_configs"]
        for group in (*job.get("static_configs", ()), *job.get("dns_sd_configs", ()))
        for target in (
            *group.get("targets", ()),
            *(f"{name}:{group.get('port')}" for name in group.get("names", ())),
        )
        if job["job_name"] != "prometheus"
    ]
    for target in targets:
        name, _, port = target.partition(":")
        assert found[name].is_ours, target
        assert port in ("8400" if name == "api" else found[name].command), target
    assert {target.partition(":")[0] for target in targets} == {"api", "worker", "worker-high", "maintenance"}
    assert "/run/secrets/metrics_token" in (DEPLOY / "prometheus" / "prometheus.yml").read_text()


def test_the_image_has_what_the_package_needs_and_no_more() -> None:
    """Its pins are those that are tested, with every dependency and extra but google-generativeai; no test's."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    tested = dict(PIN.findall((REPOSITORY / "requirements.txt").read_text()))
    image = dict(PIN.findall((DEPLOY / "requirements.txt").read_text()))
    assert image.items() <= tested.items()
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(one for name, more in extras.items() if name != "gemini-legacy" for one in more),
    ]
    names = {re.match(r"[A-Za-z0-9-]+", one)[0].lower() for one in wanted}  # type: ignore[index]
    assert names <= image.keys()
    assert not {"pytest", "mypy", "google-generativeai", "anthropic", "moto"} & image.keys()


def test_the_image_s_parts_are_the_package_s() -> None:
    """What is copied into it is what the wheel is made of, and it does not run as root."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    assert re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE) == wheel["packages"]
    assert "\nUSER 10001\n" in dockerfile


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_start_commands_there_are(unit: object) -> None:
    """Each unit's command exists, is told alone to stop, and has longer for it than calls in flight have."""
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read(unit)  # type: ignore[call-overload]
    service = parsed["Service"]
    command = service["ExecStart"].split()
    assert command[0] == "/opt/batchmill/bin/batchmill"
    assert command[1] in COMMANDS
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 30
