"""The signature against the examples of its specification."""

from datetime import UTC, datetime

from engine.storage.signature import Keys, query, signed

# docs.aws.amazon.com, "Signature Calculations for the Authorization Header", examples "GET Bucket Lifecycle" and "GET
# Bucket (List Objects)", with their published keys.
KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
TIME = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"


def signature(query_text: str) -> str:
    return signed("GET", HOST, "/", query_text, KEYS, "us-east-1", TIME)["authorization"].rpartition("=")[2]


def test_the_examples_of_the_specification() -> None:
    assert signature("lifecycle=") == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    values = {"prefix": "J", "max-keys": "2"}
    assert signature(query(values)) == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"


def test_a_session_token_is_signed() -> None:
    headers = signed("GET", HOST, "/", "", KEYS._replace(session_token="t"), "us-east-1", TIME)
    assert headers["x-amz-security-token"] == "t"
    assert "host;x-amz-content-sha256;x-amz-date;x-amz-security-token" in headers["authorization"]
