"""Retraining and serving meet: the training command writes into the folder that a server under load follows."""

import gzip
import shutil
from pathlib import Path

from tests.load import under_load
from tests.server_process import serving
from tests.training import made_up
from text_classifier import Client
from training.cli import main


def test_a_model_retrained_into_the_watched_folder_takes_over_with_no_failed_call(tmp_path: Path) -> None:
    data, models = made_up.write_files(tmp_path / "data"), tmp_path / "models"
    arguments = [
        *("reuters", "--name", "topic", "--data-dir", str(data), "--models", str(models)),
        *("--preset", "ngram", "--num-words", "20", "--min-count", "1", "--validation-samples", "8"),
    ]
    assert main(arguments) == 0
    with (
        serving(models, "--workers", "2") as server,
        under_load(server.address) as load,
        Client(server.address, timeout=60) as client,
    ):
        assert client.model("topic").version == 1
        assert main([*arguments, "--seed", "2"]) == 0
        for worker in (0, 1):
            server.event("model unloaded", model="topic", version=1, worker=worker)
        load.go_on()
        assert client.model("topic").version == 2
        assert client.classify(["oil"], model="topic")[0].version == 2


def test_a_model_trained_on_own_data_is_served_by_a_running_server(tiny_models: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_models, models)
    tickets = tmp_path / "tickets.csv.gz"
    rows = [
        f'{number},"Ticket {number},\nthe {word} again",{queue}'
        for number in range(100)
        for word, queue in (("invoice", "Abrechnung & Zahlung"), ("printer", "it"), ("door", "facility"))
    ]
    tickets.write_bytes(gzip.compress("\n".join(["id,body,queue", *rows]).encode()))
    with serving(models, "--workers", "1") as server, Client(server.address, timeout=60) as client:
        columns = ["--text-column", "body", "--label-column", "queue"]
        assert main(["--name", "support", "--data", str(tickets), *columns, "--models", str(models)]) == 0
        server.event("model in service", model="support", version=1)
        answers = client.classify(["No INVOICE yet", "printer on fire", "the door is locked"], model="support")
        assert [answer.label for answer in answers] == ["Abrechnung & Zahlung", "it", "facility"]
