"""Ordinary use of a node through the Docker SDK for Python. Prints one line per case: ok NAME, or not ok NAME: why."""
import io
import os
import sys
import tarfile
import time
import traceback

import docker
from docker import errors, types

IMAGE = os.environ["TEST_IMAGE"]
client = docker.from_env(timeout=30)
cases = []


def case(function):
    cases.append(function)
    return function


def run(command, **options):
    return client.containers.run(IMAGE, command, **options)


def forget(image):
    try:
        client.images.remove(image, force=True)
    except errors.ImageNotFound:
        pass


@case
def ping_version_info():
    assert client.ping()
    assert client.version()["ApiVersion"]
    info = client.info()
    assert info["Containers"] >= 0 and info["Driver"] == "overlay2"


@case
def run_and_output():
    assert run("echo hello", remove=True) == b"hello\n"
    assert run(["sh", "-c", "echo out; echo err >&2"], remove=True, stderr=True) in (b"out\nerr\n", b"err\nout\n")


@case
def container_error_has_exit_status():
    try:
        run("false", remove=True)
        raise AssertionError("no error")
    except errors.ContainerError as error:
        assert error.exit_status == 1


@case
def image_not_found():
    try:
        client.containers.create("no-such-image-here")
        raise AssertionError("no error")
    except errors.ImageNotFound as error:
        assert error.status_code == 404


@case
def life_of_a_container():
    box = run("sleep 300", detach=True, name="py-life", labels={"suite": "py"})
    try:
        assert box.status in ("created", "running")
        box.reload()
        assert box.status == "running"
        assert client.containers.get("py-life").id == box.id
        assert box.id in [c.id for c in client.containers.list(filters={"label": "suite=py"})]
        box.pause()
        box.reload()
        assert box.status == "paused"
        box.unpause()
        box.rename("py-life-2")
        box.reload()
        assert box.name == "py-life-2"
        box.update(mem_limit="64m", memswap_limit="128m")
        box.reload()
        assert box.attrs["HostConfig"]["Memory"] == 64 * 1024 * 1024
        box.restart(timeout=0)
        box.reload()
        assert box.status == "running"
        box.stop(timeout=0)
        assert box.wait()["StatusCode"] == 137
        box.start()
        box.kill()
        assert box.wait(condition="not-running")["StatusCode"] == 137
    finally:
        box.remove(force=True)
    try:
        client.containers.get(box.id)
        raise AssertionError("still there")
    except errors.NotFound:
        pass


@case
def name_conflict_is_409():
    box = client.containers.create(IMAGE, "true", name="py-conflict")
    try:
        client.containers.create(IMAGE, "true", name="py-conflict")
        raise AssertionError("no error")
    except errors.APIError as error:
        assert error.status_code == 409 and "is already in use" in error.explanation
    finally:
        box.remove()


@case
def remove_running_is_409():
    box = run("sleep 60", detach=True)
    try:
        box.remove()
        raise AssertionError("no error")
    except errors.APIError as error:
        assert error.status_code == 409
    finally:
        box.remove(force=True)


@case
def exec_in_a_container():
    box = run("sleep 300", detach=True)
    try:
        result = box.exec_run("echo hi")
        assert (result.exit_code, result.output) == (0, b"hi\n")
        result = box.exec_run(["sh", "-c", "echo o; echo e >&2; exit 3"], demux=True)
        assert result.exit_code == 3 and result.output == (b"o\n", b"e\n"), result
        result = box.exec_run("id -u", user="1000")
        assert result.output == b"1000\n"
        result = box.exec_run("pwd", workdir="/tmp")
        assert result.output == b"/tmp\n"
        result = box.exec_run(["sh", "-c", "echo $A"], environment={"A": "b"})
        assert result.output == b"b\n"
        chunks = box.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True).output
        assert b"".join(chunks) == b"1\n2\n"
        _, sock = box.exec_run("cat", stdin=True, socket=True)
        raw = sock._sock if hasattr(sock, "_sock") else sock
        raw.sendall(b"typed\n")
        raw.shutdown(1)
        data = b""
        while True:
            part = raw.recv(4096)
            if not part:
                break
            data += part
        assert data.endswith(b"typed\n"), data
        sock.close()
        made = client.api.exec_create(box.id, "sleep 1", tty=True)
        client.api.exec_start(made["Id"], detach=True, tty=True)
        client.api.exec_resize(made["Id"], height=20, width=60)
        seen = client.api.exec_inspect(made["Id"])
        assert seen["Running"] is True and seen["Pid"] > 0 and seen["ExitCode"] is None
        box.pause()
        try:
            client.api.exec_create(box.id, "true")
            raise AssertionError("no error")
        except errors.APIError as error:
            assert error.status_code == 409
        box.unpause()
    finally:
        box.remove(force=True)


@case
def logs():
    box = run(["sh", "-c", "echo one; echo two >&2; echo three"], detach=True)
    try:
        box.wait()
        assert box.logs(stderr=False) == b"one\nthree\n"
        assert box.logs(stdout=False) == b"two\n"
        assert len(box.logs(tail=1).splitlines()) == 1
        assert box.logs(timestamps=True, stderr=False).split()[0].endswith(b"Z")
        assert b"".join(box.logs(stream=True, follow=True)).count(b"\n") == 3
        assert box.logs(since=int(time.time()) + 100) == b""
        assert box.logs(until=1) == b""
    finally:
        box.remove()


@case
def attach():
    box = client.containers.create(IMAGE, "cat", stdin_open=True)
    try:
        sock = box.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        raw = sock._sock if hasattr(sock, "_sock") else sock
        box.start()
        raw.sendall(b"hello\n")
        data = raw.recv(8)
        while len(data) < 14:
            data += raw.recv(64)
        assert data[:8] == b"\x01\0\0\0\0\0\0\x06" and data[8:] == b"hello\n", data
        sock.close()
    finally:
        box.remove(force=True)
    assert box.attrs is not None


@case
def archives():
    box = run("sleep 300", detach=True)
    try:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo("folder/file.txt")
            member.size = 5
            member.mode = 0o640
            tar.addfile(member, io.BytesIO(b"hello"))
        assert box.put_archive("/tmp", buffer.getvalue())
        assert box.exec_run("cat /tmp/folder/file.txt").output == b"hello"
        stream, stat = box.get_archive("/tmp/folder")
        assert stat["name"] == "folder" and stat["mode"] & (1 << 31)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            assert tar.getnames() == ["folder", "folder/file.txt"], tar.getnames()
        try:
            box.get_archive("/no/such")
            raise AssertionError("no error")
        except errors.NotFound:
            pass
        kinds = {change["Path"]: change["Kind"] for change in box.diff()}
        assert kinds["/tmp"] == 0 and kinds["/tmp/folder/file.txt"] == 1, kinds
        names = tarfile.open(fileobj=io.BytesIO(b"".join(box.export()))).getnames()
        assert any(name.endswith("tmp/folder/file.txt") for name in names)
    finally:
        box.remove(force=True)


@case
def stats_and_top():
    box = run("sleep 300", detach=True)
    try:
        stats = box.stats(stream=False)
        assert stats["memory_stats"]["usage"] > 0 and stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
        assert stats["precpu_stats"]["system_cpu_usage"] > 0
        assert stats["id"] == box.id and stats["pids_stats"]["current"] == 1
        stream = box.stats(decode=True, stream=True)
        assert next(stream)["name"] == "/" + box.name
        top = box.top()
        assert any("sleep 300" in " ".join(row) for row in top["Processes"])
        assert "PID" in box.top(ps_args="aux")["Titles"]
    finally:
        box.remove(force=True)


@case
def host_config_is_kept_and_works():
    box = run(
        ["sh", "-c", "id -u; hostname; ulimit -n; cat /proc/sys/net/core/somaxconn; touch /x; sleep 300"],
        detach=True,
        user="1000:1000",
        hostname="boxy",
        ulimits=[types.Ulimit(name="nofile", soft=64, hard=128)],
        sysctls={"net.core.somaxconn": "777"},
        read_only=True,
        tmpfs={"/run": "size=1m"},
        cap_drop=["ALL"],
        cap_add=["NET_ADMIN"],
        pids_limit=50,
        cpu_shares=512,
        cpu_period=100000,
        cpu_quota=50000,
        mem_reservation="32m",
        mem_limit="64m",
        mem_swappiness=10,
        oom_score_adj=500,
        shm_size="32m",
        extra_hosts={"db": "10.1.2.3"},
        dns=["10.9.8.7"],
        group_add=["44"],
        environment={"A": "b"},
        log_config=types.LogConfig(type="json-file", config={"max-size": "1m", "max-file": "2"}),
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 5},
        security_opt=["no-new-privileges"],
        init=True,
        labels={"a": "b"},
        stop_signal="SIGINT",
        working_dir="/tmp",
        entrypoint=None,
    )
    try:
        lines = wait_for(lambda: box.logs(stderr=False).decode().split("\n"), lambda got: len(got) >= 5)
        assert lines[:4] == ["1000", "boxy", "64", "777"], lines
        host = box.attrs["HostConfig"]
        box.reload()
        host = box.attrs["HostConfig"]
        assert host["CpuShares"] == 512 and host["PidsLimit"] == 50 and host["ShmSize"] == 32 * 1024 * 1024
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
        assert host["CapDrop"] == ["ALL"] and host["Ulimits"] == [{"Name": "nofile", "Hard": 128, "Soft": 64}]
        assert host["Tmpfs"] == {"/run": "size=1m"} and host["Init"] is True
        config = box.attrs["Config"]
        assert config["User"] == "1000:1000" and config["StopSignal"] == "SIGINT" and config["Env"][0] == "A=b"
        assert "10.1.2.3\tdb" in box.exec_run("cat /etc/hosts").output.decode()
        assert "nameserver 10.9.8.7" in box.exec_run("cat /etc/resolv.conf").output.decode()
        assert "Read-only" in box.exec_run("touch /x").output.decode()
    finally:
        box.remove(force=True)


def wait_for(read, good):
    deadline = time.time() + 15
    while True:
        value = read()
        if good(value):
            return value
        if time.time() > deadline:
            raise AssertionError("never: %r" % (value,))
        time.sleep(0.05)


@case
def health():
    box = run(
        "sleep 300",
        detach=True,
        healthcheck={"test": ["CMD", "true"], "interval": 10**9, "timeout": 10**9, "retries": 1},
    )
    try:
        wait_for(lambda: (box.reload(), box.attrs["State"]["Health"]["Status"])[1], lambda s: s == "healthy")
        assert box.id in [c.id for c in client.containers.list(filters={"health": "healthy"})]
    finally:
        box.remove(force=True)


@case
def volumes():
    volume = client.volumes.create(name="py-vol", labels={"suite": "py"})
    try:
        assert volume.attrs["Driver"] == "local" and volume.attrs["Scope"] == "local"
        assert volume.id in [v.id for v in client.volumes.list(filters={"label": "suite=py"})]
        mounts = {"py-vol": {"bind": "/data", "mode": "rw"}}
        run(["sh", "-c", "echo kept > /data/file"], volumes=mounts, remove=True)
        assert run("cat /data/file", volumes=mounts, remove=True) == b"kept\n"
        box = client.containers.create(IMAGE, "true", volumes=mounts)
        try:
            volume.remove()
            raise AssertionError("no error")
        except errors.APIError as error:
            assert error.status_code == 409
        finally:
            box.remove()
        mount = types.Mount("/m", "py-vol", type="volume", read_only=True)
        assert b"kept" in run("cat /m/file", mounts=[mount], remove=True)
    finally:
        volume.remove()
    try:
        client.volumes.get("py-vol")
        raise AssertionError("no error")
    except errors.NotFound:
        pass
    client.volumes.prune()


@case
def volume_of_options():
    volume = client.volumes.create(
        name="py-tmpfs", driver="local", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    )
    try:
        output = run(["sh", "-c", "mount | grep /data"], volumes={"py-tmpfs": {"bind": "/data"}}, remove=True)
        assert b"tmpfs" in output, output
        assert volume.attrs["Options"]["type"] == "tmpfs"
    finally:
        volume.remove()


@case
def networks():
    network = client.networks.create("py-net", driver="bridge", labels={"suite": "py"})
    try:
        assert network.id in [n.id for n in client.networks.list(filters={"label": "suite=py"})]
        one = run("sleep 300", detach=True, name="py-one", network="py-net")
        two = run("sleep 300", detach=True, name="py-two")
        try:
            network.connect(two, aliases=["zwei"])
            result = one.exec_run("ping -c 1 -W 2 zwei")
            assert result.exit_code == 0, result.output
            network.reload()
            assert {c.name for c in network.containers} == {"py-one", "py-two"}
            network.disconnect(two)
        finally:
            one.remove(force=True)
            two.remove(force=True)
    finally:
        network.remove()


@case
def published_port():
    box = run(["sh", "-c", "while true; do echo pong | nc -l -p 8080; done"], detach=True, ports={"8080/tcp": None})
    try:
        box.reload()
        port = box.ports["8080/tcp"][0]["HostPort"]
        import socket

        def read():
            try:
                with socket.create_connection(("127.0.0.1", int(port)), 2) as link:
                    return link.recv(10)
            except OSError:
                return b""

        wait_for(read, lambda data: data == b"pong\n")
    finally:
        box.remove(force=True)


@case
def images():
    image = client.images.get(IMAGE)
    assert image.tags and image.attrs["Os"] == "linux"
    assert image.tag("py-copy", "v1")
    assert client.images.get("py-copy:v1").id == image.id
    data = b"".join(client.images.get("py-copy:v1").save())
    client.images.remove("py-copy:v1")
    assert any(image.id == loaded.id for loaded in client.images.load(data))
    assert image.history()
    client.images.remove("py-copy:v1") if "py-copy:v1" in client.images.get(image.id).tags else None


@case
def commit():
    box = run(["sh", "-c", "echo committed > /note"], detach=True)
    box.wait()
    try:
        image = box.commit(repository="py-commit", tag="1", message="a note", author="py", changes="CMD [\"cat\", \"/note\"]")
        assert client.containers.run("py-commit:1", remove=True) == b"committed\n"
        assert image.attrs["Comment"] == "a note" and image.attrs["Author"] == "py"
    finally:
        box.remove()
        forget("py-commit:1")


@case
def build():
    dockerfile = "FROM %s\nRUN echo built > /note\nLABEL suite=py\nCMD [\"cat\", \"/note\"]\n" % IMAGE
    image, _ = client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag="py-build:1", rm=True)
    try:
        assert client.containers.run("py-build:1", remove=True) == b"built\n"
        assert image.labels == {"suite": "py"}
    finally:
        forget("py-build:1")


@case
def events_of_a_container():
    start = int(time.time()) - 1
    box = run("true", detach=True, name="py-events", labels={"suite": "py"})
    box.wait()
    box.remove()
    end = int(time.time()) + 1
    seen = [
        event["Action"]
        for event in client.events(since=start, until=end, filters={"container": "py-events"}, decode=True)
    ]
    wanted = ["create", "start", "die", "destroy"]
    assert [action for action in seen if action in wanted] == wanted, seen


@case
def prune_and_df():
    client.containers.create(IMAGE, "true", labels={"prune": "me"})
    result = client.containers.prune(filters={"label": ["prune=me"]})
    assert len(result["ContainersDeleted"]) == 1
    df = client.df()
    assert isinstance(df["Images"], list) and isinstance(df["Containers"], list) and isinstance(df["Volumes"], list)
    client.networks.prune()
    client.images.prune()
    client.volumes.prune()


def main():
    failed = 0
    wanted = sys.argv[1:]
    for function in cases:
        if wanted and function.__name__ not in wanted:
            continue
        try:
            function()
            print("ok", function.__name__, flush=True)
        except Exception as error:  # what fails is told, and the rest goes on
            failed += 1
            text = " ".join(str(error).split()) or error.__class__.__name__
            where = traceback.extract_tb(error.__traceback__)[-1]
            print("not ok %s: %s (line %d of %s)" % (function.__name__, text, where.lineno, os.path.basename(where.filename)), flush=True)
    sys.exit(1 if failed else 0)


main()
