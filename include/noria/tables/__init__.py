"""How a text table becomes a typed one: headers, types, rules of the columns, quarantine; CSV in, Parquet out.

Where the text is from and where the table goes belongs to sources and the lake; what the rows say together belongs to
validation.
"""

from noria.tables.duplicates import count_duplicates
from noria.tables.typed import TypedTable, type_table, typing_fingerprint

__all__ = ["TypedTable", "count_duplicates", "type_table", "typing_fingerprint"]
