#!/usr/bin/env bash
# index_column_test.sh: `mote index` of the kind column, and `mote search` through it: declared, listed with its options, unique refused and enforced, searched in order; options of another kind are refused.
. "$(dirname "$0")/lib.sh"

{ echo k,name,v; for i in $(seq 1 300); do echo "$i,name$((i % 50)),$((i * 7 % 300)).5"; done; } >rows.csv
volume a.img
expect test_ingest 0 "$MOTE" ingest --quiet a.img rows rows.csv --key k --types k:int64,name:text,v:float64
expect test_index_create_column_succeeds 0 "$MOTE" index create a.img rows names --kind column --columns name
expect test_index_create_unique_of_doubled_values_is_refused 1 "$MOTE" index create a.img rows once --kind column --columns name --unique
says test_refusal_names_the_value err '"name'
expect test_index_create_unique_succeeds 0 "$MOTE" index create a.img rows values --kind column --columns v --unique
expect test_option_of_another_kind_is_usage 2 "$MOTE" index create a.img rows other --kind column --columns v --metric l2
expect test_unknown_metric_is_usage 2 "$MOTE" index create a.img rows other --kind vector --columns v --metric far
expect test_unique_spatial_is_usage 2 "$MOTE" index create a.img rows other --columns v --unique
expect test_index_list_succeeds 0 "$MOTE" index list a.img rows
says test_index_list_tells_the_kind out 'names column (name) 1 of 1 segments, 300 of 300 rows'
says test_index_list_tells_unique out 'KiB, unique'
expect test_index_list_json_succeeds 0 "$MOTE" index list a.img rows --json
if python3 -c 'import json; a=json.load(open("out")); assert [(i["name"],i["kind"],i["unique"]) for i in a]==[("names","column",False),("values","column",True)]' 2>err; then pass; else fail test_index_list_json_tells_options "$(tail -n 1 err)"; fi
expect test_search_by_value_succeeds 0 "$MOTE" search a.img rows --where 'name = name7' --columns k
printf 'k\n7\n57\n107\n157\n207\n257\n' >want
same test_search_by_value_finds_rows_in_key_order want out
expect test_search_in_order_succeeds 0 "$MOTE" search a.img rows --order-by v --descending --limit 3 --columns v
sed -n 's/^\([0-9.]*\).*/\1/p' out | grep . >got
printf '299.5\n298.5\n297.5\n' >want
same test_search_in_order_gives_the_greatest_first want got
printf 'k,name,v\n1000,new,0.5\n' >again.csv
expect test_ingest_of_a_value_that_is_there_is_refused 1 "$MOTE" ingest --quiet a.img rows again.csv --key k
says test_ingest_refusal_names_the_index err 'values'
expect test_verify_succeeds 0 "$MOTE" verify a.img
expect test_index_drop_succeeds 0 "$MOTE" index drop a.img rows values
expect test_ingest_after_the_drop_succeeds 0 "$MOTE" ingest --quiet a.img rows again.csv --key k
finish
