"""What nobody has written down about retail.red, asked of it with a throw-away segment (segstream probe)."""

from stream.survey.findings import Finding, Findings
from stream.survey.order import Plan, survey
from stream.survey.show import as_table, as_text, fragment, summary

__all__ = ["Finding", "Findings", "Plan", "as_table", "as_text", "fragment", "summary", "survey"]
