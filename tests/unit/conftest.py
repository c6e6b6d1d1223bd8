"""Its being here puts this folder on the import path of the tests below it: they share engine_hand."""
