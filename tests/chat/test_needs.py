"""What a request's body needs of an endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from moored.chat.endpoint import Capabilities, Endpoint
from moored.chat.needs import Needs

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
TEXT = {"type": "text", "text": "What is this?"}


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {}),
        ({"messages": user("Hello")}, {}),
        ({"tools": []}, {}),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools": True}),
        ({"functions": [{"name": "f"}]}, {"tools": True}),
        ({"messages": user([TEXT])}, {}),
        ({"messages": user([TEXT, IMAGE])}, {"vision": True}),
        ({"input": "Hello"}, {}),
        ({"input": user([{"type": "input_image", "file_id": "f"}])}, {"vision": True}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"structured": True}),
        ({"text": {"format": {"type": "json_schema"}}}, {"structured": True}),
        ({"text": {"verbosity": "low"}}, {}),
        ({"reasoning_effort": "high"}, {"reasoning": True}),
        ({"reasoning_effort": "none"}, {}),
        ({"reasoning": {"effort": "low"}}, {"reasoning": True}),
        ({"reasoning": {"effort": "none"}}, {}),
        ({"reasoning": None}, {}),
        # What makes no sense is for the endpoint to refuse.
        ({"messages": 3, "input": [3, {"content": 3}, {"content": [3]}], "text": 3}, {}),
        ({"model": 3, "response_format": "json"}, {"model": ""}),
    ],
)
def test_needs_are_read_from_the_body(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Needs.of({"model": "m", **body}) == Needs(**{"model": "m", **expected})


def test_an_endpoint_that_has_all_of_it_meets_the_needs() -> None:
    needs = Needs("m", tools=True, vision=True, structured=True, reasoning=True)
    assert needs.unmet_by(Endpoint("http://a.example/v1")) == ""
    assert needs.unmet_by(Endpoint("http://a.example/v1", models=("l", "m"))) == ""


def test_what_it_lacks_is_said() -> None:
    needs = Needs("m", tools=True, vision=True, structured=True, reasoning=True)
    plain = Capabilities(tools=False, vision=False, structured=False, reasoning=False)
    assert needs.unmet_by(Endpoint("http://a.example/v1", capabilities=plain)) == (
        "has no tools and no vision and no structured output and no reasoning"
    )
    assert Needs("m").unmet_by(Endpoint("http://a.example/v1", capabilities=plain)) == ""
    assert needs.unmet_by(Endpoint("http://a.example/v1", models=["l"])) == (
        "does not serve model 'm'"
    )


def test_a_need_is_true_or_false() -> None:
    with pytest.raises(TypeError, match=r"Needs\.tools must be True or False, not \['f'\]"):
        Needs("m", tools=["f"])  # type: ignore[arg-type]
