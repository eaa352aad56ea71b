"""Statements of SQL, and what the stamper says of each: kind | tables read | tables written | flags.

Flags: `*` select_star, `o` opaque_source, `e` embedded_sql, `u` unknown functions. `X` for the kind: not read at all.
The first list is read in every dialect, and means the same in each.
"""

from __future__ import annotations

EVERYWHERE = """
select 1 | select | | |
select a, b from t | select | t | |
select * from t | select | t | | *
select t.* from t | select | t | | *
select count(*) from t | select | t | |
SELECT A FROM T WHERE B = 'x' | select | t | |
select a from s.t | select | s.t | |
select a from t as x | select | t | |
select a from t x, u y | select | t u | |
select a from t join u on t.i = u.i | select | t u | |
select a from t left join u on t.i = u.i join v on v.i = u.i | select | t u v | |
select a from t where i in (select i from u) | select | t u | |
select a from t where exists (select 1 from u where u.i = t.i) | select | t u | |
select (select max(a) from u) from t | select | t u | |
select a from (select a from t) as x | select | t | |
select a from t union select a from u | select | t u | |
select a from t union all select a from u union all select a from v | select | t u v | |
select a from t except select a from u | select | t u | |
with x as (select a from t) select a from x | select | t | |
with x as (select a from x) select a from x | select | x | |
with x as (select a from t), y as (select a from x) select a from y | select | t | |
with y as (select a from x), x as (select a from t) select a from y | select | t x | |
select a from x where i in (with x as (select a from t) select a from x) | select | t x | |
with x as (select a from t) select a from s.x | select | s.x t | |
select distinct a from t order by a limit 5 | select | t | |
select a, sum(b) from t group by a having sum(b) > 3 | select | t | |
select rank() over (partition by a order by b) from t | select | t | |
select case when a = 1 then 2 else 3 end from t | select | t | |
select coalesce(a, b), nullif(a, 0), upper(c), substring(c, 1, 2) from t | select | t | |
select cast(a as int) from t where b between 1 and 2 or c like 'x%' | select | t | |
select a from t where not (b is null) and c is not null | select | t | |
select secret_reader(a) from t | select | t | | u
select a from secret_rows('x') as x | select | | | ou
select 'select a from u' from t | select | t | | e
select 'drop table u' from t | select | t | | e
select f('x; delete from u') from t | select | t | | eu
select 'drop' ' table u' from t | select | t | | e
select concat('drop ', a, ' table u') from t | select | t | | e
with recursive a as (select x from secret), secret as (select 1 as x) select x from a | select | secret | |
with recursive a as (select x from t union all select x from a) select x from a | select | t | |
select a from t join u join v on 1 = 1 join w on 2 = 2 | select | t u v w | |
select 'with love from me' from t | select | t | |
select 'update your mail' from t | select | t | | e
insert into t (a) values (1) | insert | | t |
insert into t select a from u | insert | u | t |
update t set a = 1 where b = 2 | update | | t |
update t set a = (select max(b) from u) | update | u | t |
delete from t where a in (select a from u) | delete | u | t |
create table t as select a from u | create | u | t |
create view v as select a from u | create | u | v |
drop table t | drop | | t |
alter table t add column a int | alter | | t |
select a from t; drop table u | mixed | t | u |
select a from t; select b from u | select | t u | |
select a from t -- a remark | select | t | |
select a /* a remark */ from t | select | t | |
select a from t --1 union select b from u | X | | |
select a from t /*!50000 union select b from u */ | X | | |
select a /* /* */ b */ from t | X | | |
select a from t where b = 'x\\' or 1 = 1 | X | | |
select a from t\u200bx | X | | |
select a from \uff54 | select | t | | o
select a from | X | | |
select a from t where ( | X | | |
grant select on t to x | X | | |
"""

BY_DIALECT = {
    "databricks": """
select a from identifier('eng_comp') | select | | | ou
select a from identifier('eng' || '_comp') | select | | | ou
select identifier('a') from t | select | t | | ou
select a from delta.`/mnt/x/eng_comp` | select | delta./mnt/x/eng_comp | | o
select a from parquet.`s3://b/eng_comp` | select | parquet.s3://b/eng_comp | | o
select a from csv.`x` | select | csv.x | | o
select a from `a b` | select | a b | | o
select a from read_files('s3://b/x') | select | | | ou
select a from remote_query('c', query => 'select * from eng_comp') | select | | | eou
insert into identifier('secret') values (1) | insert | | identifier | ou
insert into table identifier('secret') values (1) | insert | | identifier | ou
truncate table identifier('secret') | truncate | | identifier | ou
create table identifier('x') as select 1 | create | | identifier | ou
alter table identifier('secret') add column a int | alter | | identifier | ou
insert into table t values (1) | insert | | t |
with x as (table secret) select a from x | X | | |
select (table secret) | X | | |
select a from t where a = (table secret) | X | | |
select a from t join (table secret) using (a) | X | | |
select a from table secret | X | | |
insert into t table secret | X | | |
select a from `table` | select | table | | o
with `Secret` as (select 1 as a) select a from secret | select | | |
drop database scratch | X | | |
drop function f | X | | |
drop schema s cascade | X | | |
select a from evil.explode(b) | select | | | ou
select evil.mask(a) from t | select | t | | u
select evil.sum(a) from t | select | t | | u
select sort_array(a) from t | select | t | | u
select $$ ' $$ , a from secret -- ' | X | | |
select {# x #} 1 | X | | |
select transform(a) using 'bash -c id' as (x) from t | X | | |
select a from c.s.t | select | c.s.t | |
select x from t lateral view explode(a) e as x | select | t | |
merge into t using u on t.i = u.i when matched then update set a = u.a | merge | u | t |
copy into t from 's3://b/x' | X | | |
insert overwrite directory '/x' select a from t | X | | |
truncate table t | truncate | | t |
create function f() returns int return 1 | X | | |
use catalog x | X | | |
execute immediate 'drop table t' | X | | |
select a from t version as of 3 | X | | |
""",
    "postgres": """
with d as (delete from t returning a) select a from d | delete | | t |
with d as (update t set a = 1 returning a) select * from d | update | | t | *
select a into x from t | create | t | x |
insert into t (a) values (1) on conflict do nothing | insert | | t |
insert into t (a) values (1) returning * | insert | | t | *
select pg_read_file('/etc/passwd') | select | | | u
select a from dblink('x', 'select a from u') as t(a int) | select | | | eou
select query_to_xml('select a from u', true, true, '') | select | | | eu
copy t to program 'sh' | X | | |
do $$ begin end $$ | X | | |
select $$select a from u$$ | X | | |
select a from t, lateral (select b from u) x | select | t u | |
select a from t, lateral f(t.a) x | select | t | | ou
select a::int from "t" | select | t | |
select a from "T" | select | t | | o
select t from t | select | t | | *
select x from t as x | select | t | | *
select t.row_to_json from t | select | t | | *
with "Secret" as (select 1 as a) select a from secret | select | secret | |
with "x" as (select 1 as a) select a from x | select | | |
select "SUM"(a) from t | X | | |
with x as (table secret) select a from x | X | | |
create table t as table secret | X | | |
drop function f | X | | |
truncate t cascade | X | | |
update x set a = 1 from secret x | X | | |
with t as (select 1) delete from t | X | | |
select a from "table" | select | table | | o
select a from evil.unnest(b) | select | | | ou
select a from "a;b" | select | a;b | | o
truncate t | truncate | | t |
explain analyze delete from t | X | | |
select a from t for update | X | | |
select a from unnest(array[1, 2]) as x(a) | select | | |
call p() | X | | |
set role admin | X | | |
""",
    "mysql": """
select load_file('/etc/passwd') | select | | | u
select a from t into outfile '/tmp/x' | X | | |
select a from `a-b` | select | a-b | |
select a from `a.b` | select | a.b | | o
replace into t (a) values (1) | X | | |
insert into t (a) values (1) on duplicate key update a = 2 | insert | | t |
select @@version | X | | |
select a from t # remark | select | t | |
handler t open | X | | |
load data infile 'x' into table t | X | | |
select "select a from u" from t | select | t | | e
select a from t where b = "it is" limit 3, 4 | select | t | |
set @a = 1 | X | | |
show tables | X | | |
delete t from t join u on t.i = u.i | delete | u | t |
delete s from t join secret s | X | | |
update t join secret s on 1 = 1 set s.x = 1 | X | | |
update t, secret set secret.x = 1 | X | | |
with `Secret` as (select 1 as a) select a from secret | select | secret | |
select 'drop ' || 'table x' | select | | | e
table secret | X | | |
""",
    "snowflake": """
select a from @stage | select | | | o
select a from @stage/x.csv | select | | | o
select $1 from @stage | select | | | o
select a from table(f('x')) | X | | |
select a from identifier('x') | select | | | ou
select a from table('eng' || '_comp') | X | | |
select a from db.s.t | select | db.s.t | |
select v.value from t, lateral flatten(input => t.a) v | select | t | |
select a from t at (offset => -60) | X | | |
merge into t using u on t.i = u.i when not matched then insert (a) values (u.a) | merge | u | t |
copy into @stage from t | X | | |
execute immediate 'drop table t' | X | | |
call system$wait(5) | X | | |
with "secret" as (select 1 as a) select a from secret | select | secret | |
with "SECRET" as (select 1 as a) select a from secret | select | | |
select a from "secret" | select | secret | | o
select system$cancel_all_queries(1) | select | | | u
put file:///x @stage | X | | |
select a from t qualify row_number() over (partition by b order by c) = 1 | select | t | |
truncate table t | truncate | | t |
""",
}


def bombs() -> list[str]:
    """Return texts that nest, or repeat, beyond what is parsed."""
    deep = 400
    return [
        "select " + "(" * deep + "1" + ")" * deep,
        "select " + "(" * 33 + "1" + ")" * 33,
        "select " + "case when 1 then " * 100 + "1" + " end" * 100,
        "select " + "f(" * 60 + "1" + ")" * 60,
        "select " + "not " * deep + "1",
        "select " + "- " * deep + "1",
        "select " + "[" * deep,
        "select " + "a." * 1_000 + "b",
        "select a from " + "t join " * 200 + "t" + " on 1 = 1" * 200,
        "select a from t where a in (" + ", ".join("1" for _ in range(3_000)) + ")",
        "select " + "a + " * 1_500 + "a",
        "select " + "exists " * 300 + "(select 1)",
        "select cast(a as " + "array<" * 300 + "int" + ">" * 300 + ")",
        "select a from t" + " join t" * 4,
        "select a from t" + " left join t" * 64,
        "select a from (select 1)" + " join (select 1)" * 40,
        "select a from t" + " join t on 1 = 1" * 9,
        "select " + "int(" * 30 + "1" + ")" * 30,
        "select " + "date(" * 30 + "1" + ")" * 30,
        "select " + "timestamp(" * 30 + "1" + ")" * 30,
        "select interval " * 300 + "'1' day",
        "select '" + "x" * 17_000 + "'",
        "\ud800",
        "select a from t where b = '\ud800'",
        "\x00",
        "",
        ";" * 3_000,
        "-- only a remark",
        "from a |> join secret on true",
        "select " + "sort_array(1, " * 24 + "x" + ")" * 24,
        "select a from t -- a remark\r union select b from u",
    ]
