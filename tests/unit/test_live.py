"""Following a study that runs: the page of the steps that are done, who may read it, and the terminal."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import threading
from pathlib import Path

import pytest
import yaml

from babelscope.cli import main
from babelscope.io.tables import write_table
from babelscope.ops import watching
from babelscope.ops.live import LivePage
from babelscope.ops.runs import Run
from babelscope.ops.serving import ADDRESS, PageServer, PortError
from babelscope.ops.status import DONE, WAITING, File, Progress
from babelscope.report.explorer.packing import unpack
from babelscope.results import open_study
from babelscope.study.loading import load_study
from mini_study import mini_config, write_text
from synthetic_explorer import KEPT, MODEL


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path, ["en", "de", "ru"])
    return load_study(mini_config())


def finish(step: int) -> None:
    """What the jobs of a step leave, as far as the page shows it."""
    results = Path("results/mini")
    for name in ("best", "audit"):
        (results / name / MODEL).mkdir(parents=True, exist_ok=True)
        shutil.copy(KEPT / name / MODEL / f"{step}.h5", results / name / MODEL / f"{step}.h5")
    overlap = open_study(KEPT).table("overlap")
    (results / "alignment" / MODEL).mkdir(parents=True, exist_ok=True)
    write_table(overlap[overlap["step"] == step], results / "alignment" / MODEL / f"{step}.overlap.parquet")


def header_of(page: str) -> dict:
    return unpack(re.search(r'data-block="study">([^<]+)<', page)[1])[0]


# --------------------------------------------------------------------------------------------------- the page


def test_the_page_grows_with_the_steps_that_are_done(study):
    page = LivePage(study)
    versions = [page.version()]
    nothing = page.html()
    assert "No step is done yet whose experts could be shown" in nothing
    assert f"{MODEL} 0 of 2" in nothing
    for step, shown in ((0, [0]), (4, [0, 4])):
        finish(step)
        versions.append(page.version())
        html = page.html()
        assert f'data-version="{versions[-1]}"' in html
        assert f"{MODEL} {len(shown)} of 2" in html
        (model,) = header_of(html)["models"]
        assert model["steps"] == shown
        assert model["tokens"] == [0, 768][: len(shown)]
        assert page.html() is html  # made once
    assert len(set(versions)) == 3
    # What is shown is what the finished study's own tables say.
    blocks = re.search(r'data-block="matrix/0">([^<]+)<', page.html())[1]
    table = open_study(KEPT).table("overlap")
    rows = table[(table["scope"] == "model") & (table["lang_a"] == "*") & (table["lang_b"] == "*")]
    found, arrays = unpack(blocks)
    pair, variant = found["pairs"].index(["*", "*"]), found["variants"].index("disjoint_lines")
    for step in (0, 4):
        wanted = rows[(rows["step"] == step) & (rows["variant"] == "disjoint_lines")]["overlap"].item()
        at = arrays["overlap"][found["steps"].index(step), found["layers"].index(-1), variant, pair]
        assert at / 65534 == pytest.approx(wanted, abs=1e-5)


def test_what_cannot_be_read_is_said_and_shown_when_it_can(study):
    finish(0)
    page, broken = LivePage(study), Path(f"results/mini/best/{MODEL}/0.h5")
    broken.write_bytes(b"<half>")
    assert "cannot be read at the moment" in page.html()
    assert "<half>" not in page.html()
    finish(0)
    assert header_of(page.html())["models"][0]["steps"] == [0]


# ------------------------------------------------------------------------------------------- who may read it


class Told:
    """A page that counts how often it was made."""

    made = 0

    def version(self) -> str:
        return "v1"

    def html(self) -> str:
        self.made += 1
        return "<p>grüße</p>"


@pytest.fixture
def server():
    with PageServer(Told(), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: PageServer, method: str, path: str = "/", **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=5)
    connection.request(method, path, headers={"Host": f"{ADDRESS}:{server.server_port}", **headers})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode("utf-8"), dict(answer.getheaders())
    connection.close()
    return found


def test_it_serves_its_page_to_this_machine(server):
    assert server.server_address[0] == "127.0.0.1"
    status, text, headers = ask(server, "GET", "/?any#x", Host=f"localhost:{server.server_port}")
    assert (status, text, headers["ETag"]) == (200, "<p>grüße</p>", '"v1"')
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    status, text, headers = ask(server, "HEAD")
    assert (status, text, headers["ETag"]) == (200, "", '"v1"')
    assert server.page.made == 1


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/", "evil.example", 421),
        ("GET", "/", "evil.example:{port}", 421),
        ("GET", "/", "127.0.0.1", 421),
        ("GET", "/", "", 421),
        ("HEAD", "/", "evil.example", 421),
        ("GET", "/../../etc/passwd", "127.0.0.1:{port}", 404),
        ("GET", "/results/mini/study.json", "127.0.0.1:{port}", 404),
        ("GET", "http://evil.example/x", "127.0.0.1:{port}", 404),
        ("POST", "/", "127.0.0.1:{port}", 501),
        ("PUT", "/x", "127.0.0.1:{port}", 501),
    ],
)
def test_nothing_else_is_answered(server, method, path, host, status):
    found, text, headers = ask(server, method, path, Host=host.format(port=server.server_port))
    assert found == status
    assert "grüße" not in text
    assert "ETag" not in headers
    assert server.page.made == 0


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            PortError, match=rf"port {port} of 127\.0\.0\.1: Address already in use\nhint: .*--port 0"
        ):
            PageServer(Told(), port)
    with pytest.raises(PortError, match="port 70000"):
        PageServer(Told(), 70000)


# ----------------------------------------------------------------------------------------------- the terminal


class Lab:
    """A run that is alive for so many looks, and what was shown of it."""

    def __init__(self, monkeypatch, alive: list[bool], states: list[str]):
        self.alive, self.states, self.shown, self.slept = iter(alive), iter(states), [], 0
        monkeypatch.setattr(watching, "recorded_runs", lambda _: [Run("here", 1, 0.0, "log")])
        monkeypatch.setattr(Run, "is_alive", property(lambda _: self.look()))

    def look(self) -> bool:
        return next(self.alive)

    def see(self) -> Progress:
        return Progress((File("a", "r", None, next(self.states)),), (), None)

    def show(self, progress: Progress, alive: bool) -> None:
        self.shown.append((progress.files[0].state, alive))

    def sleep(self, seconds: float) -> None:
        self.slept += 1


def test_it_follows_a_run_to_its_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab(monkeypatch, [False, True, True, False], [WAITING, WAITING, WAITING])
    last = watching.follow(tmp_path, lab.see, lab.show, sleep=lab.sleep)
    # Not shown again where nothing has changed; it waits for a run that has not begun.
    assert lab.shown == [(WAITING, False), (WAITING, True), (WAITING, False)]
    assert lab.slept == 3
    assert last.files[0].state == WAITING


def test_a_study_that_is_done_is_shown_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab(monkeypatch, [False], [DONE])
    watching.follow(tmp_path, lab.see, lab.show, sleep=lab.sleep)
    assert (lab.shown, lab.slept) == ([(DONE, False)], 0)


def test_a_file_that_is_added_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab(monkeypatch, [True, True, False], [WAITING, DONE, DONE])
    watching.follow(tmp_path, lab.see, lab.show, sleep=lambda _: (tmp_path / "tables").mkdir(exist_ok=True))
    assert lab.shown == [(WAITING, True), (DONE, True), (DONE, False)]


def test_the_command_names_what_is_wrong_before_it_looks(study, capsys):
    assert main(["watch", "--configfile", "none.yaml"]) == 1
    assert "none.yaml" in capsys.readouterr().err
    Path("study.yaml").write_text(yaml.safe_dump(mini_config()), encoding="utf-8")
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["watch", "--configfile", "study.yaml", "--page", "--port", port]) == 1
    assert f"port {port} of 127.0.0.1" in capsys.readouterr().err
