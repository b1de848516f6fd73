"""Tokens and TLS on the listeners."""

import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from berth_up import Guarded, wait_until
from hive_probe import ERROR, SUCCESS, Probe, plain_socket, sasl_login, trusting, ttypes

ANN, BOB, OPS = "ann-token-0123456789", "bob-token-0123456789", "ops-token-0123456789"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A Berth that asks for tokens, over TLS."""
    tokens = f"# who\n{ANN} ann science\n{BOB} bob arts\n{OPS} ops ops operator\n"
    berth = Guarded(tmp_path_factory.mktemp("guarded"), tokens, "--warm", "1")
    yield berth
    berth.stop()


def client(guarded, token, code):
    """Runs code in a PySpark client of its own: gRPC reads its roots once a process."""
    program = "import sys\nfrom pyspark.sql import SparkSession\nspark = SparkSession.builder.remote(sys.argv[1]).create()\n"
    remote = f"sc://{guarded.endpoints['connect']}/;use_ssl=true" + (f";token={token}" if token else "")
    return subprocess.run(
        [sys.executable, "-c", program + code, remote], capture_output=True, text=True, timeout=240,
        env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": guarded.ca})


def test_i7_a_token_names_the_user_whatever_the_client_says(guarded):
    """connect#8, #12"""
    guarded.wait_warm()
    ran = client(guarded, ANN, "spark.conf.set('a.b', '1'); print(spark.conf.get('a.b'))")
    assert ran.stdout.strip() == "1", ran.stderr
    (session,) = guarded.ask("sessions")
    assert (session["owner"], session["tenant"]) == ("ann", "science")


@pytest.mark.parametrize("token", [None, "wrong-token-0123456789"])
def test_i7_without_a_valid_token_nothing_is_served(guarded, token):
    """connect#11: once, no storm of retries"""
    ran = client(guarded, token, "spark.version")
    assert ran.returncode != 0
    assert "UNAUTHENTICATED" in ran.stderr, ran.stderr[-2000:]


def ask(guarded, path, token=None, body=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"https://{guarded.endpoints['livy']}{path}", data, headers)
    context = ssl.create_default_context(cafile=guarded.ca)
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_i7_livy_sessions_belong_to_who_opened_them(guarded):
    assert ask(guarded, "/sessions")[0] == 401
    status, session = ask(guarded, "/sessions", ANN, {"kind": "pyspark"})
    assert (status, session["owner"]) == (201, "ann")
    assert ask(guarded, f"/sessions/{session['id']}", BOB)[0] == 403
    assert ask(guarded, f"/sessions/{session['id']}", ANN)[0] == 200
    assert ask(guarded, "/sessions", BOB)[1]["total"] == 0


def test_i7_only_operators_administer(guarded):
    line = [os.environ["BERTH_BIN"], "sessions", "--broker", f"https://{guarded.endpoints['connect']}"]
    for token, code in ((ANN, 1), ("wrong-token-0123456789", 1), (OPS, 0)):
        ran = subprocess.run(line, env={**guarded.env, "BERTH_TOKEN": token}, capture_output=True, text=True, timeout=30)
        assert ran.returncode == code, ran.stderr
    plain = subprocess.run(
        [*line[:-1], line[-1].replace("https", "http")], env=guarded.env, capture_output=True, text=True, timeout=60)
    assert plain.returncode != 0


def test_i7_hiveserver2_asks_for_tokens_whatever_way_a_client_logs_in(guarded):
    """hs2#3, #7, #10, #11, #19: SASL, without SASL, over HTTP, all over TLS"""
    address, web = guarded.endpoints["hs2"], guarded.endpoints["hs2-http"]
    wrong = trusting(guarded.ca).wrap_socket(plain_socket(address), server_hostname="127.0.0.1")
    code, text = sasl_login(wrong, user="ann", password=BOB)
    assert code == 3 and "Error validating the login" in text and wrong.recv(1) == b"", "it ends with that"
    wrong.close()
    ann = Probe(address, ca=guarded.ca, user="ann", password=ANN)
    opened = ann.open(profile="default", conf={"hive.server2.proxy.user": "bob"})
    assert opened.status.statusCode == ERROR and "proxy privilege of ann for bob" in opened.status.errorMessage
    assert ann.open(profile="default").status.statusCode == SUCCESS
    assert ann.value("select current_user()") is not None

    bare = Probe(address, "nosasl", ca=guarded.ca)
    assert bare.GetCatalogs(ttypes.TGetCatalogsReq(ann.session)).status.sqlState == "28000"
    assert bare.open(username="bob", password=ANN, profile="default").status.sqlState == "28000"

    def basic(user, token):
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}

    for user, token in (("bob", ANN), ("bob", "")):
        stranger = Probe(web, "http", ca=guarded.ca, headers=basic(user, token))
        with pytest.raises(Exception):
            stranger.open()
        assert stranger.transport.code == 401
    bob = Probe(web, "http", ca=guarded.ca, headers=basic("bob", BOB))
    bob.session = ann.session
    assert "Invalid SessionHandle" in bob.execute("select 1").status.errorMessage
    for_ann = Probe(web, "http", ca=guarded.ca, headers=basic("bob", BOB), path="/cliservice?doAs=ann")
    opened = for_ann.open(profile="default")
    assert opened.status.statusCode == ERROR and "proxy privilege of bob for ann" in opened.status.errorMessage
    operator = Probe(web, "http", ca=guarded.ca, headers=basic("ops", OPS), path="/cliservice?doAs=ann")
    assert operator.open(profile="default").status.statusCode == SUCCESS
    assert len([each for each in guarded.ask("sessions") if each["owner"] == "ann" and each["dialect"] == "hs2"]) == 2
    operator.close_session()
    ann.close_session()
    ann.leave()
    bare.leave()


def test_i7_a_cookie_stands_for_a_login_while_its_token_is_there(guarded):
    """hs2#10: over HTTP; what is tampered with, too old or of a token that has gone is asked for credentials"""
    web, token = guarded.endpoints["hs2-http"], "eve-token-0123456789"
    guarded.tokens.write_text(guarded.tokens.read_text() + f"{token} eve science\n")
    login = {"Authorization": "Basic " + base64.b64encode(f"eve:{token}".encode()).decode()}

    def probe(**headers):
        return Probe(web, "http", ca=guarded.ca, headers=headers)

    def status(**headers):
        made = probe(**headers)
        try:
            made.GetCatalogs(ttypes.TGetCatalogsReq(eve.session))
        except Exception:
            assert made.transport.code != 200
        return made.transport.code

    eve = probe(**login)

    def known():
        try:
            return eve.open(profile="default").status.statusCode == SUCCESS
        except Exception:
            assert eve.transport.code == 401
            return False

    wait_until(known, 60, "the new token is not read")
    cookie = eve.transport.headers["Set-Cookie"]
    # Python's client sends back the whole line.
    with_cookie = probe(Cookie=cookie)
    with_cookie.session = eve.session
    assert with_cookie.value("select 1") == 1
    assert status(Cookie=cookie) == 200
    name, value = cookie.split(";")[0].split("=", 1)
    for worthless in (value[:-2] + ("AA" if value[-2:] != "AA" else "BB"), "x", value.replace(value.split(".")[1], "1")):
        assert status(Cookie=f"{name}={worthless}") == 401
        assert status(Cookie=f"{name}={worthless}", **login) == 200
    # Whoever shows credentials is judged by them.
    assert status(Cookie=cookie, Authorization="Bearer wrong-token-0123456789") == 401
    eve.close_session()

    guarded.tokens.write_text(guarded.tokens.read_text().replace(token, "eve-token-9876543210"))
    wait_until(lambda: status(Cookie=cookie) == 401, 60, "a cookie outlives its token")
