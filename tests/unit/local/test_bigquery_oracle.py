"""The local BigQuery against Google's own implementation of GoogleSQL: one answer, or the local one refuses."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import googlesql
import pytest
from bigquery_engine import Engine

from airflow_batch_gemini.local.bigquery.errors import BigQueryError

DOCUMENT = (
    r"""JSON '{"b": 1.0, "a": [1, null, "x", {"k": true}], "n": null, "s": "t\u00e9","""
    """ "o": {"x": {"y": [10, 20]}}}'"""
)
RESPONSE = (
    """JSON '{"candidates": [{"content": {"parts": [{"text": "a"}, {"text": "b", "thought": true}, {"text": "c"}]},"""
    """ "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 7}}'"""
)

EXPRESSIONS = {
    "json": [
        """TO_JSON_STRING(JSON '{ "b":1.0, "a":1e22, "c":1.10, "d":1e16, "e":1e15, "f":-0.0, "g":1e-5, "a":5}')""",
        "JSON_VALUE(JSON '{\"a\":1.0}', '$.a')",
        "JSON_VALUE('{\"a\":1.10}', '$.a')",
        "JSON_VALUE('{\"a\":1e2}', '$.a')",
        f"JSON_VALUE({DOCUMENT}, '$.n')",
        f"JSON_VALUE({DOCUMENT}, '$.o')",
        f"JSON_VALUE({DOCUMENT}, '$.a[3].k')",
        f"JSON_VALUE({DOCUMENT}, '$.o.x.y[1]')",
        f"JSON_VALUE({DOCUMENT}, '$.missing')",
        f"JSON_VALUE({DOCUMENT})",
        f"JSON_SET({DOCUMENT}, '$.o.x.z', 'new')",
        f"JSON_SET({DOCUMENT}, '$.b', 12, '$.s', JSON '[1]')",
        f"JSON_SET({DOCUMENT}, '$.n.deep.er', TRUE)",
        f"JSON_SET({DOCUMENT}, '$.s.no', 1)",
        f"JSON_SET({DOCUMENT}, '$.a[6]', 1)",
        f"JSON_SET({DOCUMENT}, '$.a.no', 1)",
        f"JSON_SET({DOCUMENT}, '$.o[0]', 1)",
        f"JSON_SET({DOCUMENT}, '$.b', CAST(NULL AS STRING))",
        "JSON_SET(JSON '{}', '$.a.b[1].c', 1)",
        "JSON_SET(JSON '1', '$', 2)",
        "JSON_SET(CAST(NULL AS JSON), '$.a', 2)",
        f"JSON_ARRAY_APPEND({DOCUMENT}, '$.a', JSON '{{\"c\": 1, \"b\": 2}}')",
        f"JSON_ARRAY_APPEND({DOCUMENT}, '$.a', 1, '$.o.x.y', 'z')",
        f"JSON_ARRAY_APPEND({DOCUMENT}, '$.missing', 1)",
        f"JSON_ARRAY_APPEND({DOCUMENT}, '$.n', 1)",
        f"JSON_ARRAY_APPEND({DOCUMENT}, '$.o', 1)",
        f"JSON_ARRAY_APPEND({DOCUMENT}, '$.a[9]', 1)",
        f"JSON_QUERY({DOCUMENT}, '$.n')",
        f"JSON_QUERY({DOCUMENT}, '$.n') IS NULL",
        f"JSON_QUERY({DOCUMENT}, '$.missing') IS NULL",
        "JSON_QUERY('{\"a\":null}', '$.a') IS NULL",
        'JSON_QUERY(\'{"a": { "b" : 1 } }\', "$.a")',
        "JSON_QUERY('{\"a\": \"x\"}', '$.a')",
        "JSON_VALUE('not json', '$.a')",
        """JSON_VALUE(JSON '{"a b": {"c.d": 1}}', '$."a b"."c.d"')""",
        "JSON_EXTRACT_SCALAR(JSON '{\"a b\": 1}', \"$['a b']\")",
        f"JSON_EXTRACT({DOCUMENT}, '$.o')",
        f"JSON_VALUE_ARRAY({DOCUMENT}, '$.o.x.y')",
        f"JSON_VALUE_ARRAY({DOCUMENT}, '$.a')",
        f"JSON_VALUE_ARRAY({DOCUMENT}, '$.s')",
        f"JSON_QUERY_ARRAY({DOCUMENT}, '$.a')",
        f"JSON_QUERY_ARRAY({DOCUMENT}, '$.b')",
        f"ARRAY_LENGTH(JSON_QUERY_ARRAY({DOCUMENT}, '$.a'))",
        f"JSON_QUERY_ARRAY({DOCUMENT}, '$.a')[1] IS NULL",
        "JSON_QUERY_ARRAY('{\"a\":[\"x\",1,null,{}]}', '$.a')",
        "JSON_EXTRACT_STRING_ARRAY('[\"a\", 1.50]')",
        f"{DOCUMENT}.o.x.y[0]",
        f"{DOCUMENT}['s']",
        f"{DOCUMENT}.nothing.at.all IS NULL",
        f"{DOCUMENT}.a[9] IS NULL",
        'PARSE_JSON(\'{"a":1,"a":2}\')',
        "PARSE_JSON('18446744073709551615')",
        "PARSE_JSON('1.0')",
        "PARSE_JSON('123456789012345678901234567890', wide_number_mode => 'round')",
        "SAFE.PARSE_JSON('{')",
        "SAFE.PARSE_JSON(NULL)",
        "SAFE.PARSE_JSON('null')",
        "SAFE.PARSE_JSON('null') IS NULL",
        "SAFE.PARSE_JSON('[1,]')",
        "SAFE.PARSE_JSON('{\"a\": NaN}')",
        "SAFE.PARSE_JSON('01')",
        r"""TO_JSON_STRING('a"b\\/\n\t\x01<\u2028\u2029é\x7f')""",
        "TO_JSON_STRING(1.0)",
        "TO_JSON_STRING(9007199254740993)",
        "TO_JSON_STRING(CAST(NULL AS STRING))",
        "TO_JSON_STRING(DATE '2026-01-01')",
        "TO_JSON_STRING(TIMESTAMP '2026-01-01 12:00:00.5+00')",
        "TO_JSON_STRING(b'ab')",
        "TO_JSON_STRING([1, NULL])",
        "TO_JSON_STRING(STRUCT(1 AS b, NULL AS a, 'x' AS c, [STRUCT(2 AS d)] AS e))",
        "TO_JSON_STRING(NUMERIC '1.10')",
        "TO_JSON_STRING(CAST('nan' AS FLOAT64))",
        "TO_JSON(1.0)",
        "TO_JSON(STRUCT(1 AS b, 'x' AS a))",
        "TO_JSON(CAST(NULL AS STRING)) IS NULL",
        "TO_JSON([1, NULL])",
        "JSON_OBJECT('b', 1, 'a', 'x', 'c', NULL, 'd', [1, 2])",
        "JSON_ARRAY(1, 'x', NULL, 1.0)",
        "JSON_ARRAY()",
        f"JSON_TYPE({DOCUMENT}.b)",
        f"JSON_TYPE({DOCUMENT}.n)",
        f"JSON_TYPE({DOCUMENT}.a)",
        f"JSON_TYPE({DOCUMENT}.missing)",
        "JSON_TYPE(CAST(NULL AS JSON))",
        "STRING(JSON '\"x\"')",
        "STRING(JSON '1')",
        "INT64(JSON '1.0')",
        "INT64(JSON '1.5')",
        "FLOAT64(JSON '1')",
        "BOOL(JSON 'true')",
        "SAFE.INT64(JSON '\"x\"')",
        "LAX_INT64(JSON '\"5\"')",
        "LAX_INT64(JSON '1.5')",
        "LAX_INT64(JSON 'true')",
        "LAX_INT64(JSON '{}')",
        "LAX_STRING(JSON '1.0')",
        "LAX_STRING(JSON 'true')",
        "LAX_STRING(JSON '[]')",
        "LAX_FLOAT64(JSON '\"1e2\"')",
        "LAX_BOOL(JSON '\"true\"')",
        "LAX_BOOL(JSON '0')",
        f"""(SELECT STRING_AGG(JSON_VALUE(part, '$.text'), '' ORDER BY o)
             FROM UNNEST(JSON_QUERY_ARRAY({RESPONSE}, '$.candidates[0].content.parts')) AS part WITH OFFSET o
             WHERE COALESCE(JSON_VALUE(part, '$.thought'), 'false') != 'true')""",
        f"SAFE_CAST(JSON_VALUE({RESPONSE}, '$.usageMetadata.promptTokenCount') AS INT64)",
    ],
    "casts": [
        *(
            f"CAST({value} AS STRING)"
            for value in (
                "true",
                "1.0",
                "1.5",
                "1e22",
                "1e-7",
                "123456789.0",
                "1e15",
                "0.1",
                "-0.0",
                "CAST('inf' AS FLOAT64)",
                "0.1234567890123456",
                "123456789012345.6",
                "NUMERIC '1.500'",
                "b'ab'",
                "DATE '2026-01-01'",
                "DATETIME '2026-01-01 00:00:00'",
                "TIME '01:02:03.5'",
                "TIMESTAMP '2026-01-01 00:00:00.123+00'",
            )
        ),
        *(
            f"SAFE_CAST('{text}' AS INT64)"
            for text in ("1", " 1 ", "1.5", "0x1A", "1e3", "", "+5", "-5", "1_0", "9223372036854775808")
        ),
        *(
            f"SAFE_CAST('{text}' AS FLOAT64)"
            for text in ("1.5", "inf", "-Infinity", "nan", " 1.5 ", "1e3", "", "x")
        ),
        *(f"SAFE_CAST('{text}' AS BOOL)" for text in ("true", "TRUE", "t", "1", " true")),
        *(
            f"SAFE_CAST('{text}' AS DATE)"
            for text in ("2026-01-01", "2026-1-1", "20260101", "2026-02-30", "0000-01-01", "0001-01-01")
        ),
        *(
            f"SAFE_CAST('{text}' AS TIMESTAMP)"
            for text in (
                "2026-01-01",
                "2026-01-01 00:00:00",
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:00:00.123+02:00",
                "2026-01-01 00:00:00 UTC",
                "2026-01-01 00:00:00 America/New_York",
                "x",
                "2026-01-01 24:00:00",
                "2026-01-01 1:2:3",
                "2026-01-01 00:00:00+2",
                "0000-12-31 23:00:00+00",
                "0001-01-01 00:00:00+00",
                "0001-01-01 00:00:00+01",
                "9999-12-31 23:59:59-00",
                "9999-12-31 23:59:59-01",
            )
        ),
        *(f"SAFE_CAST('{text}' AS NUMERIC)" for text in ("1.123456789", "1.1234567895", "1e3", "x")),
        "CAST(2.5 AS INT64)",
        "CAST(-2.5 AS INT64)",
        "CAST(1.4 AS INT64)",
        "CAST(true AS INT64)",
        "CAST(2 AS BOOL)",
        "SAFE_CAST(1e30 AS INT64)",
        "CAST(1.5 AS NUMERIC)",
        "CAST('x' AS INT64)",
        "CAST([1, 2] AS ARRAY<FLOAT64>)",
        "CAST(NULL AS ARRAY<INT64>) IS NULL",
    ],
    "strings": [
        "UPPER('straße')",
        "LOWER('ÀB')",
        "LENGTH('ä€')",
        "BYTE_LENGTH('ä€')",
        "LENGTH(b'ab')",
        "SUBSTR('abc', -2)",
        "SUBSTR('abc', 0, 2)",
        "SUBSTR('abc', -5, 3)",
        "SUBSTR('abc', 5)",
        "SUBSTR('abc', 1, -1)",
        "SAFE.SUBSTR('abc', 1, -1)",
        "LEFT('abc', 2)",
        "RIGHT('abc', 2)",
        "STRPOS('äbc', 'b')",
        "STRPOS('abc', 'z')",
        "REVERSE('äb')",
        "REPEAT('ab', 2)",
        "LPAD('a', 3, 'xy')",
        "RPAD('abcd', 3)",
        "TRIM(' \\ta\\n ')",
        "TRIM('xaxx', 'x')",
        "LTRIM(' a ')",
        r"TRIM('\u00a0\u2003a\u3000\v')",
        "REPLACE('aaa', 'a', 'b')",
        "REPLACE('a', '', 'x')",
        "SPLIT('a,b', ',')",
        "SPLIT('', ',')",
        "SPLIT('abc', '')",
        "CONCAT('a', 'b', 'c')",
        "CONCAT('a', CAST(NULL AS STRING))",
        "CONCAT('a', 1, true, 1.0)",
        "'a' || 'b'",
        "REGEXP_CONTAINS('abc', 'b.$')",
        "REGEXP_EXTRACT('abc', 'b(c)')",
        "REGEXP_EXTRACT('abc', 'x')",
        "REGEXP_EXTRACT('aXbX', '[a-z]X', 2)",
        "REGEXP_EXTRACT('aXbX', '[a-z]X', 1, 2)",
        "REGEXP_EXTRACT('abc', '(b)(c)')",
        "REGEXP_EXTRACT('abc', '(?:b)(c)')",
        r"REGEXP_REPLACE('abc', r'b(c)', r'<\1>')",
        "REGEXP_REPLACE('abc', 'b', '$1')",
        "REGEXP_EXTRACT_ALL('a1b2', '[a-z]([0-9])')",
        r"'a%b' LIKE r'a\%b'",
        "'ab' LIKE 'a_'",
        "'A' LIKE 'a'",
        "'abc' NOT LIKE '%c'",
        "STARTS_WITH('abc', 'ab')",
        "ENDS_WITH('abc', 'bc')",
        "TO_HEX(b'\\xff\\x00')",
        "FROM_HEX('ab01')",
        "TO_BASE64(b'ab')",
        "SHA256('a')",
        "MD5('a')",
        "TO_HEX(SHA1('a'))",
        "FARM_FINGERPRINT('')",
        "FARM_FINGERPRINT('abc')",
        "FARM_FINGERPRINT('abcdef')",
        "FARM_FINGERPRINT('hello world')",
        "FARM_FINGERPRINT('twenty-five bytes, about.')",
        f"FARM_FINGERPRINT('{'x' * 50}')",
        f"FARM_FINGERPRINT('{'0123456789' * 13}')",
        f"FARM_FINGERPRINT('{'é' * 64}')",
        "ASCII('a')",
        "CHR(233)",
        "TO_CODE_POINTS('aé')",
        "CODE_POINTS_TO_STRING([97, 233])",
        "NORMALIZE('e\\u0301')",
        "FORMAT('%05d|%s', 5, 'x')",
        "FORMAT('%.2f|%5.1f', 1.005, 1.25)",
        'FORMAT("%\'d", 1234567)',
        "FORMAT('%t', TIMESTAMP '2026-01-01 00:00:00+00')",
        "FORMAT('100%%')",
        "FORMAT('%s', CAST(NULL AS STRING))",
        r"'\x41\u00e9\101\U0001F600\'\n'",
        r"r'\n\x'",
        "'''a'b\"\nc'''",
        r'"""q\"\"\""""',
        r"b'\x00\xff\101'",
        r"rb'\x'",
    ],
    "numbers": [
        "1 / 0",
        "7 / 2",
        "DIV(-7, 2)",
        "MOD(-7, 3)",
        "9223372036854775807 + 1",
        "SAFE_DIVIDE(1, 0)",
        "IEEE_DIVIDE(1, 0)",
        "SAFE_ADD(9223372036854775807, 1)",
        "ROUND(2.5)",
        "ROUND(-2.5)",
        "ROUND(2.345, 2)",
        "ROUND(15, -1)",
        "TRUNC(-2.7)",
        "CEIL(1.2)",
        "FLOOR(-1.2)",
        "ABS(-1)",
        "SIGN(-2.5)",
        "POW(2, 10)",
        "SQRT(2)",
        "LOG(100, 10)",
        "GREATEST(1, NULL, 2)",
        "GREATEST(1, 2.5)",
        "LEAST(2, 1)",
        "NUMERIC '1' / NUMERIC '3'",
        "1 / NUMERIC '3'",
        "NUMERIC '1.5' * NUMERIC '1.5'",
        "NUMERIC '1.5' + 1",
        "NUMERIC '1.5' + 1.0",
        "NUMERIC '0.00000003' * NUMERIC '0.05'",
        "-5",
        "- (5)",
        "0x1F",
        "1 = 1.0",
        "CAST('nan' AS FLOAT64) = CAST('nan' AS FLOAT64)",
        "CAST('nan' AS FLOAT64) > 1.0",
        "IS_NAN(CAST('nan' AS FLOAT64))",
        "SQRT(-1)",
        "LN(0)",
        "LOG(0, 10)",
        "LOG10(1000)",
        "EXP(1000)",
        "POW(10, 400)",
        "ERROR(NULL)",
        "5 & 3",
        "5 | 3",
        "5 ^ 3",
    ],
    "logic": [
        "1 IN (1, NULL)",
        "2 IN (1, NULL)",
        "2 NOT IN (1, 3)",
        "1 IN UNNEST([1, NULL])",
        "2 IN UNNEST([1, NULL])",
        "1 IN UNNEST(CAST(NULL AS ARRAY<INT64>))",
        "true AND NULL",
        "false AND NULL",
        "NULL OR true",
        "1 IS DISTINCT FROM NULL",
        "NULL IS NOT DISTINCT FROM NULL",
        "1 BETWEEN 0 AND 2",
        "1 NOT BETWEEN 0 AND 2",
        "(1 > 2) IS NOT TRUE",
        "(1 > NULL) IS FALSE",
        "IF(NULL, 1, 2)",
        "IF(true, 1, 2.0)",
        "COALESCE(NULL, 1, 2.5)",
        "IFNULL(NULL, 'a')",
        "NULLIF(1, 1)",
        "NULLIF('a', 'b')",
        "CASE WHEN false THEN 1 END",
        "CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' ELSE 'c' END",
        "IF(true, 'ok', ERROR('no'))",
        "IF(false, 'ok', ERROR('no'))",
        "EXISTS(SELECT 1)",
        "NOT EXISTS(SELECT 1 FROM UNNEST([1]) x WHERE x > 1)",
        "(SELECT x FROM UNNEST([1, 2]) x)",
        "NULL = NULL",
        "'a' = 1",
    ],
    "arrays": [
        "ARRAY_LENGTH([1, 2])",
        "ARRAY_LENGTH(CAST(NULL AS ARRAY<INT64>))",
        "ARRAY_TO_STRING(['a', NULL, 'b'], ',')",
        "ARRAY_TO_STRING([CAST(NULL AS STRING)], ',')",
        "ARRAY_TO_STRING(['a', NULL], ',', 'x')",
        "ARRAY_REVERSE([1, 2])",
        "ARRAY_CONCAT([1], [2, 3])",
        "[1, 2] || [3]",
        "GENERATE_ARRAY(1, 5, 2)",
        "GENERATE_ARRAY(3, 1, -1)",
        "ARRAY_LENGTH(GENERATE_ARRAY(5, 1))",
        "[1, 2][OFFSET(0)]",
        "[1, 2][ORDINAL(1)]",
        "[1, 2][SAFE_OFFSET(5)]",
        "[1, 2][SAFE_ORDINAL(2)]",
        "[1, 2][0]",
        "[1, 2][OFFSET(5)]",
        "ARRAY(SELECT x * 2 FROM UNNEST([3, 1, 2]) AS x WHERE x > 1 ORDER BY x)",
        "ARRAY(SELECT x FROM UNNEST([3, 1]) x WITH OFFSET o ORDER BY o DESC)",
        "ARRAY(SELECT AS STRUCT x, x + 1 AS y FROM UNNEST([1, 2]) AS x)",
        "ARRAY(SELECT o FROM UNNEST(['a', 'b']) AS x WITH OFFSET AS o WHERE x = 'b')",
        "(SELECT COUNT(*) FROM UNNEST([1, NULL, 3]) x WHERE x IS NOT NULL)",
        "(SELECT COUNT(x) FROM UNNEST(CAST(NULL AS ARRAY<INT64>)) x)",
        "(SELECT LOGICAL_OR(x > 2) FROM UNNEST([1, 3]) x)",
        "(SELECT LOGICAL_AND(x > 2) FROM UNNEST(CAST([] AS ARRAY<INT64>)) x)",
        "(SELECT STRING_AGG(x, '-' ORDER BY o DESC) FROM UNNEST(['a', 'b', NULL]) AS x WITH OFFSET o)",
        "(SELECT STRING_AGG(x, '-' ORDER BY x DESC LIMIT 2) FROM UNNEST(['a', 'c', 'b']) AS x)",
        "(SELECT COUNTIF(o > 0) FROM UNNEST(['a', 'b']) AS x WITH OFFSET o)",
        "(SELECT SUM(x) FROM UNNEST([1, 2]) x)",
        "(SELECT s.a FROM UNNEST([STRUCT(1 AS a)]) AS s)",
        "(SELECT a FROM UNNEST([STRUCT(1 AS a)]))",
        "STRUCT(1 AS a, 'x' AS b).b",
        "STRUCT<a INT64, b STRING>(1, 'x').a",
        "EXISTS(SELECT 1 FROM UNNEST(['a']) x WHERE x = 'a')",
        "ARRAY(SELECT AS STRUCT 1 AS a, 'b' AS b)[OFFSET(0)].b",
        "ARRAY(SELECT 1)[SAFE_ORDINAL(2)]",
        "ARRAY(SELECT 7)[0]",
        "IF(true, [1], [2])[OFFSET(0)]",
        "CASE WHEN true THEN [1] END[OFFSET(0)]",
        "(CASE WHEN true THEN [1] END)[OFFSET(0)]",
        "STRUCT([5] AS a).a[0]",
        "CAST(NULL AS ARRAY<INT64>)[SAFE_OFFSET(0)]",
        "SPLIT('a-b', '-')[ORDINAL(2)]",
        "ARRAY_REVERSE([1, 2])[0] + 1",
        "[[1][0], 2][0]",
        "STRUCT(1 AS a, STRUCT(2 AS c) AS b).b.c",
        "(SELECT AS STRUCT [3] AS l).l[0]",
        "-[1][0]",
        "NOT [true][0]",
        "GENERATE_DATE_ARRAY('2026-01-30', '2026-02-01')",
    ],
    "dates": [
        "DATE '2026-01-31' + 1",
        "DATE_ADD(DATE '2026-01-31', INTERVAL 1 MONTH)",
        "DATE_SUB(DATE '2026-03-31', INTERVAL 1 MONTH)",
        "DATE_DIFF(DATE '2026-02-01', DATE '2026-01-31', MONTH)",
        "DATE_DIFF(DATE '2026-01-05', DATE '2026-01-03', WEEK)",
        "DATE_DIFF(DATE '2026-01-05', DATE '2025-12-31', DAY)",
        "DATE_TRUNC(DATE '2026-01-15', MONTH)",
        "DATE_TRUNC(DATE '2026-01-15', WEEK)",
        "DATE_TRUNC(DATE '2026-01-15', ISOWEEK)",
        "DATE_TRUNC(DATE '2026-05-15', QUARTER)",
        "EXTRACT(DAYOFWEEK FROM DATE '2026-01-04')",
        "EXTRACT(WEEK FROM DATE '2026-01-03')",
        "EXTRACT(ISOWEEK FROM DATE '2026-01-04')",
        "EXTRACT(ISOYEAR FROM DATE '2027-01-01')",
        "EXTRACT(DAYOFYEAR FROM DATE '2026-02-01')",
        "EXTRACT(DATE FROM TIMESTAMP '2026-01-01 23:00:00+00')",
        "EXTRACT(MILLISECOND FROM TIMESTAMP '2026-01-01 00:00:01.234+00')",
        "LAST_DAY(DATE '2026-02-03')",
        "DATE(2026, 1, 2)",
        "DATE(TIMESTAMP '2026-01-01 23:00:00+00')",
        "DATE '2026-01-02' > '2026-01-01'",
        "UNIX_DATE(DATE '1970-01-02')",
        "FORMAT_DATE('%A %B %d %e %j %U %u %w %y %b %a %F %D %G %V', DATE '2026-01-02')",
        "PARSE_DATE('%Y%m%d', '20260102')",
        "PARSE_DATE('%d/%m/%Y', '02/01/2026')",
        "PARSE_DATE('%b %d, %Y', 'Jan 2, 2026')",
        "PARSE_DATE('%Y-%m-%d', 'x')",
        "SAFE.PARSE_DATE('%Y-%m-%d', 'x')",
        "TIMESTAMP_DIFF(TIMESTAMP '2026-01-01 00:00:01.5+00', TIMESTAMP '2026-01-01 00:00:00+00', SECOND)",
        "TIMESTAMP_DIFF(TIMESTAMP '2026-01-01 00:00:00+00', TIMESTAMP '2026-01-01 00:00:01.5+00', SECOND)",
        "TIMESTAMP_DIFF(TIMESTAMP '2026-01-02 00:00:00+00', TIMESTAMP '2026-01-01 00:00:01+00', DAY)",
        "DATETIME_DIFF(DATETIME '2026-01-02 00:00:00', DATETIME '2026-01-01 23:00:00', DAY)",
        "UNIX_MILLIS(TIMESTAMP '1970-01-01 00:00:01.9+00')",
        "UNIX_SECONDS(TIMESTAMP '1969-12-31 23:59:59.9+00')",
        "TIMESTAMP_MICROS(1500000)",
        "TIMESTAMP_SECONDS(5)",
        "FORMAT_TIMESTAMP('%Y-%m-%d %H:%M:%E*S', TIMESTAMP '2026-01-01 00:00:01.5+00', 'UTC')",
        "FORMAT_TIMESTAMP('%Y-%m-%dT%H:%M:%E3SZ', TIMESTAMP '2026-01-01 00:00:01.5+00', 'UTC')",
        "FORMAT_TIMESTAMP('%s %p %I %T %R', TIMESTAMP '2026-01-01 13:00:01.5+00', 'UTC')",
        "PARSE_TIMESTAMP('%Y-%m-%dT%H:%M:%E*S%Ez', '2026-01-01T00:00:00.123456+02:00')",
        "PARSE_TIMESTAMP('%s', '1')",
        "PARSE_TIMESTAMP('%Y-%m-%d %H:%M:%S', '2026-01-01 00:00:00', 'UTC')",
        "STRING(TIMESTAMP '2026-01-01 00:00:00.123+00', 'UTC')",
        "TIMESTAMP_TRUNC(TIMESTAMP '2026-01-01 13:14:15.5+00', HOUR, 'UTC')",
        "TIMESTAMP_ADD(TIMESTAMP '2026-01-01 00:00:00+00', INTERVAL 25 HOUR)",
        "TIMESTAMP('2026-01-01 00:00:00', 'UTC')",
        "DATETIME(2026, 1, 2, 3, 4, 5)",
        "TIME(1, 2, 3)",
    ],
}

ROWS = (
    "WITH t AS (SELECT 'a' AS k, 1 AS v UNION ALL SELECT 'b', 2 UNION ALL SELECT 'a', 3 "
    "UNION ALL SELECT NULL, NULL) "
)
QUERIES = [
    ROWS + "SELECT k, SUM(v) AS s, COUNT(*) AS n FROM t GROUP BY k ORDER BY k",
    ROWS + "SELECT k, v FROM t ORDER BY v DESC, k",
    ROWS + "SELECT UPPER(k) AS k, COUNT(*) FROM t GROUP BY k ORDER BY 1",
    ROWS + "SELECT k, SUM(v) AS v FROM t GROUP BY k HAVING SUM(v) > 2 ORDER BY v",
    ROWS + "SELECT k, COUNT(*) AS n FROM t GROUP BY 1 HAVING n > 1",
    ROWS + "SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) AS p FROM t ORDER BY k, p",
    ROWS
    + "SELECT k, v FROM t WHERE true QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) = 1 ORDER BY k",
    ROWS + "SELECT SUM(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t ORDER BY v",
    ROWS
    + "SELECT LAG(v) OVER w, FIRST_VALUE(v) OVER w, RANK() OVER w FROM t WINDOW w AS (ORDER BY v) ORDER BY v",
    ROWS + "SELECT DISTINCT k FROM t ORDER BY k DESC",
    ROWS + "SELECT * EXCEPT (v) FROM t ORDER BY k LIMIT 2 OFFSET 1",
    ROWS + "SELECT * REPLACE (v + 1 AS v) FROM t ORDER BY v",
    ROWS + "SELECT AS STRUCT k, v FROM t ORDER BY v LIMIT 1",
    ROWS + "SELECT a.v, b.v FROM t AS a JOIN t AS b ON a.k = b.k AND a.v < b.v",
    ROWS + "SELECT k, a.v, b.v FROM t AS a JOIN t AS b USING (k) ORDER BY 1, 2, 3",
    ROWS
    + "SELECT a.k, b.v FROM t AS a LEFT JOIN (SELECT * FROM t WHERE v = 3) AS b ON a.k = b.k ORDER BY a.v",
    ROWS + "SELECT COUNT(*) FROM t AS a FULL JOIN (SELECT 'z' AS k) AS b ON a.k = b.k",
    ROWS + "SELECT k FROM t WHERE v IN (SELECT v FROM t WHERE v > 1) ORDER BY v",
    ROWS + "SELECT k FROM t AS o WHERE EXISTS (SELECT 1 FROM t AS i WHERE i.k = o.k AND i.v > o.v)",
    ROWS + "SELECT (SELECT MAX(i.v) FROM t AS i WHERE i.k = o.k) FROM t AS o ORDER BY o.v",
    ROWS + "SELECT k, ARRAY_AGG(v ORDER BY v DESC) AS l FROM t WHERE k IS NOT NULL GROUP BY k ORDER BY k",
    ROWS + "SELECT ARRAY_AGG(v IGNORE NULLS ORDER BY v DESC LIMIT 2) FROM t",
    ROWS + "SELECT ARRAY_AGG(STRUCT(k, v) ORDER BY v DESC LIMIT 1)[OFFSET(0)].k FROM t",
    ROWS + "SELECT STRING_AGG(k, '|' ORDER BY v) FROM t",
    ROWS + "SELECT STRING_AGG(DISTINCT k, '|' ORDER BY k) FROM t",
    ROWS
    + "SELECT COUNT(DISTINCT k), COUNTIF(v > 1), AVG(v), MIN(k), MAX(v), LOGICAL_OR(v > 2), ANY_VALUE(1) FROM t",
    ROWS + "SELECT COUNT(*), SUM(v), MAX(k), ARRAY_AGG(v), STRING_AGG(k) FROM t WHERE false",
    ROWS + "SELECT t FROM t ORDER BY t.v LIMIT 1",
    ROWS + "SELECT TO_JSON_STRING(t) FROM t ORDER BY v LIMIT 2",
    ROWS + "SELECT k FROM t WHERE v > 1 UNION ALL SELECT 'z' ORDER BY k",
    ROWS + "SELECT k FROM t UNION DISTINCT SELECT k FROM t ORDER BY k",
    ROWS + "SELECT k FROM t EXCEPT DISTINCT SELECT 'a' ORDER BY k",
    ROWS + "SELECT k FROM t INTERSECT DISTINCT SELECT 'a'",
    ROWS
    + ", u AS (SELECT k, COUNT(*) AS n FROM t GROUP BY k) SELECT t.k, n FROM t JOIN u ON t.k = u.k ORDER BY v",
    ROWS + "SELECT k, e, o FROM t, UNNEST([v, v * 10]) AS e WITH OFFSET AS o ORDER BY v, o",
    ROWS + "SELECT k, e FROM t LEFT JOIN UNNEST(IF(v > 1, [v], CAST([] AS ARRAY<INT64>))) AS e ORDER BY v",
    ROWS + "SELECT k, e FROM t JOIN UNNEST([1, 2]) AS e ON e = v ORDER BY e",
    ROWS + "SELECT v AS x FROM t WHERE x = 1",
    ROWS + "SELECT COUNT(*) FROM t AS a JOIN t AS b",
    ROWS + "SELECT -v AS v FROM t WHERE v > 0 QUALIFY ROW_NUMBER() OVER (ORDER BY v) = 1",
    ROWS + "SELECT -v AS v FROM t WHERE v > 0 ORDER BY v",
    ROWS + "SELECT -v AS v FROM t WHERE v > 0 ORDER BY v + 0",
    ROWS + "SELECT k AS v, COUNT(*) AS n FROM t GROUP BY v ORDER BY n DESC, v",
    ROWS + "SELECT v + 1 AS w FROM t WHERE k = 'a' AND NOT v = 3 OR v IS NULL",
    ROWS + "SELECT k, v, SUM(v) OVER (PARTITION BY k) AS s FROM t WHERE v IS NOT NULL ORDER BY v",
    ROWS + "SELECT MAX(v) - MIN(v), SUM(IF(k = 'a', v, 0)), SUM(CASE WHEN v > 1 THEN 1 ELSE 0 END) FROM t",
    ROWS + "SELECT COUNT(*) FROM (SELECT DISTINCT k FROM t) WHERE k IN ('a', 'z')",
    ROWS + "SELECT k FROM t GROUP BY k HAVING COUNT(*) > 1 AND MAX(v) = 3",
    ROWS + "SELECT IFNULL(k, 'none') AS k, COUNT(*) FROM t GROUP BY 1 ORDER BY k",
    ROWS
    + "SELECT (SELECT COUNT(*) FROM t AS i WHERE i.v <= o.v) AS r FROM t AS o WHERE o.v IS NOT NULL ORDER BY r DESC",
    ROWS + "SELECT a.k FROM t AS a CROSS JOIN t AS b WHERE a.v = b.v + 1 ORDER BY a.v",
    ROWS
    + "SELECT k, (SELECT STRING_AGG(CAST(e * v AS STRING), '+') FROM UNNEST([1, 2]) AS e) FROM t ORDER BY v",
    ROWS + "SELECT MIN(DATE_ADD(DATE '2026-01-01', INTERVAL v DAY)), MAX(TO_JSON_STRING(STRUCT(k))) FROM t",
    ROWS + "SELECT v FROM t WHERE v NOT IN (SELECT v FROM t WHERE v > 1)",
    ROWS + "SELECT v FROM t WHERE v NOT IN (SELECT v FROM t WHERE v = 1) ORDER BY v",
    ROWS + "SELECT k, v FROM t WHERE k LIKE '%' ORDER BY v LIMIT 1",
    ROWS + "SELECT COALESCE(SUM(v), 0) FROM t WHERE k = 'nope'",
    ROWS + "SELECT ROUND(AVG(v), 1), STDDEV(v), COUNT(DISTINCT v) FROM t",
    ROWS + "SELECT MAX(k) FROM t GROUP BY k ORDER BY MAX(k) DESC",
    ROWS + "SELECT k FROM t WHERE ROW_NUMBER() OVER (ORDER BY v) = 1",
    ROWS + "SELECT k, v FROM t ORDER BY v NULLS LAST, k",
    ROWS + "SELECT x.k FROM (SELECT * FROM t) AS x WHERE x.v = (SELECT MAX(v) FROM t)",
    ROWS + "SELECT t.* FROM t JOIN (SELECT 3 AS v) AS u ON t.v = u.v",
    ROWS + "SELECT t.*, u.* FROM t, (SELECT 9 AS z) AS u WHERE t.v = 2",
    "SELECT f FROM UNNEST([STRUCT([1, 2] AS l)]) AS e, e.l AS f ORDER BY f",
    "SELECT COUNT(*) FROM UNNEST([STRUCT([1, 2] AS l), STRUCT([] AS l)]) AS e LEFT JOIN UNNEST(e.l) AS f",
    ROWS + "SELECT k, v FROM t GROUP BY k",
    ROWS + "SELECT nope FROM t",
    ROWS + "SELECT SUM(k) FROM t",
    "SELECT * FROM UNNEST([STRUCT(1 AS a, 'x' AS b), (2, 'y')]) ORDER BY a",
    "SELECT x, o FROM UNNEST(['a', 'b']) AS x WITH OFFSET AS o ORDER BY o DESC",
    "SELECT x FROM UNNEST(GENERATE_ARRAY(1, 3)) AS x, UNNEST([x]) AS y WHERE y > 1 ORDER BY x",
    "SELECT e.a, f FROM UNNEST([STRUCT(1 AS a, [10, 20] AS l)]) AS e, e.l AS f ORDER BY f",
    "SELECT 1 AS a, 2 AS b UNION ALL SELECT 3.5, NULL ORDER BY a",
    "WITH a AS (SELECT 1 AS x), b AS (WITH a AS (SELECT 2 AS x) SELECT x FROM a) SELECT a.x, b.x FROM a, b",
    "SELECT (SELECT AS STRUCT 1 AS a, 'b' AS b).b",
    "SELECT ARRAY(SELECT AS STRUCT k, v FROM UNNEST([STRUCT('a' AS k, 1 AS v)]))",
]


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], Any]:
    """Google's implementation; it takes some seconds to load, so there is one for all tests."""
    googlesql.load()
    from zetasql.api import CatalogBuilder, PreparedQuery
    from zetasql.types import AnalyzerOptions, LanguageOptions, ZetaSQLBuiltinFunctionOptions

    language = LanguageOptions.maximum_features()
    language.reserved_keywords = ["QUALIFY"]
    builtins = ZetaSQLBuiltinFunctionOptions(language_options=language)
    catalog = CatalogBuilder("empty").with_builtin_functions(builtins).build()
    options = AnalyzerOptions(language_options=language, default_timezone="UTC")

    def evaluate(sql: str) -> Any:
        builder = PreparedQuery.builder().set_sql(sql).set_analyzer_options(options).set_catalog(catalog)
        with builder.prepare() as prepared:
            return [
                [_decoded(cell) for cell in row.cell] for row in prepared.execute().content.table_data.row
            ]

    return evaluate


def _decoded(cell: Any) -> Any:
    for name, decode in _DECODERS.items():
        value = getattr(cell, name)
        if value is not None:
            return decode(value)
    return None


def _numeric_text(scaled: int) -> str:
    text = f"{Decimal(scaled) / Decimal(10**9):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _clock(bits: int) -> str:
    return f"{bits >> 12 & 31:02d}:{bits >> 6 & 63:02d}:{bits & 63:02d}"


def _datetime_text(bits: int, nanos: int) -> str:
    assert not nanos
    return f"{bits >> 26:04d}-{bits >> 22 & 15:02d}-{bits >> 17 & 31:02d}T{_clock(bits)}"


def _time_text(bits: int) -> str:
    assert not bits & (2**30 - 1)
    return _clock(bits >> 30)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "int64_value": int,
    "bool_value": bool,
    "double_value": repr,
    "string_value": str,
    "json_value": str,
    "bytes_value": lambda value: base64.b64encode(value).decode(),
    "date_value": lambda days: (date(1970, 1, 1) + timedelta(days=days)).isoformat(),
    "numeric_value": lambda value: _numeric_text(int.from_bytes(value, "little", signed=True)),
    "datetime_value": lambda value: _datetime_text(value.bit_field_datetime_seconds, value.nanos or 0),
    "time_value": _time_text,
    "array_value": lambda value: [_decoded(item) for item in value.element],
    "struct_value": lambda value: [_decoded(item) for item in value.field],
}


def _answer(evaluate: Callable[[str], Any], sql: str) -> Any:
    try:
        return evaluate(sql)
    except BigQueryError as error:
        return _Refused(error.message)
    except Exception as error:
        if type(error).__module__.startswith("zetasql"):
            return _Refused(str(error))
        raise


class _Refused:
    """An error; two errors are one answer, whatever their words."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Refused)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"refused: {self.message}"


def _selectable(expression: str, engine: Engine) -> str:
    """The client of Google's implementation loses points in time: they are compared as numbers."""
    try:
        moment = engine.types(f"SELECT {expression}") == ["TIMESTAMP"]
    except BigQueryError:
        moment = False
    return f"UNIX_MICROS({expression})" if moment else expression


@pytest.mark.parametrize("group", EXPRESSIONS)
def test_expressions_have_the_value_that_google_gives(
    group: str, engine: Engine, oracle: Callable[[str], Any]
) -> None:
    """Value for value, error for error; what both can compute is asked in one query."""
    expressions = [_selectable(expression, engine) for expression in EXPRESSIONS[group]]
    ours = {expression: _answer(engine.rows, f"SELECT {expression}") for expression in expressions}
    fine = [expression for expression in expressions if not isinstance(ours[expression], _Refused)]
    together = _answer(oracle, f"SELECT {', '.join(fine)}")
    theirs = {
        e: _answer(oracle, f"SELECT {e}")
        for e in expressions
        if e not in fine or isinstance(together, _Refused)
    }
    if not isinstance(together, _Refused):
        theirs |= {expression: [[value]] for expression, value in zip(fine, together[0], strict=True)}
    assert {e: ours[e] for e in expressions if ours[e] != theirs[e]} == {
        e: theirs[e] for e in expressions if ours[e] != theirs[e]
    }


@pytest.mark.parametrize("sql", QUERIES)
def test_a_query_has_the_rows_that_google_gives(
    sql: str, engine: Engine, oracle: Callable[[str], Any]
) -> None:
    """Row for row in order, error for error."""
    assert _answer(engine.rows, sql) == _answer(oracle, sql)
