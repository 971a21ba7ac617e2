#!/usr/bin/env bash
# index_test.sh: `mote index` and `mote search`: a spatial index is declared on rows that are there, answers by box, by radius and by nearness, is listed, rebuilt and dropped; bad words are refused.
. "$(dirname "$0")/lib.sh"

{ echo k,t,p; for i in $(seq 1 400); do echo "$i,$i,\"[$((i % 20)),$((i / 20)),0]\""; done; } >points.csv
volume a.img
expect test_ingest 0 "$MOTE" ingest --quiet a.img points points.csv --key k --time-column t --types k:int64,t:timestamp,p:point3
expect test_search_without_index_is_refused 1 "$MOTE" search a.img points --box 0,0,0,1,1,1
expect test_index_create_succeeds 0 "$MOTE" index create a.img points near --columns p
expect test_index_create_again_is_refused 1 "$MOTE" index create a.img points near --columns p
expect test_index_create_of_wrong_column_is_usage 2 "$MOTE" index create a.img points other --columns k
expect test_index_create_without_columns_is_usage 2 "$MOTE" index create a.img points other
expect test_index_of_unknown_verb_is_usage 2 "$MOTE" index turn a.img points near
expect test_index_list_succeeds 0 "$MOTE" index list a.img points
says test_index_list_tells_the_index out 'near spatial (p) 1 of 1 segments, 400 of 400 rows'
expect test_index_list_json_succeeds 0 "$MOTE" index list a.img points --json
if python3 -c 'import json; a=json.load(open("out")); assert a[0]["name"]=="near" and a[0]["columns"]==["p"] and a[0]["rows_indexed"]==400' 2>err; then pass; else fail test_index_list_json_is_json "$(tail -n 1 err)"; fi
expect test_search_box_succeeds 0 "$MOTE" search a.img points --box 0,1,0,2,2,0 --columns k
printf 'k\n20\n21\n22\n40\n41\n42\n' >want
same test_search_box_finds_rows_in_key_order want out
expect test_search_nearest_succeeds 0 "$MOTE" search a.img points --centre 5,5,0 --nearest 3 --columns k
printf 'k,distance\n105,0\n85,1\n104,1\n' >want
same test_search_nearest_is_by_distance_then_key want out
expect test_search_nearest_in_time_succeeds 0 "$MOTE" search a.img points --centre 5,5,0 --nearest 2 --from 200 --columns k
printf 'k,distance\n205,5\n204,5.0990195135927845\n' >want
same test_search_nearest_in_time_finds_only_these want out
expect test_search_radius_counts 0 "$MOTE" search a.img points --centre 5,5,0 --radius 1 --count
printf '5\n' >want
same test_search_radius_counts_right want out
expect test_search_json_succeeds 0 "$MOTE" search a.img points --centre 5,5,0 --nearest 1 --json
says test_search_json_has_distance out '"distance":0'
expect test_search_of_bad_numbers_is_usage 2 "$MOTE" search a.img points --box 1,2
expect test_search_without_place_is_usage 2 "$MOTE" search a.img points
expect test_search_of_unknown_index_is_refused 1 "$MOTE" search a.img points --index far --box 0,0,0,1,1,1
expect test_index_rebuild_succeeds 0 "$MOTE" index rebuild a.img points near
expect test_verify_succeeds 0 "$MOTE" verify a.img
expect test_dump_manifest_tells_the_index 0 "$MOTE" dump a.img manifest
says test_dump_tells_the_index out 'near'
expect test_index_of_unknown_strategy_is_usage 2 "$MOTE" index create a.img points soon --columns p --strategy sooner
for strategy in batch realtime hybrid; do
  expect test_index_create_$strategy 0 "$MOTE" index create a.img points $strategy --columns p --strategy $strategy
done
expect test_index_list_with_strategies 0 "$MOTE" index list a.img points
says test_index_list_tells_realtime out 'KiB, realtime'
says test_index_list_tells_hybrid out 'KiB, hybrid'
expect test_index_list_json_with_strategies 0 "$MOTE" index list a.img points --json
if python3 -c 'import json; a=json.load(open("out")); assert [i["strategy"] for i in a]==["batch","batch","realtime","hybrid"]' 2>err; then pass; else fail test_index_list_json_tells_strategies "$(tail -n 1 err)"; fi
expect test_index_drop_succeeds 0 "$MOTE" index drop a.img points near
expect test_index_drop_again_is_refused 1 "$MOTE" index drop a.img points near
expect test_verify_after_drop_succeeds 0 "$MOTE" verify a.img
finish
