"""The server: who is let in, what is read, what is refused and how, and that nothing is lost. Asked over real sockets."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

import attnscope
import tiny_models as tiny
from attnscope.cli import main
from attnscope.cli.serve import reader_of, short_names
from attnscope.errors import AddressError, InputError
from attnscope.payload.codec import decode, read
from attnscope.render.server import app as app_module, run, work as work_module
from attnscope.render.server.guard import Names
from attnscope.render.server.kept import Kept
from attnscope.render.server.limits import Limits, Meter, Refusal
from attnscope.render.server.lines import Line, Shared
from attnscope.render.server.work import Ask, Workshop, room
from closeness import close
from patience import PATIENCE
from served import TOKEN, Served, served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("bert")
    tiny.model("bert", "sdpa").save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def bert(folder: str) -> tuple[Any, Any]:
    return attnscope.load(folder)


@pytest.fixture(scope="module")
def reader(folder: str) -> Any:
    return reader_of(folder, 50)


@pytest.fixture(scope="module")
def server(reader: Any) -> Iterator[Served]:
    with served({"bert": reader, "other": reader}) as one:
        yield one


def said(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str, str]:
    """Status, kind and message of a refusal."""
    data = json.loads(answer[2])
    assert answer[1]["cache-control"] == "no-store"
    return answer[0], data["kind"], data["message"]


# -- what is read


def test_the_numbers_are_those_of_the_library(server: Served, bert: Any) -> None:
    status, headers, data = server.trace("the cat sat on the mat", model="bert")
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    expected = attnscope.trace(*bert, "the cat sat on the mat")
    state = json.loads(headers["attnscope-state"])
    first = decode(data)
    assert list(first.tokens) == list(expected.tokens)
    assert [site.layer for site in first.sites] == [state["layer"]]
    other = 1 - state["layer"]
    status, _, rest = server.ask(f"/api/site?id={headers['attnscope-id']}&site={other}&head=2")
    assert status == 200
    for site in (*first.sites, *decode(rest).sites):
        mine = expected.site(site.layer)
        assert torch.equal(site.q, mine.q)
        assert torch.equal(site.k, mine.k)
        assert torch.equal(site.v, mine.v)
        assert torch.equal(site.weights(1), mine.weights(1))
    opened = expected.show().state
    assert [state[name] for name in ("layer", "head", "query", "key")] == [
        opened.layer,
        opened.head,
        opened.query,
        opened.key,
    ]


def asks(server: Served, edits: list[str], **more: Any) -> tuple[int, Any]:
    status, headers, data = server.ask(
        "/api/edits", {"model": "bert", "text": "the cat sat on the mat", "edits": edits, **more}
    )
    assert headers["cache-control"] == "no-store"
    return status, json.loads(data)


def test_edits_are_answered_as_the_library_does(server: Served, bert: Any) -> None:
    model, tokenizer = bert
    with attnscope.edit(model, tokenizer) as edit:
        edit.head("L1H2").off()
        edit.head("L0H1").cut(query=3, key=1)
        effect = edit.effect("the cat sat on the mat", control=20)
    assert effect.last_state is not None
    assert effect.band is not None
    edits = ["off_L1H2", "cut_L0H1_q3_k1"]
    status, answer = asks(server, edits)
    assert (status, answer["edits"], answer["task"]) == (200, edits, "state")
    assert answer["score"] == pytest.approx([1, effect.edited], abs=1e-6)
    assert answer["state"]["cosine"] == pytest.approx(effect.last_state.cosine.tolist(), abs=1e-5)
    status, band = asks(server, edits, first=0)
    assert (status, band["draws"]) == (200, len(effect.band.totals))
    assert band["totals"] == pytest.approx(effect.band.totals[: len(band["totals"])], abs=1e-5)
    status, answer = asks(server, [])
    assert (status, answer["score"]) == (200, pytest.approx([1, 1]))


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"edits": ["off_L7H0"]}, 400, "there is no layer 7 to edit"),
        ({"edits": ["off_L1H9"]}, 400, "head L1H9 is not there"),
        ({"edits": ["switch it off"]}, 400, "expected an edit such as off_L2H8"),
        ({"edits": "off_L1H2"}, 400, "expected edits as a list of texts"),
        ({"edits": ["off_L1H2"] * 3 + [f"off_L0_in_s{i}" for i in range(70)]}, 400, "at most 64 edits"),
        ({"edits": ["patch_L1H2"]}, 400, "there is one text here"),
        ({"edits": ["off_L1H2"], "target": -1}, 400, "expected target as a whole number"),
        ({"edits": ["off_L1H2"], "target": 5}, 400, "has no head to predict with"),
        ({"edits": ["off_L1H2"], "first": True}, 400, "expected first as a whole number"),
        ({"edits": ["off_L1H2"], "model": "another"}, 404, "is not served here"),
    ],
)
def test_edits_that_are_refused(server: Served, given: dict[str, Any], status: int, words: str) -> None:
    found, answer = asks(server, **given)
    assert found == status
    assert words in answer["message"]


def test_edits_need_a_model_that_can_be_edited_and_leave_to_ask(reader: Any) -> None:
    with served({"bert": lambda text, pair=None, truncate=False: reader(text)}) as server:
        status, answer = asks(server, ["off_L1H2"])
        assert (status, answer["message"]) == (404, "the model 'bert' is served without edits.")
        given = {"text": "the cat", "edits": []}
        for headers, kind in (({"Authorization": ""}, "token"), ({"Origin": "http://evil.example"}, "origin")):
            assert json.loads(server.ask("/api/edits", given, headers)[2])["kind"] == kind
        assert server.ask("/api/edits")[0] == 405


def test_the_first_answer_has_every_thumbnail_and_the_steps_of_its_head(server: Served) -> None:
    _, headers, data = server.trace("the cat sat")
    meta, tensors = read(data)
    state = json.loads(headers["attnscope-state"])
    assert all(site["thumb"]["tensor"] in tensors for site in meta["sites"])
    assert meta["sites"][state["layer"]]["steps"]["heads"] == [state["head"]]
    other = (state["head"] + 1) % 3
    place = f"id={headers['attnscope-id']}&site={state['layer']}&head={other}&kind=steps"
    steps, _ = read(server.ask(f"/api/site?{place}")[2])
    assert steps["sites"][state["layer"]]["steps"]["heads"] == [other]


def test_tiles_of_a_head(server: Served, bert: Any) -> None:
    _, headers, _ = server.trace("the cat sat on the mat", model="bert")
    place = f"id={headers['attnscope-id']}&site=1&head=2"
    weights = attnscope.trace(*bert, "the cat sat on the mat").sites[1].weights(2)
    for more in ("", "&coarse=1"):
        status, kind, data = server.ask(f"/api/tiles?{place}&tiles=0.0.0{more}")
        assert (status, kind["content-type"]) == (200, "application/octet-stream")
        assert close(safetensors.torch.load(data)["0"], weights)
    for wrong, text in (("tiles=0.0.1", "col 1 of a tile"), ("tiles=a", "whole numbers"), ("", "whole numbers")):
        status, kind, message = said(server.ask(f"/api/tiles?{place}&{wrong}"))
        assert (status, kind) == (400, "input")
        assert text in message
    assert said(server.ask("/api/tiles?id=unknown&site=0&head=0&tiles=0.0.0"))[:2] == (410, "gone")


def test_pair_and_place(server: Served, bert: Any) -> None:
    _, headers, data = server.trace("the cat", pair="a dog", layer=1, head=2, query=3)
    state = json.loads(headers["attnscope-state"])
    assert (state["layer"], state["head"], state["query"]) == (1, 2, 3)
    assert list(decode(data).tokens.segments) == list(
        attnscope.trace(*bert, "the cat", text_pair="a dog").tokens.segments
    )
    assert "attnscope-note" not in headers
    for place, range_ in (
        ({"layer": 9}, "layers 0 to 1"),
        ({"layer": 1, "head": 99}, "head goes from 0 to 2"),
        ({"query": 99}, "99"),
    ):
        status, headers, _ = server.trace("the cat", pair="a dog", **place)
        assert status == 200
        assert json.loads(headers["attnscope-state"])["layer"] in (0, 1)  # an address of another model opens somewhere
        assert range_ in json.loads(headers["attnscope-note"])  # and says why not there


def test_the_page(server: Served) -> None:
    status, headers, body = server.ask("/")
    text = body.decode()
    assert status == 200
    assert json.loads(text.split("data-attnscope-serve>")[1].split("</script>")[0])["models"] == ["bert", "other"]
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert TOKEN not in text


# -- who is let in


@pytest.mark.parametrize("path", ["/", "/api/site?id=x&site=0&head=0", "/nowhere"])
@pytest.mark.parametrize("token", [None, "Bearer wrong", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ä"])
def test_without_the_token_nothing_is_said(server: Served, path: str, token: str | None) -> None:
    encoded = None if token is None else token.encode("latin-1").decode("latin-1")
    status, kind, message = said(server.ask(path, headers={"Authorization": encoded}))  # type: ignore[dict-item]
    assert (status, kind) == (401, "token")
    assert "?token=" in message
    assert TOKEN not in message


def test_the_token_is_exchanged_for_a_cookie(server: Served) -> None:
    none: Any = {"Authorization": None}
    status, headers, _ = server.ask(f"/?token={TOKEN}&text=a", headers=none)
    name, _, rest = headers["set-cookie"].partition("=")
    value, *attributes = rest.split("; ")
    assert status == 200
    assert name == f"attnscope-{server.port}"
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert value != TOKEN
    origin = f"http://127.0.0.1:{server.port}"
    with_cookie = {**none, "Cookie": f"other=1; {name}={value}"}
    assert server.ask("/", headers=with_cookie)[0] == 200
    assert server.ask("/api/trace", {"text": "the cat"}, {**with_cookie, "Origin": origin})[0] == 200
    # a browser always says which page asks: a cookie without that is refused, and so is another page
    for other in (
        None,
        "http://evil.example",
        "null",
        f"http://localhost:{server.port}",
        f"https://127.0.0.1:{server.port}",
    ):
        answer = server.ask("/api/trace", {"text": "the cat"}, {**with_cookie, "Origin": other})
        assert said(answer)[:2] == (403, "origin"), other
    assert said(server.ask("/", headers={**none, "Cookie": f"{name}={TOKEN}"}))[0] == 401
    assert "set-cookie" not in server.ask("/?token=wrong", headers=none)[1]


def test_people_without_the_token_find_a_door_that_keeps_the_address(server: Served) -> None:
    headers: Any = {"Authorization": None, "Accept": "text/html,*/*"}
    status, got, body = server.ask("/?text=%3Cb%3E%22a&pair=c&token=wrong", headers=headers)
    page = body.decode()
    assert status == 401
    assert 'name="text" value="&lt;b&gt;&quot;a"' in page
    assert 'name="pair" value="c"' in page
    assert "wrong" not in page
    assert "default-src 'none'" in got["content-security-policy"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "192.168.0.7", "[", "", "localhost@evil.example:1"],
)
def test_other_names_are_refused_before_the_token_is_looked_at(server: Served, host: str) -> None:
    answer = server.ask(f"/?token={TOKEN}", headers={"Host": host or " "})
    assert answer[0] in (400, 403)
    assert "set-cookie" not in answer[1]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:8765", "127.0.0.2"])
def test_this_machine_may_be_called_by_its_names(server: Served, host: str) -> None:
    assert server.ask("/", headers={"Host": host})[0] == 200


def test_names() -> None:
    Names("0.0.0.0").check_host("192.168.0.7:80")
    Names("attn.lan").check_host("attn.lan:80")
    behind = Names("127.0.0.1", ["https://attn.example.org"])
    behind.check_host("attn.example.org")
    behind.check_origin("https://attn.example.org", "127.0.0.1:8765")
    for names, host in (
        (Names("0.0.0.0"), "evil.example"),
        (behind, "attn.example.org.evil.example"),
        (behind, "192.168.0.7"),
    ):
        with pytest.raises(Refusal, match="does not answer to the name"):
            names.check_host(host)
    with pytest.raises(Refusal, match="only this server's own pages may"):
        behind.check_origin("http://attn.example.org", "127.0.0.1:8765")


# -- what is refused


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"text": "the cat", "model": "gpt2"},
            (404, "model", "the model 'gpt2' is not served here. Expected one of: bert, other"),
        ),
        ({"text": "the cat", "model": "../secrets"}, (404, "model", "is not served here")),
        ({"text": "the cat", "model": ["bert"]}, (404, "model", "is not served here")),
        ({"text": ""}, (400, "input", "text is empty")),
        ({"text": 3}, (400, "input", "expected a JSON object with a text")),
        ({"text": "the cat", "pair": 3}, (400, "input", "expected pair as a text")),
        ({"text": "the cat", "truncate": "yes"}, (400, "input", "truncate as true or false")),
        ({"text": "the cat", "layer": "first"}, (400, "input", "expected layer as a number")),
        (b"[1]", (400, "input", "expected a JSON object with a text")),
        (b"{", (400, "input", "is not JSON")),
        (b"[" * 100_000, (400, "input", "is not JSON")),
        (b'"' + b"a" * 300_000 + b'"', (413, "too_large", "larger than 256,000 bytes")),
    ],
)
def test_refused(server: Served, body: Any, expected: tuple[int, str, str]) -> None:
    status, kind, message = said(server.ask("/api/trace", body))
    assert (status, kind) == expected[:2]
    assert expected[2] in message


def test_a_body_without_a_length_is_measured_as_it_comes(server: Served) -> None:
    answer = server.ask("/api/trace", iter([b"a" * 50_000] * 7))
    assert said(answer)[:2] == (413, "too_large")


def test_other_requests(server: Served) -> None:
    assert said(server.ask("/api/trace", b"{}", {"Content-Type": "text/plain"}))[0] == 415
    assert said(server.ask("/api/trace"))[0] == 405
    assert said(server.ask("/nowhere"))[0] == 404
    assert said(server.ask("/api/site?id=unknown&site=0&head=0"))[:2] == (410, "gone")
    known = server.trace("the cat")[1]["attnscope-id"]
    for place, message in (
        ("site=9&head=0", "site 9 is out of range"),
        ("site=0&head=9", "head 9 is out of range"),
        ("site=-1&head=0", "as numbers"),
        ("site=0", "as numbers"),
        (f"site={'9' * 30}&head=0", "as numbers"),
    ):
        status, kind, text = said(server.ask(f"/api/site?id={known}&{place}"))
        assert (status, kind) == (400, "input")
        assert message in text


def test_ten_thousand_tokens(reader: Any, bert: Any) -> None:
    """Of a model with a table of positions the library says it, and can cut; of others the server's own limit counts."""
    text = "the cat " * 5000
    with served({"bert": reader_of(str(bert[0].name_or_path), 100), "short": reader}) as server:
        status, kind, message = said(server.trace(text, model="bert"))
        assert (status, kind) == (400, "too_long")
        assert "the text has 10002 tokens, and this model reads at most 61" in message
        status, _, data = server.trace(text, model="bert", truncate=True)
        assert (status, len(decode(data).tokens)) == (200, 61)
        status, kind, message = said(server.trace(text, model="short"))
        assert (status, kind) == (400, "input")
        assert "the text has 10002 tokens, and this server reads at most 50 at once" in message
        assert server.trace("the cat", model="short")[0] == 200


def test_roles_are_served_with_the_thumbnails(folder: str, tmp_path: Any) -> None:
    row = {
        "layer": 1,
        "head": 0,
        "relation": "obj",
        "direction": "dependent to head",
        "accuracy": 0.75,
        "low": 0.7,
        "high": 0.8,
    }
    row |= {"n": 100, "baseline_offset": 1, "baseline_accuracy": 0.1, "p_adjusted": 0.001, "weight": 0.5}
    (tmp_path / "roles.json").write_text(json.dumps([row]))
    with served({"bert": reader_of(folder, 50, roles=str(tmp_path / "roles.json"))}) as server:
        meta, _ = read(server.trace("the cat")[2])
        assert [[one["name"] for one in of] for of in meta["sites"][1]["roles"]][0] == ["obj ↑"]
        assert meta["sites"][1]["stats"]["role"][0] == 0.75


def test_too_many_requests(reader: Any) -> None:
    with served({"bert": reader}, Limits(burst=3, rate=0.001)) as server:
        answers = [server.trace("the cat") for _ in range(5)]
        assert [answer[0] for answer in answers] == [200, 200, 200, 429, 429]
        assert "too many requests from 127.0.0.1" in said(answers[3])[2]
        assert int(answers[3][1]["retry-after"]) > 0
        assert server.ask("/")[0] == 200


def test_the_meter_refills() -> None:
    clock = [0.0]
    meter = Meter(2, 0.5, lambda: clock[0])
    meter.take("a")
    meter.take("a")
    meter.take("b")
    with pytest.raises(Refusal) as refused:
        meter.take("a")
    assert refused.value.retry_after == 2
    clock[0] = 2.0
    meter.take("a")
    with pytest.raises(Refusal):
        meter.take("a")


def test_a_full_queue_says_when_to_come_again(bert: Any) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(text: str, **_: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return attnscope.trace(*bert, text)

    with served({"slow": slow}, Limits(waiting=2)) as server, ThreadPoolExecutor(4) as people:
        first = people.submit(server.trace, "the cat")
        assert begun.wait(60)
        same = people.submit(server.trace, "the cat")  # waits for the same pass, not in line
        second = people.submit(server.trace, "a dog")
        # whichever of the two comes last finds the line full
        third = people.submit(server.trace, "the mat")
        done, _ = wait((second, third), 60, FIRST_COMPLETED)
        assert len(done) == 1
        go.set()
        results = [task.result(60) for task in (first, same, second, third)]
        assert sorted(result[0] for result in results) == [200, 200, 200, 503]
        refused = next(result for result in results if result[0] == 503)
        assert said(refused)[1] == "busy"
        assert refused[1]["retry-after"] == "2"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
        ),
    ],
    ids=["python", "gpu", "cpu"],
)
def test_out_of_memory(bert: Any, error: BaseException) -> None:
    def hungry(text: str, **_: Any) -> Any:
        if "mat" in text:
            raise error
        return attnscope.trace(*bert, text)

    with served({"hungry": hungry}) as server:
        kept = server.trace("the cat")[1]["attnscope-id"]
        status, kind, message = said(server.trace("the mat"))
        assert (status, kind) == (507, "memory")
        assert "Shorten it" in message
        # what was kept made room; asked again, it is there again under the same name
        assert said(server.ask(f"/api/site?id={kept}&site=0&head=0"))[1] == "gone"
        assert server.trace("the cat")[1]["attnscope-id"] == kept
        assert server.ask(f"/api/site?id={kept}&site=0&head=0")[0] == 200


def test_torch_without_memory_is_known(bert: Any) -> None:
    """The allocator's real error, which has no type of its own."""

    def hungry(text: str, **_: Any) -> Any:
        torch.empty(1 << 50)

    with served({"hungry": hungry}) as server:
        assert said(server.trace("the cat"))[:2] == (507, "memory")


def test_a_fault_of_a_model_is_a_sentence_and_the_server_lives(bert: Any) -> None:
    def broken(text: str, **_: Any) -> Any:
        raise ZeroDivisionError("/home/somebody/secret.py")

    with served({"broken": broken, "bert": lambda text, **_: attnscope.trace(*bert, text)}) as server:
        status, kind, message = said(server.trace("the cat"))
        assert (status, kind) == (500, "fault")
        assert "ZeroDivisionError" in message
        assert "secret" not in message
        assert server.trace("the cat", model="bert")[0] == 200


# -- many at once, and the end


@pytest.mark.slow
def test_fifty_viewers_lose_nothing(bert: Any, reader: Any) -> None:
    """Fifty at once, each with a text of its own; every answer holds the library's own numbers."""
    words = "the cat sat on mat dog ran a".split()
    texts = [
        " ".join(words[(i + j * (i % 5 + 1)) % len(words)] for j in range(3 + i % 11)) + " the" * (i // 8)
        for i in range(50)
    ]
    start = threading.Barrier(50)
    with served({"bert": reader}) as server:

        def look(text: str) -> tuple[bytes, list[bytes]]:
            start.wait()
            status, headers, data = server.trace(text)
            assert status == 200, data
            other = 1 - json.loads(headers["attnscope-state"])["layer"]
            status, _, rest = server.ask(f"/api/site?id={headers['attnscope-id']}&site={other}&head=0")
            assert status == 200, rest
            return data, [rest]

        with ThreadPoolExecutor(50) as people:
            seen = list(people.map(look, texts))
    for text, (first, rest) in zip(texts, seen, strict=True):
        expected = attnscope.trace(*bert, text)
        for data in (first, *rest):
            trace = decode(data)
            assert list(trace.tokens) == list(expected.tokens)
            for site in trace.sites:
                for name, tensor in expected.site(site.layer).kept.items():
                    assert torch.equal(site.kept[name], tensor), (text, name)


def test_two_hundred_viewers_at_once_are_all_served_in_their_turn() -> None:
    """Each with a text of its own, from one address: nobody is sent away, and every answer is its asker's."""
    read: list[str] = []

    def small(text: str, **_: Any) -> Any:
        read.append(text)
        q, k, v = torch.randn(3, 1, 3, 2, generator=torch.Generator().manual_seed(int(text)))
        return attnscope.Trace.from_qkv(q, k, v, tokens=[text, "b", "c"])

    start = threading.Barrier(200)

    def look(text: str) -> tuple[int, bytes]:
        start.wait()
        status, _, data = server.trace(text)
        return status, data

    texts = [str(number) for number in range(1000, 1200)]
    with served({"small": small}) as server, ThreadPoolExecutor(200) as people:
        answers = list(people.map(look, texts))
    assert {status for status, _ in answers} == {200}
    for text, (_, data) in zip(texts, answers, strict=True):
        trace = decode(data)
        assert trace.tokens[0] == text
        assert torch.equal(trace.sites[0].q, small(text).sites[0].q)
    assert sorted(read[:200]) == texts, "each once"


def test_the_same_text_is_read_once(bert: Any) -> None:
    passes = []

    def counting(text: str, **_: Any) -> Any:
        passes.append(text)
        return attnscope.trace(*bert, text)

    with served({"bert": counting}) as server, ThreadPoolExecutor(8) as people:
        answers = list(people.map(server.trace, ["the cat sat"] * 8))
    assert passes == ["the cat sat"]
    assert len({data for _, _, data in answers}) == 1


def _in_a_loop(check: Any) -> None:
    """In a thread: Playwright, in the same session, keeps a loop in this one."""
    with ThreadPoolExecutor(1) as alone:
        alone.submit(lambda: asyncio.run(check())).result()


def test_traces_are_kept_up_to_a_size(bert: Any) -> None:
    def reading(text: str, **_: Any) -> Any:
        return attnscope.trace(*bert, text)

    size = room(reading("the cat sat"))
    expected = sum(tensor.nbytes for site in reading("the cat sat").sites for tensor in (*site.kept.values(), site.z))
    assert size >= expected

    async def check() -> None:
        shop = Workshop({"bert": reading}, Limits(keep=2 * size))
        asks = [Ask("bert", text) for text in ("the cat sat", "the dog sat", "the mat sat")]
        await shop.trace(asks[0])
        await shop.trace(asks[1])
        assert shop.known(asks[0].id) is not None  # used again, so it is the other that goes
        await shop.trace(asks[2])
        assert [shop.known(ask.id) is not None for ask in asks] == [True, False, True]
        shop.close()

    _in_a_loop(check)


def test_a_line_has_an_end() -> None:
    async def check() -> None:
        line, go = Line(1, 2), threading.Event()
        waiting = [asyncio.ensure_future(line.run(go.wait, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="try again in a few seconds"):
            await line.run(go.wait, 60)
        go.set()
        assert await asyncio.gather(*waiting) == [True, True]
        assert await line.run(lambda: 3) == 3
        line.close()

    _in_a_loop(check)


PROCESS = """
import sys, time
from pathlib import Path
import attnscope
from attnscope.cli.shared import load
from attnscope.render.server import run
work, folder = Path(sys.argv[1]), sys.argv[2]
model, tokenizer = load(folder, quiet=True)
def slow(text, **_):
    (work / "begun").touch()
    while not (work / "go").exists():
        time.sleep(0.02)
    return attnscope.trace(model, tokenizer, text)
with run.listen("127.0.0.1", 0) as taken:
    port = taken.getsockname()[1]
    run.serve({"slow": slow}, taken, token=sys.argv[3], started=lambda: (work / "port.part").write_text(str(port)) and (work / "port.part").rename(work / "port"))
print("ended")
"""


def _until(done: Any, process: Any) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def _reading(folder: Path, model: str) -> Iterator[tuple[subprocess.Popen[str], Served]]:
    """PROCESS, in `folder`, and its server, which listens."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder), model, TOKEN],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        _until((folder / "port").exists, process)
        yield process, Served(int((folder / "port").read_text()))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.packaging
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_was_begun(tmp_path: Path, folder: str, bert: Any, number: signal.Signals) -> None:
    with _reading(tmp_path, folder) as (process, server):
        with ThreadPoolExecutor(1) as people:
            answer = people.submit(server.trace, "the cat sat")
            _until((tmp_path / "begun").exists, process)
            process.send_signal(number)
            _until(lambda: not _answers(server.port), process)  # nobody new is let in
            assert not answer.done()
            (tmp_path / "go").touch()
            status, headers, data = answer.result(60)
        assert status == 200
        layer = json.loads(headers["attnscope-state"])["layer"]
        # another process may add up in another order
        torch.testing.assert_close(decode(data).site(layer).q, attnscope.trace(*bert, "the cat sat").site(layer).q)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out.strip(), err) == (0, "ended", "")


@pytest.mark.packaging
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_second_signal_ends_it_at_once(tmp_path: Path, folder: str) -> None:
    """While a text is read that never ends."""
    with _reading(tmp_path, folder) as (process, server):
        with ThreadPoolExecutor(1) as people:
            answer = people.submit(server.trace, "the cat sat")
            _until((tmp_path / "begun").exists, process)
            process.send_signal(signal.SIGINT)
            _until(lambda: not _answers(server.port), process)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=PATIENCE) == -signal.SIGINT
            assert isinstance(answer.exception(60), OSError)
        assert process.communicate() == ("", "")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


# -- the command


def test_a_port_in_use_is_said_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(main, ["serve", "--quiet", "--port", str(port), "--model", "/no/such/folder"])
    assert result.exit_code == 2
    assert f"port {port} of 127.0.0.1 is in use" in result.stderr
    assert "--port 0" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no-such-org/no-such-model"], "offline"),
        (["--model", "/no/such/folder"], "there is no folder"),
        (["--model", "demo", "--model", "demo"], "names the same model twice"),
        (["--origin", "attn.example.org"], "such as https://attn.example.org"),
        (["--origin", "https://attn.example.org/path"], "such as https://attn.example.org"),
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
    ],
)
def test_mistakes_at_the_start(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--quiet", "--port", "0", "--no-open", *arguments])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_short_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNSCOPE_TOKEN", "short")
    result = CliRunner().invoke(main, ["serve", "--port", "0"])
    assert (result.exit_code, "at least 16" in result.stderr) == (2, True)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "attnscope.render.server.run")
    monkeypatch.delattr("attnscope.render.server.run")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 2
    assert "pip install 'attnscope[serve]'" in result.stderr


def test_names_of_models_for_people(tmp_path: Path) -> None:
    for name in ("a/bert", "b/bert", "b/gpt"):
        (tmp_path / name).mkdir(parents=True)
    one, two, three = (str(tmp_path / name) for name in ("a/bert", "b/bert", "b/gpt"))
    assert short_names(("demo", one, three + "/")) == ["demo", "bert", "gpt"]
    assert short_names((one, two)) == [one, two]


def test_addresses() -> None:
    assert run.address("0.0.0.0", 80, "t") == "http://127.0.0.1:80/?token=t"
    assert run.address("::1", 80, "t") == "http://[::1]:80/?token=t"
    token = "a&b=c#d+e %f/ghijklmnop"
    quoted = run.address("127.0.0.1", 80, token)
    assert not set(quoted.partition("token=")[2]) & set("&=#+ /")
    assert parse_qs(urlsplit(quoted).query)["token"] == [token]
    assert run.address("127.0.0.1", 80, "t", ["https://attn.example.org"]) == "https://attn.example.org/?token=t"
    with pytest.raises(InputError):
        run.check_origin("ftp://attn.example.org")
    with pytest.raises(AddressError, match=r"cannot listen on 203\.0\.113\.7"):
        run.listen("203.0.113.7", 0)


# -- connections


def _closed(connection: socket.socket) -> bytes:
    """What came until the other side closed."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            got += chunk
    return got


def _refusal_in(data: bytes) -> tuple[int, str]:
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"cache-control: no-store" in head.lower()
    return int(head.split()[1]), json.loads(body)["kind"]


def test_a_thousand_silent_connections_shut_nobody_out(reader: Any) -> None:
    """Far more of them than the server lets be silent; they stay open on their side."""
    with served({"bert": reader}, Limits(silent=20)) as server, contextlib.ExitStack() as held:
        silent = [held.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(300)]
        assert server.ask("/")[0] == 200
        assert server.trace("the cat")[0] == 200
        # those that were silent for the longest went, and were told why
        assert _refusal_in(_closed(silent[0])) == (503, "busy")
        assert _refusal_in(_closed(silent[250])) == (503, "busy")
        silent[-1].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert _closed(silent[-1]).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: local"], ids=["nothing", "half a head"])
def test_a_head_has_a_time_limit(reader: Any, sent: bytes) -> None:
    with served({"bert": reader}, Limits(head=0.05)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as slow:
            slow.sendall(sent)
            assert _refusal_in(_closed(slow)) == (408, "slow")
        assert server.trace("the cat")[0] == 200  # the limit is not one on answers


def test_what_follows_an_answer_has_the_limit_too(reader: Any) -> None:
    """Of a body that nobody reads, or a second request that does not come to its end."""
    with served({"bert": reader}, Limits(head=0.05)) as server:
        for sent in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as slow:
                slow.sendall(sent)
                assert _closed(slow).count(b"HTTP/1.1") == 1


def test_what_is_no_http_is_refused_in_json(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as wrong:
        wrong.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert _refusal_in(_closed(wrong)) == (400, "http")


def test_too_many_at_once_are_refused_in_json(bert: Any) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(text: str, **_: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return attnscope.trace(*bert, text)

    with served({"slow": slow}, Limits(at_once=1)) as server, ThreadPoolExecutor(1) as people:
        first = people.submit(server.trace, "the cat")
        assert begun.wait(60)
        answer = server.trace("the cat")
        go.set()
        assert said(answer)[:2] == (503, "busy")
        assert answer[1]["retry-after"] == "2"
        assert first.result(60)[0] == 200


# -- those who leave


def test_a_question_that_nobody_waits_for_leaves_the_line(bert: Any) -> None:
    """Two wait behind a slow one; both askers of the first of them leave, and it is never read."""
    begun, go, passes = threading.Event(), threading.Event(), []

    def slow(text: str, **_: Any) -> Any:
        passes.append(text)
        begun.set()
        assert go.wait(60)
        return attnscope.trace(*bert, text)

    with served({"slow": slow}, Limits(waiting=2)) as server, ThreadPoolExecutor(2) as people:
        first = people.submit(server.trace, "the cat")
        assert begun.wait(60)
        leaving = [_sent(server, "a dog") for _ in range(2)]
        _wait_until(lambda: server.trace("the mat")[0] == 503)  # both are in line, as one piece of work
        leaving.pop().close()
        assert server.trace("the mat")[0] == 503, "one of them still waits"
        leaving.pop().close()
        last = people.submit(_until_served, server, "the mat")
        _wait_until(lambda: last.running() or last.done())
        go.set()
        assert [task.result(60)[0] for task in (first, last)] == [200, 200]
    assert passes == ["the cat", "the mat"]


def _sent(server: Served, text: str) -> socket.socket:
    """A connection with a whole request on it, whose answer nobody has read."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = json.dumps({"text": text}).encode()
    head = f"POST /api/trace HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def _until_served(server: Served, text: str) -> tuple[int, dict[str, str], bytes]:
    while (answer := server.trace(text))[0] == 503:
        pass
    return answer


def _wait_until(done: Any) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline


def test_who_comes_as_the_last_one_leaves_is_answered() -> None:
    """Work under way is shared, given up with its last asker, and begun again for the next."""

    async def check() -> None:
        shared, made = Shared(), []

        async def work() -> str:
            made.append(1)
            await asyncio.sleep(0)
            return "done"

        first = asyncio.ensure_future(shared.run("key", work))
        await asyncio.sleep(0)
        first.cancel()
        assert await shared.run("key", work) == "done"
        assert first.cancelled()
        both = await asyncio.gather(*(shared.run("key", work) for _ in range(3)))
        assert both == ["done"] * 3
        assert len(made) <= 3

    _in_a_loop(check)


def test_work_that_has_begun_is_kept_for_the_next(bert: Any) -> None:
    async def check() -> None:
        begun, go, passes = threading.Event(), threading.Event(), []

        def slow(text: str, **_: Any) -> Any:
            passes.append(text)
            begun.set()
            assert go.wait(60)
            return attnscope.trace(*bert, text)

        shop, ask = Workshop({"bert": slow}, Limits()), Ask("bert", "the cat sat")
        leaving = asyncio.ensure_future(shop.trace(ask))
        await asyncio.to_thread(begun.wait, 60)
        leaving.cancel()
        await asyncio.wait({leaving})
        go.set()
        assert len((await shop.trace(ask)).tokens) == 5
        assert passes == ["the cat sat"]
        shop.close()

    _in_a_loop(check)


# -- what a model's code raises


class _Told:
    def __str__(self) -> str:
        raise SystemExit("no message")


@pytest.mark.parametrize(
    "error",
    [
        StopIteration("the cat"),
        StopAsyncIteration("the cat"),
        KeyboardInterrupt("the cat"),
        SystemExit("the cat"),
        GeneratorExit("the cat"),
        asyncio.CancelledError("the cat"),
        KeyError("the cat"),
        RecursionError("the cat"),
        RuntimeError(_Told()),
        BaseExceptionGroup("the cat", [KeyboardInterrupt("the cat")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_model_raises_is_answered_and_its_message_not_logged(
    bert: Any, error: BaseException, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(text: str, **_: Any) -> Any:
        if "mat" in text:
            return attnscope.trace(*bert, text)
        try:
            raise ValueError(text)
        except ValueError:
            raise error  # noqa: B904

    with served({"broken": broken}) as server:
        status, kind, message = said(server.trace("the cat"))
        assert (status, kind) == (500, "fault")
        assert type(error).__name__ in message
        assert server.trace("the mat")[0] == 200
    told = caplog.text + "".join(capfd.readouterr())
    assert "in broken" in told, "where it was"
    assert type(error).__qualname__ in told
    assert "the cat" not in told


def test_an_error_of_ours_is_logged_without_its_message(
    reader: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def failing(given: Any) -> Any:
        raise ZeroDivisionError(given["text"])

    monkeypatch.setattr(app_module, "place_of", failing)
    with served({"bert": reader}) as server:
        status, kind, message = said(server.trace("the cat"))
        assert (status, kind, "ZeroDivisionError" in message) == (500, "fault", True)
        assert server.ask("/")[0] == 200
    told = caplog.text + "".join(capfd.readouterr())
    assert "in failing" in told
    assert "the cat" not in told


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"text": "the \ud83d cat"}, "text holds half of a character (a lone surrogate) at position 4"),
        ({"text": "the cat", "pair": "\udc00"}, "pair holds half of a character"),
        ({"text": "the cat", "model": "\ud800"}, r"'\ud800' is not served here"),
        ({"text": "the cat", "layer": "\ud800"}, "expected layer as a number"),
    ],
)
def test_half_of_a_character_is_refused(server: Served, body: Any, expected: str) -> None:
    status, _, message = said(server.ask("/api/trace", body))
    assert status in (400, 404)
    assert expected in message
    assert server.trace("the cat", stack="\ud800")[0] == 200  # a place that is not there: it opens elsewhere


def test_the_library_refuses_half_of_a_character(bert: Any) -> None:
    for given in ({"text": "a \udfff"}, {"text": "a", "text_pair": "\ud800"}):
        with pytest.raises(InputError, match=r"half of a character \(a lone surrogate\) at position"):
            attnscope.trace(*bert, **given)


# -- what is asked again


def test_a_kept_text_costs_nothing_anew(bert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for name in ("_pass", "_open", "_tile"):
        work = getattr(work_module, name)
        monkeypatch.setattr(work_module, name, lambda *a, work=work, name=name: made.append(name) or work(*a))
    with served({"bert": lambda text, **_: attnscope.trace(*bert, text)}) as server:
        first = server.trace("the cat sat", layer=1)
        again = [server.trace("the cat sat", layer=1) for _ in range(3)]
        assert all(
            answer[2] == first[2] and answer[1]["attnscope-state"] == first[1]["attnscope-state"] for answer in again
        )
        assert made == ["_pass", "_open"]
        place = f"/api/site?id={first[1]['attnscope-id']}&site=0&head=2"
        assert len({server.ask(place)[2] for _ in range(3)}) == 1
        assert made == ["_pass", "_open", "_tile"]
        elsewhere = server.trace("the cat sat", layer=0)
        assert made == ["_pass", "_open", "_tile", "_open"]
        assert elsewhere[2] != first[2]
        assert server.trace("the dog sat", layer=1)[2] != first[2]


def test_answers_are_kept_up_to_a_size() -> None:
    trace = attnscope.Trace.from_qkv(*(torch.randn(1, 4, 3) for _ in range(3)))
    kept = Kept(100)
    kept.put("a", trace, 30)
    kept.put_answer("a", 1, "one", 40)
    kept.put_answer("a", 2, "two", 20)
    assert (kept.answer("a", 1), kept.answer("a", 2), kept.answer("a", 3)) == ("one", "two", None)
    kept.put_answer("a", 3, "three", 30)  # too many: the answer used longest ago goes
    assert [kept.answer("a", key) for key in (1, 2, 3)] == [None, "two", "three"]
    kept.put("b", trace, 30)  # the older trace goes with its answers
    assert (kept.trace("a"), kept.answer("a", 2), kept.trace("b")) == (None, None, trace)
    kept.put_answer("a", 4, "late", 10)
    assert kept.answer("a", 4) is None
    kept.put_answer("b", 1, "huge", 999)
    assert (kept.answer("b", 1), kept.trace("b")) == (None, trace)
    kept.clear()
    kept.put("a", trace, 100)
    assert kept.trace("a") is trace
