#!/usr/bin/env bash
# search_where_test.sh: `mote search --where` and --order-by: each condition, with column indexes and without them, the same rows either way; quoting.
. "$(dirname "$0")/lib.sh"

{ echo k,t,name,v,p; for i in $(seq 1 300); do v=$((i % 50)).5; [ $((i % 10)) = 0 ] && v=; echo "$i,$i,\"it's $((i % 7))\",$v,\"[$((i % 20)),$((i / 20)),0]\""; done; } >rows.csv
volume a.img
expect test_ingest 0 "$MOTE" ingest --quiet a.img rows rows.csv --key k --time-column t --types k:int64,t:timestamp,name:text,v:float64,p:point3
# where NAME WANTED_ROWS ARGUMENTS...: the keys in one line.
where() {
    local name=$1 wanted=$2
    shift 2
    expect "test_search_$name" 0 "$MOTE" search a.img rows --columns k --no-header "$@"
    equal "test_search_${name}_finds_the_rows" "$(cut -d, -f1 out | tr '\n' ' ')" "$wanted"
}
all() {
    where equal "1 51 101 151 201 251 " --where 'v = 1.5'
    where equal_and_range "101 151 " --where 'v = 1.5' --where 'k > 51' --where 'k<=151'
    where in "1 2 51 52 " --where 'v in (1.5, 2.5)' --where 'k < 60'
    where empty_in "" --where 'v in ()'
    where null "10 20 " --where 'v is null' --where 'k < 30'
    where not_null_and_time "298 299 " --where 'v is not null' --from 298
    where prefix_of_quoted "7 14 " --where "name prefix 'it''s 0'" --where 'k < 20'
    where equal_of_unquoted "7 14 " --where "name = it's 0" --where 'k < 20'
    where order "1 51 101 " --where 'v > 1' --order-by v --limit 3
    where order_descending "299 249 199 " --order-by v --descending --limit 3
    where order_of_text "7 14 21 " --order-by name --limit 3
    where nearest_of_some "62 42 63 " --where 'name in ('"'it''s 6', it's 1, 'it''s 0'"')' --place p --centre 2,3,0 --nearest 3
}
all
for column in v name; do expect "test_index_create_$column" 0 "$MOTE" index create a.img rows "by $column" --kind column --columns $column; done
expect test_index_create_p 0 "$MOTE" index create a.img rows near --columns p
all
expect test_search_explain_succeeds 0 "$MOTE" search a.img rows --where 'v = 1.5' --where 'k > 51' --count --explain
printf '4\n' >want
same test_search_counts want out
says test_search_explain_tells_the_index err 'term 1: equal(v), index by v: marked in 1 segments'
says test_search_explain_tells_what_has_none err 'term 2: range(k), no index'
expect test_search_where_of_wrong_index_is_usage 2 "$MOTE" search a.img rows --where 'v = 1.5' --index 'by name'
expect test_search_where_of_vector_is_refused 2 "$MOTE" search a.img rows --where 'p = [1,2,3]'
finish
