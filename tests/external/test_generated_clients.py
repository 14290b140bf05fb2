"""Clients generated from the document compile and hold a conversation."""

import importlib
import pathlib
import shutil
import subprocess
import sys

from conftest import CACHE, ROOT

HERE = pathlib.Path(__file__).parent


def test_a_generated_python_client_holds_a_conversation(service):
    out = CACHE / "python-client"
    shutil.rmtree(out, ignore_errors=True)
    ran = subprocess.run([pathlib.Path(sys.executable).with_name("openapi-python-client"), "generate",
                          "--path", ROOT / "openapi" / "openapi.json", "--config", HERE / "openapi-python-client.yaml",
                          "--output-path", out, "--meta", "none", "--fail-on-warning"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr

    package = CACHE / "generated"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir()
    shutil.move(out, package / "polylogue_client")
    sys.path.insert(0, str(package))
    client = importlib.import_module("polylogue_client").Client(base_url=service.url)
    create = next(pathlib.Path(package).glob("polylogue_client/api/*/create_chat.py"))
    module = importlib.import_module(".".join(create.relative_to(package).with_suffix("").parts))
    models = importlib.import_module("polylogue_client.models")
    first = module.sync(client=client, body=models.ChatRequest(message="hello", personas=["guide"]))
    assert first.status == "completed" and first.replies[0].content
    again = module.sync(client=client, body=models.ChatRequest(
        message="go on", personas=["guide"], conversation_id=first.conversation.id))
    assert again.conversation.created is False


def test_a_generated_typescript_client_holds_a_conversation(service):
    work = CACHE / "typescript"
    ran = subprocess.run(["node", "node_modules/openapi-typescript/bin/cli.js",
                          str(ROOT / "openapi" / "openapi.json"), "-o", "api.d.ts"],
                         cwd=work, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    shutil.copy(HERE / "typescript" / "conversation.ts", work)
    shutil.copy(HERE / "typescript" / "tsconfig.json", work)
    ran = subprocess.run(["node", "node_modules/typescript/bin/tsc", "-p", "."], cwd=work, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    ran = subprocess.run(["node", "out/conversation.js", service.url], cwd=work, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nodes_websocket_library_talks_and_resumes(service):
    work = CACHE / "typescript"
    shutil.copy(HERE / "typescript" / "socket.mjs", work)
    ran = subprocess.run(["node", "socket.mjs", service.ws], cwd=work, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
