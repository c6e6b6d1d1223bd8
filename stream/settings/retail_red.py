"""The destination: where retail.red is, who asks, and how much at once."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stream.settings.kinds import Count, Problems, Seconds, Section, Text, Url, is_plain_http


class Urls(Section):
    """Base URLs of retail.red's services, without /v1."""

    auth: Url = Field(default="https://auth.shopgate.io", description="the token service")
    segmentation: Url = Field(default="https://segmentation.shopgate.io", description="the segmentation service")
    customer: Url = Field(default="https://customer.shopgate.io", description="the customer service")


class RetailRed(Section):
    """The destination."""

    merchant: Annotated[Text, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = Field(description="merchant code")
    client_id: Text = Field(description="API client id")
    client_secret_file: Path = Field(description="file with the API client's secret; read again at each token fetch")
    grant: Literal["password", "client_credentials"] = Field(
        default="client_credentials", description="how a token is asked for"
    )
    username: Text | None = Field(default=None, description="user name, for grant: password")
    password_file: Path | None = Field(default=None, description="file with the user's password, for grant: password")
    urls: Urls = Field(default_factory=Urls, description="base URLs of the services")
    allow_http: bool = Field(default=False, description="allow plain http to other hosts than this machine")
    members_max: Count = Field(default=500, ge=1, le=10_000, description="members in one request at most")
    body_bytes_max: Count = Field(
        default=262_144, ge=1_024, le=16_777_216, description="bytes in one request's body at most"
    )
    slots: Count = Field(default=8, ge=1, le=64, description="requests in flight at once at most, in this process")
    api_timeout_s: Seconds = Field(
        default=10, ge=0.1, le=120, description="seconds until a request without an answer is given up"
    )
    settle_s: Seconds = Field(
        default=5,
        ge=0,
        le=600,
        description="seconds for which an accepted removal or an unanswered request may still take effect",
    )
    run_in_background: bool | None = Field(
        default=None, description="send runInBackground with removals; null leaves it to the server"
    )
    filter_parameter: Literal["filters", "filter"] = Field(
        default="filters", description="the query parameter that carries the filter of a list"
    )
    lookup_values_max: Count = Field(
        default=100, ge=1, le=1_000, description="emails or numbers asked for in one request at most"
    )
    lookup_url_bytes_max: Count = Field(
        default=4_000, ge=512, le=16_000, description="bytes in one look-up's URL at most"
    )
    lookup_slots: Count = Field(
        default=2, ge=1, le=32, description="look-ups in flight at once at most, beside the slots"
    )
    retry_base_s: Seconds = Field(
        default=0.2, ge=0.01, le=60, description="seconds of the first back-off, doubled each time"
    )
    retry_cap_s: Seconds = Field(default=30, ge=0.01, le=3_600, description="seconds of back-off at most")
    retry_after_cap_s: Seconds = Field(
        default=300, ge=1, le=86_400, description="seconds of a Retry-After believed at most"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[tuple[tuple[str, ...], str]] = []
        if self.grant == "password" and (self.username is None or self.password_file is None):
            problems.append((("grant",), "is password, which needs username and password_file"))
        if not self.allow_http:
            problems += [
                (("urls", name), "is plain http to another host: use https, or set retail_red.allow_http: true")
                for name, url in self.urls
                if is_plain_http(url)
            ]
        if self.retry_base_s > self.retry_cap_s:
            problems.append((("retry_base_s",), f"is above retry_cap_s, which is {self.retry_cap_s:g}"))
        if problems:
            raise Problems(problems)
        return self
