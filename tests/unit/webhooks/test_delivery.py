"""What an answer means for its delivery, and what is kept of it."""

from dataclasses import replace

import orjson
import pytest

from services.webhooks.answers import BODY_CAP_BYTES, Answer
from services.webhooks.delivery import (
    DeliveryExhausted,
    DeliveryFailed,
    EgressForbidden,
    EndpointDeleted,
    EndpointDisabled,
    detail_of,
    failure,
    reason_of,
    usable,
)
from services.webhooks.destinations.redis_stream import RedisStreamConfig
from services.webhooks.destinations.s3 import S3Config
from services.webhooks.retry import policy_of
from services.webhooks.targets import Target
from shared.runtime.addresses import AddressPolicy
from shared.transport.attempt import DETAIL_LIMIT_BYTES
from shared.transport.execution import describe

POLICY = AddressPolicy()


def target(
    url: str = "https://example.com/",
    *,
    enabled: bool = True,
) -> Target:
    return Target("ep_1", "acme", url, 5.0, policy_of((1.0, 2.0)), enabled, secrets=(("new", None), ("old", 100)))


def judged(answer: Answer, *, attempt: int = 1, last: bool = False, url: str = "https://example.com/") -> Exception:
    return failure(target(url), answer, POLICY, attempt=attempt, last=last, wish_s=None)


def test_a_failure_is_retried_until_the_schedule_ends() -> None:
    answer = Answer(502, None, None, 1.0)
    first = judged(answer)
    assert isinstance(first, DeliveryFailed)
    assert (first.after_s, str(first)) == (1.0, "502 Bad Gateway")
    third = judged(answer, attempt=3)
    assert isinstance(third, DeliveryExhausted)
    assert str(third) == "502 Bad Gateway after 3 attempts"


def test_unlike_ends_are_letters_of_different_groups_and_like_ones_of_one() -> None:
    def group(answer: Answer) -> str:
        return describe("webhooks.deliver", judged(answer, last=True)).fingerprint

    kinds = ("timeout", "refused", "protocol", "tls", "dns", "egress", "disconnected")
    answers = [Answer(None, kind, "said", 1.0) for kind in kinds]  # type: ignore[arg-type]
    answers += [Answer(status, None, None, 1.0) for status in (404, 500, 503)]
    assert len({group(answer) for answer in answers}) == len(answers)
    assert group(Answer(None, "timeout", "no answer within 5 s", 1.0)) == group(answers[0])
    assert group(Answer(500, "timeout", "the body", 9.0, body="x")) == group(Answer(500, None, None, 1.0))


def test_the_ledgers_last_attempt_is_the_last() -> None:
    assert str(judged(Answer(500, None, None, 1.0), last=True)) == "500 Internal Server Error after 1 attempt"


def test_only_an_address_that_is_refused_for_itself_ends_at_once() -> None:
    answer = Answer(None, "egress", "refused", 0.1)
    assert isinstance(judged(answer, url="http://10.0.0.1/"), EgressForbidden)
    assert isinstance(judged(answer, url="http://localhost/"), EgressForbidden)
    assert isinstance(judged(answer, url="http://rebinding.example/"), DeliveryFailed)


@pytest.mark.parametrize(
    ("host", "ends"),
    [("10.0.0.1", EgressForbidden), ("[fd00:ec2::254]", EgressForbidden), ("rebinding.example", DeliveryFailed)],
)
def test_the_host_of_a_stream_or_a_bucket_is_judged_and_not_how_it_is_shown(host: str, ends: type) -> None:
    answer = Answer(None, "egress", "refused", 0.1)
    stream = RedisStreamConfig(url=f"redis://{host}:6390/1", stream="mine")
    bucket = S3Config(bucket="mine", access_key_id="k", secret_access_key="s", endpoint=f"http://{host}")
    for kind, config, url in (("redis_stream", stream, f"redis://{host}"), ("s3", bucket, "s3://mine/")):
        to = replace(target(url), kind=kind, config=config)
        assert isinstance(failure(to, answer, POLICY, attempt=1, last=False, wish_s=None), ends)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(404, None, None, 1.0), "404 Not Found"),
        (Answer(599, None, None, 1.0), "599"),
        (Answer(None, "timeout", "too slow", 1.0), "timeout: too slow"),
        (Answer(None, "dns", None, 1.0), "dns"),
    ],
)
def test_reasons_are_words(answer: Answer, words: str) -> None:
    assert reason_of(answer) == words


def test_what_is_not_wanted_is_said() -> None:
    with pytest.raises(EndpointDeleted):
        usable(None, "acme")
    with pytest.raises(EndpointDeleted):
        usable(target(), "other")
    with pytest.raises(EndpointDisabled, match="no reason given"):
        usable(target(enabled=False), "acme")
    assert usable(target(), "acme").id == "ep_1"


def test_the_old_secret_signs_until_its_time() -> None:
    assert target().signing(99) == ("new", "old")
    assert target().signing(100) == ("new",)


def test_a_target_does_not_show_its_secrets() -> None:
    assert "new" not in repr(target())


@pytest.mark.parametrize("char", ["a", "\x01", "ä", '"', "\U0001f600"])
def test_a_detail_always_fits_the_ledger(char: str) -> None:
    body = char * (BODY_CAP_BYTES // len(char.encode()))
    headers = tuple((f"h{n}", "v" * 120) for n in range(64))
    detail = detail_of("http://x/" + "p" * 2_000, Answer(500, None, None, 1.0, headers, body))
    assert len(orjson.dumps(detail)) < DETAIL_LIMIT_BYTES
    assert detail["body_truncated"] == (len(detail["body"]) < len(body))


def test_a_header_that_comes_twice_is_kept_whole() -> None:
    detail = detail_of("http://x/", Answer(200, None, None, 1.0, (("A", "1"), ("A", "2"))))
    assert detail["headers"] == {"A": "1, 2"}
