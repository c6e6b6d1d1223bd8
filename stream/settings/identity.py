"""How customers are found by email or number."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stream.settings.kinds import Count, Problems, Seconds, Section


class Identity(Section):
    """How customers are found, and how often those are looked for who are not found."""

    emails: Literal["lower", "exact"] = Field(
        default="lower", description="lower: compared without case and surrounding blanks; exact: as they are"
    )
    tie_break: Literal["none", "lowest_internal_number", "highest_internal_number"] = Field(
        default="none",
        description="whom to take where several registered customers share an email or a number: nobody, or the one with "
        "the lowest or highest internalCustomerNumber",
    )
    found_ttl_s: Seconds = Field(
        default=3_600,
        ge=1,
        le=2_592_000,
        description="seconds for which a customer that was found is not asked for again",
    )
    missing_retry_s: Seconds = Field(
        default=30, ge=1, le=86_400, description="seconds until a customer that was not found is first looked for again"
    )
    missing_retry_cap_s: Seconds = Field(
        default=21_600,
        ge=1,
        le=2_592_000,
        description="seconds between two such look-ups at most, however long it lasts",
    )
    cache_max: Count = Field(
        default=500_000, ge=1_000, le=100_000_000, description="customers that were found, kept in memory at most"
    )
    retries_per_s: Seconds = Field(
        default=1.0, ge=0.01, le=100, description="requests a second at most for those who were not found before"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.missing_retry_s > self.missing_retry_cap_s:
            raise Problems(
                [(("missing_retry_s",), f"is above identity.missing_retry_cap_s, {self.missing_retry_cap_s:g}")]
            )
        return self
