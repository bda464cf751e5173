"""Captures in several threads: none disturbs a model call, and none sees another's passes."""

import threading

import pytest
import torch
from transformers import BertConfig, BertModel

import attnscope
import parts


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=35, num_attention_heads=5, num_hidden_layers=2, intermediate_size=53, vocab_size=101
    )
    return BertModel(config).eval()


def ids(length):
    return torch.arange(length)[None] % 101


def test_plain_passes_in_another_thread_go_on_undisturbed(model):
    done, expected = threading.Event(), model(ids(11)).last_hidden_state

    def plain():
        passes = 0
        while not done.is_set() or passes < 3:
            assert torch.equal(model(ids(11)).last_hidden_state, expected)
            passes += 1

    def traces():
        try:
            for _ in range(30):
                trace = attnscope.trace(model, None, inputs={"input_ids": ids(7)})
                assert [site.queries for site in trace.sites] == [7, 7]
        finally:
            done.set()

    parts.in_threads(plain, traces)


def test_traces_of_one_model_in_several_threads(model):
    def job(length):
        def run():
            for _ in range(12):
                trace = attnscope.trace(model, None, inputs={"input_ids": ids(length)})
                assert [site.queries for site in trace.sites] == [length, length]
                assert trace.verify().passed

        return run

    parts.in_threads(*(job(length) for length in (3, 5, 7, 11)))


def test_captures_of_one_model_in_several_threads(model):
    together = threading.Barrier(4)

    def job(length):
        def run():
            with attnscope.capture(model) as recorder:
                together.wait()
                for _ in range(5):
                    model(input_ids=ids(length))
                together.wait()
            assert recorder.passes == 5
            assert recorder.trace(input_ids=ids(length)).sites[0].queries == length

        return run

    parts.in_threads(*(job(length) for length in (3, 5, 7, 11)))


def test_a_capture_sees_the_passes_of_threads_without_one(model):
    with attnscope.capture(model) as recorder:
        parts.in_threads(lambda: model(input_ids=ids(5)))
    assert recorder.trace().sites[0].queries == 5
