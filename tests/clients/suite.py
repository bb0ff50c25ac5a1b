"""Runs every client against every chain. Python's standard library alone."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HOME = Path(sys.argv[1]).resolve()
ONLY = sys.argv[2:]
HERE = Path(__file__).parent
SIDESTEP = Path("target/debug/sidestep").resolve()
# How the first backend fails; the second one is well.
FAULTS = [
    "401", "429", "500", "403-html", "failed", "failed-quota", "error", "html", "reset",
    "cut-before-output",
]
CASES = {"plain": 1, "stream": 1, "tool": 2, "schema": 1}
HELLO = "Hello from second, and nothing went wrong."


def python(script):
    return lambda url, case: [HOME / "venv/bin/python", HERE / script, url, case]


def node(script):
    # Modules are found from where the script is.
    shutil.copy(HERE / script, HOME / "node" / script)
    return lambda url, case: ["node", HOME / "node" / script, url, case]


SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    "additionalProperties": False,
}


def codex(url, case):
    schema = HOME / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    settings = {
        "model_provider": '"sidestep"', "model_providers.sidestep.name": '"Sidestep"',
        "model_providers.sidestep.base_url": json.dumps(url),
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    options += ["--output-schema", schema] if case == "schema" else []
    prompt = "call a tool" if case == "tool" else "say hello"
    return [HOME / "node/node_modules/.bin/codex", "exec", "--skip-git-repo-check", "-s", "read-only",
            "-m", "gpt-5-codex", *options, prompt]


CLIENTS = {
    "openai-python": (python("openai_python.py"), list(CASES)),
    "openai-agents": (python("openai_agents.py"), list(CASES)),
    "pydantic-ai": (python("pydantic_ai_client.py"), list(CASES)),
    "openai-node": (node("openai_node.mjs"), list(CASES)),
    "vercel-ai-sdk": (node("vercel_ai_sdk.mjs"), list(CASES)),
    # It streams always.
    "codex": (codex, ["stream", "tool", "schema"]),
}


class Process:
    """One of Sidestep's commands; its address stands in what it prints first."""

    def __init__(self, *arguments, environment=None):
        self.process = subprocess.Popen(
            [SIDESTEP, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment,
        )
        told = ""
        while not (found := re.search(r"127\.0\.0\.1:[1-9]\d+", told)):
            line = self.process.stdout.readline()
            assert line, told
            told += line
        self.address = found[0]
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self):
        self.process.kill()
        self.process.wait()


def requests(address):
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("sidestep_requests_total"))


def chain(fault, folder):
    first = Process("faults", "--listen", "127.0.0.1:0", "--default", fault or "agent", "--name", "first")
    second = Process("faults", "--listen", "127.0.0.1:0", "--default", "agent", "--name", "second")
    order = ["first", "second"] if fault else ["second", "first"]
    config = Path(folder) / f"{fault}.toml"
    config.write_text(
        f'bench.enabled = false\nretry.delay_max = "20ms"\n'
        f'[backends.first]\nbase_url = "http://{first.address}/v1"\n'
        f'[backends.second]\nbase_url = "http://{second.address}/v1"\n'
        f"[[routes]]\ndefault = true\nchain = {json.dumps(order)}\n"
    )
    return [first, second, Process("serve", "--listen", "127.0.0.1:0", "--config", str(config))]


def ask(command, expected, address, count, environment):
    """One client, one case; what went wrong, if anything."""
    before = requests(address)
    run = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, env=environment,
        stdin=subprocess.DEVNULL,
    )
    said = run.stdout.strip().splitlines()[-1:] or [run.stderr.strip()[-400:]]
    # A request counts when its answer is over, which the client may not wait for.
    for _ in range(100):
        sent = requests(address) - before
        if sent >= count:
            break
        time.sleep(0.02)
    # Codex prints the JSON itself.
    if run.returncode or said not in ([expected], ['{"city":"%s"}' % expected]):
        return f"its user sees {said} (exit code {run.returncode}): {run.stderr.strip()[-400:]}"
    return None if sent == count else f"it sent {sent} requests, not {count}"


def main():
    passed, failed = 0, []
    with tempfile.TemporaryDirectory() as folder:
        codex_home = Path(folder) / "codex"
        codex_home.mkdir()
        environment = {**os.environ, "CODEX_HOME": str(codex_home), "NO_PROXY": "127.0.0.1,localhost"}
        for fault in [None, *FAULTS]:
            processes = chain(fault, folder)
            address = processes[-1].address
            for name, (command, cases) in CLIENTS.items():
                for case in cases if not ONLY or name in ONLY else []:
                    expected = "Oslo" if case == "schema" else HELLO
                    problem = ask(
                        command(f"http://{address}/v1", case), expected, address, CASES[case], environment
                    )
                    passed += problem is None
                    if problem:
                        failed.append(f"{name}, {case}, first backend {fault or 'well'}: {problem}")
                        print(failed[-1], flush=True)
            print(f"first backend {fault or 'well'}: {passed} passed so far", flush=True)
            for process in processes:
                process.stop()
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(bool(failed))


main()
