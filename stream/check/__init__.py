"""The bounded shell that only looks whether settings, Kafka, the tables' records and retail.red fit together."""

from stream.check.findings import Finding, Findings
from stream.check.look import check
from stream.check.show import as_table, as_text, summary

__all__ = ["Finding", "Findings", "as_table", "as_text", "check", "summary"]
