"""The parts of SQL that the stamper knows, by the names of sqlglot's classes. A part that is not listed is not read.

A list of the allowed, and not of the forbidden: a release that parses a statement in a new way makes it unread.
"""

from __future__ import annotations

READS = frozenset({"Select", "Union", "Except", "Intersect", "Subquery", "Values", "Table"})
WRITES = frozenset({"Insert", "Update", "Delete", "Merge"})  # also inside a WITH
CHANGES = frozenset({"Create", "Drop", "Alter", "TruncateTable"})
# What a name before a path stands for, where a source is a file.
FILE_FORMATS = frozenset({
    "delta", "parquet", "json", "csv", "orc", "avro", "text", "binaryfile", "iceberg", "file", "jdbc", "xml", "hudi",
})  # fmt: skip

NODES = READS | WRITES | CHANGES | frozenset({
    "Add", "Alias", "Aliases", "All", "Any", "AtTimeZone", "Between", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "Boolean", "Bracket", "CTE", "Column", "ColumnConstraint", "ColumnDef", "Cube", "DPipe", "DataType",
    "DataTypeParam", "DefaultColumnConstraint", "Distinct", "Div", "Dot", "EQ", "Escape", "Fetch", "Filter", "From",
    "GT", "GTE", "Group", "GroupingSets", "Having", "ILike", "Identifier", "IgnoreNulls", "In", "IntDiv", "Interval",
    "IntervalSpan", "Into", "Is", "JSONKeyValue", "JSONPath", "JSONPathKey", "JSONPathRoot", "JSONPathSubscript",
    "Join", "Kwarg", "LT", "LTE", "Lateral", "Like", "Limit", "Literal", "Mod", "Mul", "NEQ", "Neg", "Not",
    "NotNullColumnConstraint", "Null", "NullSafeEQ", "NullSafeNEQ", "Offset", "OnConflict", "Order", "Ordered",
    "Parameter", "Paren", "Placeholder", "PrimaryKey", "PrimaryKeyColumnConstraint", "PropertyEQ", "Qualify",
    "RespectNulls", "Returning", "Rollup", "Schema", "Slice", "Star", "Sub", "TableAlias", "Tuple", "Var", "When",
    "Whens", "Where", "Window", "WindowSpec", "With", "WithinGroup",
})  # fmt: skip

FUNCTIONS = frozenset({
    "Abs", "AddMonths", "And", "AnyValue", "ApproxDistinct", "ArgMax", "ArgMin", "Array", "ArrayAgg", "ArrayConcat",
    "ArrayContains", "ArraySize", "ArrayToString", "Avg", "Case", "Cast", "Ceil", "Coalesce", "Concat", "ConcatWs",
    "Contains", "Corr", "Count", "CountIf", "CumeDist", "CurrentDate", "CurrentTime", "CurrentTimestamp", "Date",
    "DateAdd", "DateDiff", "DateSub", "DateTrunc", "Day", "DayOfMonth", "DayOfWeek", "DayOfYear", "DenseRank",
    "EndsWith", "Exists", "Exp", "Explode", "Extract", "First", "FirstValue", "Flatten", "Floor", "GenerateSeries",
    "Greatest", "GroupConcat", "Hour", "If", "Initcap", "JSONExtract", "JSONExtractScalar", "Lag", "Last", "LastValue",
    "Lead", "Least", "Left", "Length", "Ln", "Log", "LogicalAnd", "LogicalOr", "Lower", "Map", "Max", "Median", "Min",
    "Minute", "Month", "MonthsBetween", "NthValue", "Ntile", "Nullif", "Nvl2", "Or", "Pad", "PercentRank",
    "PercentileCont", "PercentileDisc", "Posexplode", "Pow", "Quarter", "Rank", "RegexpLike", "RegexpReplace",
    "Replace", "Reverse", "Right", "Round", "RowNumber", "Second", "Sign", "Split", "SplitPart", "Sqrt", "StartsWith",
    "Stddev", "StddevPop", "StddevSamp", "StrPosition", "StrToDate", "StrToTime", "Struct", "Substring",
    "SubstringIndex", "Sum", "TimeToStr", "Timestamp", "TimestampAdd", "TimestampDiff", "TimestampSub",
    "TimestampTrunc", "ToChar", "ToNumber", "Trim", "Trunc", "TryCast", "TsOrDsAdd", "TsOrDsDiff", "TsOrDsToDate",
    "TsOrDsToDateStr", "TsOrDsToTimestamp", "Unnest", "Upper", "Variance", "VariancePop", "Week", "Xor", "Year",
})  # fmt: skip
# Functions that make rows of their arguments alone, and open no source.
ROWS = frozenset({"Unnest", "Explode", "Posexplode", "Flatten", "GenerateSeries"})
# A text that begins with one of these may be a statement that the database will run.
BEGINNINGS = frozenset({
    "select", "with", "insert", "update", "delete", "merge", "create", "drop", "alter", "truncate", "exec", "execute",
    "call", "grant", "revoke", "copy", "set", "use", "show", "describe", "explain", "table", "values", "from",
})  # fmt: skip
ALWAYS_SQL = frozenset({"select", "insert", "delete", "merge", "drop", "alter", "truncate", "exec", "execute", "grant"})
# Parts that put texts together; `||` is an OR to mysql, but for a setting.
JOINED = frozenset({"DPipe", "Concat", "ConcatWs", "Or"})
# Words that some database does not take for the name of a table.
WORDS = frozenset({"identifier", "lateral", "live", "only", "rows", "stream", "table", "unnest", "values"})
# Functions of a row: to postgres `t.row_to_json` is `row_to_json(t)`.
ROW_FUNCTIONS = frozenset({
    "array_agg", "hash_record", "json_agg", "jsonb_agg", "record_out", "record_send", "row_to_json", "to_json",
    "to_jsonb",
})  # fmt: skip
