"""Embedded servers: where they run, what they keep, and that nothing of them outlives their owner."""

import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from engine.embedded.accounts import Account, kept_folder, reachable_folder
from engine.embedded.processes import RECORD, Process, note, started_at, stop_recorded, write_record
from engine.embedded.servers import start_servers
from engine.errors import Misconfigured

pytestmark = pytest.mark.slow  # each starts servers of its own

Until = Callable[[Callable[[], bool]], None]


def test_they_answer_and_stop(folder: Path) -> None:
    with start_servers(folder, keep=False) as running:
        servers = running.servers
        with psycopg.connect(servers.database_url) as connection:
            shown = connection.execute(
                "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_database(),"
                " current_setting('max_locks_per_transaction')::int, current_setting('listen_addresses')"
            ).fetchone()
        assert shown == ("on", "on", "carillon", 512, "127.0.0.1")
        assert servers.redis_queue_url.endswith("/0")
        assert servers.redis_url.endswith("/1")
        with redis.Redis.from_url(servers.redis_url) as client:
            settings = {name: client.config_get(name)[name] for name in ("save", "appendonly", "bind")}
        assert settings == {"save": "", "appendonly": "no", "bind": "127.0.0.1"}
        assert running.dead() == []
        processes = [process.pid for process in running._processes]
    assert [started_at(pid) for pid in processes] == [None, None]
    assert not folder.exists()


def test_a_kept_folder_keeps_its_data(folder: Path) -> None:
    with start_servers(folder, keep=True) as running, psycopg.connect(running.servers.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        connection.commit()
        made = (folder / "postgres" / "PG_VERSION").stat().st_ctime_ns
    with start_servers(folder, keep=True) as running, psycopg.connect(running.servers.database_url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert (folder / "postgres" / "PG_VERSION").stat().st_ctime_ns == made


def test_only_what_was_put_there_is_deleted_from_a_folder_that_existed(folder: Path) -> None:
    folder.mkdir(mode=0o711)
    (folder / "mine.txt").write_text("kept")
    start_servers(folder, keep=False).stop()
    assert [entry.name for entry in folder.iterdir()] == ["mine.txt"]


def test_nothing_runs_after_the_owner_was_killed(folder: Path, owner: Callable, wait_until: Until) -> None:
    killed = owner(folder)
    assert sorted(process.name for process in killed.servers) == ["postgres", "redis"]
    killed.kill()
    wait_until(lambda: not any(process.is_alive for process in killed.servers))
    wait_until(lambda: not (folder / RECORD).exists())
    start_servers(folder, keep=True).stop()


def test_a_killed_owner_leaves_no_data_that_was_not_to_be_kept(
    folder: Path, owner: Callable, wait_until: Until
) -> None:
    owner(folder, keep=False).kill()
    wait_until(lambda: not folder.exists())


def test_what_a_killed_guardian_left_is_stopped_by_the_next_start(folder: Path, owner: Callable) -> None:
    killed = owner(folder)
    guardian = _parent_of(killed.servers[0].pid)
    os.kill(guardian, signal.SIGKILL)
    killed.kill()
    assert all(process.is_alive for process in killed.servers)
    with start_servers(folder, keep=True) as running:
        assert not any(process.is_alive for process in killed.servers)
        assert running.dead() == []


def test_the_guardian_obeys_sigterm(folder: Path, owner: Callable, wait_until: Until) -> None:
    left = owner(folder)
    os.kill(_parent_of(left.servers[0].pid), signal.SIGTERM)
    wait_until(lambda: not any(process.is_alive for process in left.servers))
    assert left.leave() == 0


def test_a_server_that_dies_is_named(folder: Path, wait_until: Until) -> None:
    with start_servers(folder, keep=False) as running:
        victim = next(process for process in running._processes if process.name == "redis")
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: running.dead() == ["redis"])


def test_a_folder_in_use_is_refused_naming_folder_and_pid(folder: Path, owner: Callable) -> None:
    other = owner(folder)
    with pytest.raises(Misconfigured) as refused:
        start_servers(folder, keep=True)
    assert str(folder) in refused.value.message
    assert str(other.process.pid) in refused.value.message
    assert all(process.is_alive for process in other.servers)


@pytest.mark.parametrize("wrong", ["start time", "folder"])
def test_a_recorded_pid_that_now_is_another_process_is_left_alone(
    folder: Path, owner: Callable, tmp_path: Path, wrong: str
) -> None:
    other = owner(folder)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    found = other.servers[0]
    if wrong == "start time":
        write_record(folder, [Process(found.name, found.pid, str(int(found.started) - 1))])
        assert stop_recorded(folder) == []
    else:
        write_record(stranger, [found])
        assert stop_recorded(stranger) == []
    assert all(process.is_alive for process in other.servers)


def test_another_version_s_data_is_refused(folder: Path) -> None:
    start_servers(folder, keep=True).stop()
    (folder / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(Misconfigured, match="holds data of PostgreSQL 9"):
        start_servers(folder, keep=True)


def test_an_initialisation_that_was_cut_short_is_done_again(folder: Path) -> None:
    folder.mkdir(mode=0o711)
    unfinished = folder / "postgres.new-cut"
    unfinished.mkdir()
    with start_servers(folder, keep=False) as running, psycopg.connect(running.servers.database_url):
        assert not unfinished.exists()


def test_urls_of_the_environment_are_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/carillon")
    monkeypatch.setenv("REDIS_URL", "redis://cache.example:6380/3?protocol=3")
    with start_servers(folder, keep=False) as running:
        assert running.servers.environment() == {
            "DATABASE_URL": "postgresql://db.example/carillon",
            "REDIS_URL": "redis://cache.example:6380/3?protocol=3",
            "REDIS_QUEUE_URL": "redis://cache.example:6380/0?protocol=3",
        }
        assert running.dead() == []
    monkeypatch.setenv("REDIS_URL", "redis://cache.example")
    assert start_servers(folder, keep=False).servers.redis_queue_url == "redis://cache.example/1"
    monkeypatch.setenv("REDIS_QUEUE_URL", "redis://queue.example")
    assert start_servers(folder, keep=False).servers.redis_queue_url == "redis://queue.example"


def test_only_what_the_environment_does_not_name_is_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/carillon")
    with start_servers(folder, keep=False) as running:
        assert [process.name for process in running._processes] == ["redis"]
        assert running.servers.database_url == "postgresql://db.example/carillon"


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")


@as_root
def test_as_root_the_servers_run_as_someone_else(folder: Path, owner: Callable) -> None:
    for process in owner(folder).servers:
        assert os.stat(f"/proc/{process.pid}").st_uid != 0


@as_root
def test_an_ordinary_user_can_start_them(place: Path, owner: Callable) -> None:
    nobody = pwd.getpwnam("nobody")
    home = place / "home"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    if not Account(nobody.pw_uid, nobody.pw_gid).can_enter(Path(sys.executable)):
        pytest.skip("this Python is closed to ordinary users")
    started = owner(home / "data", user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], cwd=home)
    assert len(started.servers) == 2
    assert all(os.stat(f"/proc/{process.pid}").st_uid == nobody.pw_uid for process in started.servers)
    assert started.leave() == 0


@as_root
def test_a_folder_that_the_account_cannot_enter_is_replaced_and_left_as_it_was(tmp_path: Path) -> None:
    home = tmp_path / "root"
    home.mkdir(mode=0o700)
    with start_servers(home / "data", keep=False) as running, psycopg.connect(running.servers.database_url):
        substitute = running.servers.folder
        assert not substitute.is_relative_to(home)
    assert not substitute.exists()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert list(home.iterdir()) == []


@as_root
def test_a_substitute_is_the_same_at_the_next_start_and_must_be_ours(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, temporary = place / "root", place / "tmp"
    home.mkdir(mode=0o700)
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    nobody = Account(pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    substitute = reachable_folder(home / "data", nobody, keep=True)
    assert substitute.parent == temporary
    assert reachable_folder(home / "data", nobody, keep=True) == substitute
    assert kept_folder(home / "data") == substitute  # where `carillon sim` finds it
    assert kept_folder(home / "elsewhere") == home / "elsewhere"
    nobody.own(substitute)
    with pytest.raises(Misconfigured, match="belongs to someone else"):
        reachable_folder(home / "data", nobody, keep=True)


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    me = note("me", os.getpid())
    assert me.is_alive
    assert not Process("me", me.pid, str(int(me.started) + 1)).is_alive
    assert me.works_in(Path.cwd())
    assert not me.works_in(Path.cwd() / "elsewhere")


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize(
    ("name", "number"), [("postgres", signal.SIGQUIT), ("redis", signal.SIGKILL)], ids=["postgres", "redis"]
)
def test_a_server_is_ended_and_started_again_on_its_port(folder: Path, name: str, number: signal.Signals) -> None:
    with start_servers(folder, keep=False) as running:
        with psycopg.connect(running.servers.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        running.end(name, number)
        assert running.dead() == [name]
        running.start_again(name)
        assert running.dead() == []
        with psycopg.connect(running.servers.database_url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        with redis.Redis.from_url(running.servers.redis_url) as client:
            assert client.ping()
    assert not folder.exists()
