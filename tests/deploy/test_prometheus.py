"""The rules, the scrape configuration and the dashboard, with a real Prometheus that scrapes a real server."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
import yaml

from tests.addresses import OWN_HOST, free_port
from tests.server_process import ROOT, ServerProcess, serving
from text_classifier import Client
from textmodel import VersionFolder

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus (Debian: prometheus)")

FILES = ROOT / "deploy" / "prometheus"
RULES_TESTS = ("rules_test.yaml", "rules_long_test.yaml")
RULES = [rule for group in yaml.safe_load((FILES / "rules.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$model": ".*"}
"""What Grafana puts in their place: here, everything."""


class Prometheus:
    """A running Prometheus. `at` is the time that queries are about, in seconds of the epoch; None: now."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/api/v1"
        self.at: float | None = None

    def get(self, path: str, **parameters: str) -> Any:
        """Asks its HTTP API, which answers a query that is wrong with an HTTP error."""
        with urllib.request.urlopen(f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}", timeout=60) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[Any]:
        """Evaluates an expression: the vector of its time."""
        at = {} if self.at is None else {"time": str(self.at)}
        result: list[Any] = self.get("query", query=expression, **at)["result"]
        return result

    def has(self, *expressions: str) -> bool:
        """Tells whether all expressions have a value now. If so, later queries are about this time: a scrape that fails
        on a
        busy machine ends all series.
        """
        self.at = time.time()
        found = all(map(self.query, expressions))
        self.at = self.at if found else None
        return found

    def wait_until(self, holds: Callable[[], object]) -> None:
        """Asks until it holds: Prometheus tells nobody when it has scraped."""
        end = time.monotonic() + 120
        while True:
            try:
                if holds():
                    return
            except OSError:  # it does not listen yet
                pass
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture(scope="module")
def models(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good models, one with a shadow, both with label shares of training; and a version that is refused."""
    models = Path(shutil.copytree(tiny_models, tmp_path_factory.mktemp("deploy") / "models"))
    for name, counts in (("sentiment", (1, 3)), ("topic", (1, 2, 3, 4, 5))):
        folder = VersionFolder(models / name / "1")
        data_set = msgspec.structs.replace(folder.metadata.data_set, label_texts=counts)
        msgspec.structs.replace(folder.metadata, data_set=data_set).write(folder.metadata_file)
    shutil.copytree(models / "sentiment" / "1", models / "sentiment" / "2")
    (models / "sentiment" / "shadow").write_text("2")
    refused = shutil.copytree(models / "topic" / "1", models / "topic" / "2")
    (refused / "assets" / "labels.txt").write_text("one\n")
    return models


@pytest.fixture(scope="module")
def called(models: Path) -> Iterator[ServerProcess]:
    """A server that has had calls, good and bad."""
    with serving(models) as server, Client(server.address, timeout=60) as client:
        for model in ("sentiment", "topic"):
            client.classify(["a moving film", "oil and gas"], model=model)
        with pytest.raises(grpc.RpcError):
            client.classify([], model="topic")
        yield server


@pytest.fixture(scope="module")
def prometheus(called: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the server and evaluated the rules, each more than once."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((FILES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "200ms"}
    config["rule_files"] = [str(FILES / file) for file in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{called.event('metrics')['port']}"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"{OWN_HOST}:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log) as process,
    ):
        try:
            running = Prometheus(address)
            last = 'count_over_time(model:text_classifier_unknown_word_ratio:mean7d{model="topic"}[1m]) > 1'
            found = 'absent(ALERTS{alertname="TextClassifierDown"})'  # a scrape that is late is one that fails
            running.wait_until(lambda: running.has(last, "up == 1", found))
            yield running
        finally:
            process.terminate()


def selectors(expression: str) -> set[str]:
    """Finds the series that an expression names, with their label matchers."""
    series = re.sub(r"\b(by|on|without)\s*\([^)]*\)|\[\d\w*\]", "", expression)
    found = re.finditer(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()(\{[^}]*\})?", series)
    return {match[0] for match in found} - {"and", "or", "unless", "group_left"}


def of_panel(panel: dict[str, Any]) -> list[str]:
    """The panel's queries, as Grafana sends them."""
    queries = [target["expr"] for target in panel["targets"]]
    for variable, value in VARIABLES.items():
        queries = [query.replace(variable, value) for query in queries]
    return queries


def test_selectors_are_found() -> None:
    assert selectors('sum by (le) (rate(a_total{b!~"c[.]d", e="f"}[5m])) / 0.5 > 1 and on (g) max(job:h:rate1h)') == {
        'a_total{b!~"c[.]d", e="f"}',
        "job:h:rate1h",
    }


@pytest.mark.parametrize(
    "command",
    ["check rules rules.yaml", f"test rules {' '.join(RULES_TESTS)}", "check config prometheus.yml"],
)
def test_promtool_accepts_the_rules_their_unit_tests_and_the_configuration(command: str) -> None:
    done = subprocess.run(["promtool", *command.split()], cwd=FILES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_unit_test() -> None:
    tested = {
        case["alertname"]
        for file in RULES_TESTS
        for test in yaml.safe_load((FILES / file).read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert tested == {rule["alert"] for rule in RULES if "alert" in rule}


def test_the_status_codes_of_the_rules_exist() -> None:
    codes = {code.name.title().replace("_", "") for code in grpc.StatusCode}
    for rule in RULES:
        for named in re.findall(r'grpc_code!~"([^"]*)"', rule["expr"]):
            assert set(named.split("|")) <= codes


def test_the_rules_evaluate(prometheus: Prometheus) -> None:
    evaluated = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(evaluated) == len(RULES)
    assert {rule["health"] for rule in evaluated} == {"ok"}
    # The refused version, and nothing else: every alert needs what is not here.
    assert {alert["metric"]["alertname"] for alert in prometheus.query("ALERTS")} == {"TextClassifierVersionRefused"}


def test_the_rules_name_real_series_and_labels(prometheus: Prometheus) -> None:
    named = {selector for rule in RULES for selector in selectors(rule["expr"])}
    with_tls = ["text_classifier_tls_certificate_expiry_timestamp_seconds"]  # see service/security/test_tls.py
    assert [selector for selector in named if not prometheus.query(selector)] == with_tls


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_shows_something(panel: dict[str, Any], prometheus: Prometheus) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for query in of_panel(panel):
        shown = prometheus.query(query)
        assert shown
        assert [selector for selector in selectors(query) if not prometheus.query(selector)] == []
        # The legend's labels are there.
        legend = next(target["legendFormat"] for target in panel["targets"])
        assert set(re.findall(r"{{(\w+)}}", legend)) <= shown[0]["metric"].keys()


def test_the_dashboards_variables_have_values(prometheus: Prometheus) -> None:
    source, *variables = DASHBOARD["templating"]["list"]
    assert source["query"] == "prometheus"
    for variable in variables:
        matched = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"].replace("$instance", ".*"))
        assert matched
        assert prometheus.get(f"label/{matched[2]}/values", **{"match[]": matched[1]})
    assert {variable["name"] for variable in variables} >= {"instance", "model"}
