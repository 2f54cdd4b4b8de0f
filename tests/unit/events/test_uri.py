"""URIs by RFC 3986: what may be a `source`, what may be a `dataschema`."""

from __future__ import annotations

import time

import pytest

from tidemill.events import uri

ABSOLUTE = [
    "https://example.com", "https://example.com/", "https://user:pw@example.com:8080/a/b?c=d&e#f",
    "urn:uuid:6e8bc430",
    "mailto:cncf-wg-serverless@lists.cncf.io", "http://[2001:db8::7]/c", "http://[v1.fe80::a]/",
    "file:///etc/hosts",
    "tag:example,2026:x", "a:", "x+y-z.1:/p", "http://a/%E2%82%AC", "http://a?b", "http://a#",
    "news:comp.infosystems",
    "https://a.b/c;d=e,f'(g)*!$", "http://", "urn:a:b:c//d",
]  # fmt: skip
RELATIVE = [
    "/", "/cloudevents/spec/pull/123", "1-555-123-4567", "a", "a/b:c", "./a:b", "//host/path", "//host:80",
    "?q", "#f",
    "../x", "sensors/tn-1234567/alerts", "a@b", "/a//b", "%41", "/tidemill/dags/x%20y",
]  # fmt: skip
NEITHER = [
    "1a:b", ":a", "a b", "/a b", "/\u00e9", "/%", "/%4", "/%4g", "/a#b#c", "http://[::1", "http://::1]/",
    "/a[b]", "/a|b",
    "/<script>", "/a\\b", "/a^b", '/"a"', "/{a}", "/a`b", "/a\n", "\n/a", "http://a:8x/", "_a:b",
    "http://a b/", "/\x7f",
    "//[::1]x/a",
]  # fmt: skip


@pytest.mark.parametrize("text", ABSOLUTE)
def test_a_uri_with_a_scheme_is_absolute_and_a_reference(text: str) -> None:
    assert uri.is_absolute(text)
    assert uri.is_reference(text)


@pytest.mark.parametrize("text", RELATIVE)
def test_a_relative_reference_is_no_absolute_uri(text: str) -> None:
    assert uri.is_reference(text)
    assert not uri.is_absolute(text)


@pytest.mark.parametrize("text", NEITHER)
def test_what_breaks_the_grammar_is_neither(text: str) -> None:
    assert not uri.is_reference(text)
    assert not uri.is_absolute(text)


@pytest.mark.parametrize("unit", ["a", "%41", "/", ":", "@", "a@", "%41a", "?", "a:"])
def test_checking_takes_time_in_proportion_to_length(unit: str) -> None:
    hostile = "http://" + unit * (200_000 // len(unit)) + "\n"
    began = time.process_time()

    assert not uri.is_reference(hostile)

    assert time.process_time() - began < 1.0
