"""Ordinary use of a node through Ansible's modules for Docker, each run as Ansible runs it: arguments in, JSON out.
What a module made it must find again: everything is asked for twice. One line per case: ok NAME, or not ok NAME: why."""
import json
import os
import subprocess
import sys

IMAGE = os.environ["TEST_IMAGE"]
MODULES = "ansible_collections.community.docker.plugins.modules."
cases = []


def case(function):
    cases.append(function)
    return function


def module(kind, /, **arguments):
    sent = json.dumps({"ANSIBLE_MODULE_ARGS": {"docker_host": os.environ["DOCKER_HOST"], **arguments}})
    done = subprocess.run(
        [sys.executable, "-m", MODULES + kind],
        input=sent,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_PACKAGES"]},
    )
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise AssertionError("%s: %s" % (kind, (done.stdout + done.stderr)[-400:]))
    if result.get("failed"):
        raise AssertionError("%s: %s" % (kind, result.get("msg")))
    return result


def twice(kind, /, **arguments):
    first = module(kind, **arguments)
    assert first["changed"], "%s has changed nothing" % kind
    again = module(kind, **arguments)
    assert not again["changed"], "%s finds something to change again: %s" % (kind, again.get("diff", again))
    return first


@case
def host():
    facts = module("docker_host_info", containers=True, images=True, networks=True, volumes=True, disk_usage=True)
    assert facts["host_info"]["Driver"] == "overlay2"


@case
def image():
    info = module("docker_image_info", name=IMAGE)
    assert info["images"][0]["RepoTags"]
    twice("docker_image", name=IMAGE, repository="ansible/copy:1", source="local")
    twice("docker_image", name="ansible/copy:1", state="absent")


@case
def network():
    twice(
        "docker_network",
        name="ansible-net",
        ipam_config=[{"subnet": "10.87.3.0/24", "gateway": "10.87.3.1"}],
        labels={"suite": "ansible"},
    )
    assert module("docker_network_info", name="ansible-net")["exists"]
    twice("docker_network", name="ansible-net", state="absent")


@case
def volume():
    twice("docker_volume", name="ansible-vol", labels={"suite": "ansible"})
    assert module("docker_volume_info", name="ansible-vol")["volume"]["Driver"] == "local"
    twice("docker_volume", name="ansible-vol", state="absent")


@case
def container():
    box = {
        "name": "ansible-box",
        "image": IMAGE,
        "command": ["sh", "-c", "sleep 300"],
        "env": {"A": "b"},
        "labels": {"suite": "ansible"},
        "volumes": ["ansible-data:/data", "/tmp:/host:ro"],
        "published_ports": ["127.0.0.1:18099:80"],
        "networks": [{"name": "ansible-front", "aliases": ["box"]}],
        "etc_hosts": {"db": "10.1.2.3"},
        "memory": "64m",
        "cpu_shares": 512,
        "restart_policy": "unless-stopped",
        "capabilities": ["NET_ADMIN"],
        "tmpfs": ["/scratch:size=1m"],
        "ulimits": ["nofile:64:128"],
        "healthcheck": {"test": ["CMD", "true"], "interval": "5s"},
        "stop_timeout": 1,
        "networks_cli_compatible": True,
    }
    module("docker_network", name="ansible-front")
    try:
        twice("docker_container", state="started", **box)
        shown = module("docker_container_info", name="ansible-box")["container"]
        assert shown["State"]["Running"] and shown["HostConfig"]["Memory"] == 64 << 20
        changed = twice("docker_container", state="started", **{**box, "env": {"A": "c"}})
        assert changed["container"]["Id"] != shown["Id"]
        ran = module("docker_container_exec", container="ansible-box", argv=["sh", "-c", "echo $A; cat; exit 3"], stdin="in")
        assert (ran["stdout"], ran["rc"]) == ("c\nin", 3), ran
        copied = module("docker_container_copy_into", container="ansible-box", content="hello", container_path="/data/x", mode=0o644)
        assert copied["changed"]
        ran = module("docker_container_exec", container="ansible-box", command="cat /data/x")
        assert ran["stdout"] == "hello", ran
        twice("docker_container", name="ansible-box", state="stopped", force_kill=True)
    finally:
        module("docker_container", name="ansible-box", state="absent", force_kill=True)
        module("docker_network", name="ansible-front", state="absent")
        module("docker_volume", name="ansible-data", state="absent")


@case
def prune():
    module("docker_container", name="ansible-old", image=IMAGE, command=["true"], state="present", labels={"prune": "me"})
    pruned = module("docker_prune", containers=True, containers_filters={"label": "prune=me"})
    assert len(pruned["containers"]) == 1, pruned


@case
def swarm():
    facts = module("docker_swarm_info", nodes=True, services=True)
    assert facts["docker_swarm_active"] and facts["nodes"][0]["ManagerStatus"] == "Leader"
    node = module("docker_node_info")["nodes"][0]
    name = node["Description"]["Hostname"]
    twice("docker_node", hostname=name, labels={"place": "here"})
    twice("docker_node", hostname=name, labels_to_remove=["place"])


@case
def secret_and_config():
    for kind in ("docker_secret", "docker_config"):
        twice(kind, name="ansible-word", data="hush", labels={"suite": "ansible"})
        twice(kind, name="ansible-word", state="absent")


@case
def service():
    module("docker_secret", name="ansible-pass", data="hush")
    service = {
        "name": "ansible-web",
        "image": IMAGE,
        "resolve_image": False,
        "command": ["sleep", "300"],
        "env": {"A": "b"},
        "labels": {"suite": "ansible"},
        "replicas": 2,
        "publish": [{"published_port": 18098, "target_port": 80}],
        "limits": {"memory": "64M", "cpus": 0.5},
        "restart_config": {"condition": "any", "delay": "1s"},
        "update_config": {"parallelism": 1, "order": "start-first"},
        "healthcheck": {"test": ["CMD", "true"], "interval": "5s"},
        "stop_grace_period": "1s",
        "secrets": [{"secret_name": "ansible-pass"}],
    }
    try:
        twice("docker_swarm_service", **service)
        twice("docker_swarm_service", **{**service, "replicas": 1})
        info = module("docker_swarm_service_info", name="ansible-web")
        assert info["exists"] and info["service"]["Spec"]["Mode"]["Replicated"]["Replicas"] == 1
    finally:
        module("docker_swarm_service", name="ansible-web", state="absent")
        module("docker_secret", name="ansible-pass", state="absent")


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
            print("not ok %s: %s" % (function.__name__, " ".join(str(error).split())), flush=True)
    sys.exit(1 if failed else 0)


main()
