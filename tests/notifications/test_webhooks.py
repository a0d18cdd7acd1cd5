"""Webhooks over real sockets: what a receiver gets, and what its answers mean."""

import json
import socket
import ssl
import subprocess

import pytest

from imsgate.errors import BadConfig
from imsgate.notifications import webhooks
from imsgate.notifications.settings import WebhookSettings
from imsgate.notifications.target import Declined, Undelivered
from imsgate.registry.outbox import Event
from tests.notifications.receiver import SECRET, receiving

EVENT = Event(body={"event_type": "image.create", "payload": {"name": "Ünï 🐧"}})
OTHER = "whsec_" + "b" * 32


def hook(url, *secrets, **changed):
    secrets = list(secrets) or [SECRET]
    (made,) = webhooks.load(WebhookSettings(urls=[url], secret=secrets, **changed))
    return made


def test_a_receiver_gets_a_signed_message():
    with receiving() as receiver:
        hook(receiver.url).send(EVENT)
        ((headers, body),) = receiver.requests
        assert receiver.verified() == [json.loads(body)]
    assert json.loads(body) == {"message_id": EVENT.id, **EVENT.body}
    assert headers["Webhook-Id"] == EVENT.id
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("imsgate/")


def test_the_signature_is_that_of_the_specification():
    """Its example: https://github.com/standard-webhooks/standard-webhooks."""
    key = webhooks._keys(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])[0]
    body = b'{"test": 2432232314}'
    signature = webhooks.sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_key_is_replaced_both_sign():
    with receiving() as receiver:
        hook(receiver.url, OTHER, SECRET).send(EVENT)
        assert receiver.verified() == receiver.verified(OTHER)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 413])
def test_a_receiver_refuses(status):
    with receiving() as receiver:
        receiver.statuses.append(status)
        with pytest.raises(Declined, match=str(status)):
            hook(receiver.url).send(EVENT)


@pytest.mark.parametrize("status", [302, 307, 408, 425, 429, 500, 503])
def test_a_receiver_is_unavailable(status):
    """Nor is a redirect followed: the body is not for others."""
    with receiving() as receiver:
        receiver.statuses.append(status)
        with pytest.raises(Undelivered, match=str(status)):
            hook(receiver.url).send(EVENT)
        assert len(receiver.requests) == 1


def test_nobody_listens():
    with receiving() as receiver:
        url = receiver.url
    with pytest.raises(Undelivered) as caught:
        hook(url).send(EVENT)
    assert "hush" not in str(caught.value)


def test_a_receiver_that_does_not_respond():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(Undelivered):
            hook(url, timeout=0.1).send(EVENT)


def test_another_receiver_gets_no_message(tmp_path):
    """Nor one whose certificate is of an unknown authority, or for another name."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    name = ("-addext", "subjectAltName=IP:127.0.0.1")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    files = ("-keyout", key, "-out", certificate)
    subprocess.run([*command.split(), *name, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with receiving() as receiver:
        url = receiver.url.replace("http", "https", 1)
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        trusted = {"ca_file": str(certificate)}
        for made in (hook(url), hook(url.replace("127.0.0.1", "localhost"), **trusted)):
            with pytest.raises(Undelivered):
                made.send(EVENT)
        assert receiver.requests == []
        hook(url, **trusted).send(EVENT)
        assert len(receiver.verified()) == 1


def test_a_connection_is_used_again(monkeypatch):
    with receiving() as receiver:
        made = hook(receiver.url)
        for _ in range(3):
            receiver.statuses.append(200)
            made.send(EVENT)
        assert receiver.connections == 1
        receiver.statuses.append(200)
        monkeypatch.setattr(receiver.RequestHandlerClass, "response_body", b"x" * 100_000)
        made.send(EVENT)
        monkeypatch.undo()
        made.send(EVENT)
        assert receiver.connections == 2
        made._connections.clear()


def test_without_urls_there_is_none():
    assert webhooks.load(WebhookSettings(secret=[SECRET])) == []


def test_names_differ_and_labels_tell_no_secrets():
    urls = ["https://a/hook?token=hush", "https://a/hook?token=hush2", "https://a/hook?token=hush"]
    made = webhooks.load(WebhookSettings(urls=urls, secret=[SECRET]))
    assert len({each.name for each in made}) == len(made) == 2
    assert all(len(each.name) <= 64 for each in made)
    assert {each.label for each in made} == {"the webhook at a"}


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("secret", {"secret": []}),
        ("secret", {"secret": ["hush" * 10]}),
        ("secret", {"secret": ["whsec_hush!"]}),
        ("secret", {"secret": ["whsec_aHVzaA=="]}),
        ("secret", {"secret": [SECRET, "whsec_" + "h" * 88]}),
        ("urls", {"urls": ["ftp://host/hush"]}),
        ("urls", {"urls": ["//host/hush"]}),
        ("urls", {"urls": ["http:///hush"]}),
        ("urls", {"urls": ["http://user:hush@host/"]}),
        ("urls", {"urls": ["http://host:hush/"]}),
        ("urls", {"urls": ["http://[host/hush"]}),
        ("urls", {"urls": ["http://höst/hush"]}),
        ("urls", {"urls": ["http://host/hush\r\nX: y"]}),
        ("ca_file", {"ca_file": "/nowhere"}),
    ],
)
def test_what_cannot_work_is_refused(key, settings):
    with pytest.raises(BadConfig) as caught:
        webhooks.load(WebhookSettings(**{"urls": ["http://host"], "secret": [SECRET], **settings}))
    assert caught.value.key == f"[webhooks] {key}"
    assert "hush" not in str(caught.value)
