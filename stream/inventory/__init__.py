"""The bounded shell that compares which segments the source names with those at retail.red, and accepts changed codes."""

from stream.inventory.accept import Acceptance, accept
from stream.inventory.compare import Inventory, Line
from stream.inventory.look import look
from stream.inventory.show import as_table, as_text, summary, told

__all__ = ["Acceptance", "Inventory", "Line", "accept", "as_table", "as_text", "look", "summary", "told"]
