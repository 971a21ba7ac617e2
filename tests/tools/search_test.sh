#!/usr/bin/env bash
# search_test.sh: `mote search` with several conditions: places and times with an index and without one, what --explain tells, words that are refused.
. "$(dirname "$0")/lib.sh"

{ echo k,t,p; for i in $(seq 1 400); do echo "$i,$i,\"[$((i % 20)),$((i / 20)),0]\""; done; } >points.csv
volume a.img
expect test_ingest 0 "$MOTE" ingest --quiet a.img points points.csv --key k --time-column t --types k:int64,t:timestamp,p:point3
expect test_search_of_place_without_index_succeeds 0 "$MOTE" search a.img points --place p --box 0,1,0,2,2,0 --columns k
printf 'k\n20\n21\n22\n40\n41\n42\n' >want
same test_search_of_place_without_index_finds_rows want out
expect test_search_by_time_alone_succeeds 0 "$MOTE" search a.img points --from 399 --columns k
printf 'k\n399\n400\n' >want
same test_search_by_time_alone_finds_rows want out
expect test_search_of_box_and_ball_succeeds 0 "$MOTE" search a.img points --place p --box 0,0,0,5,20,0 --centre 6,6,0 --radius 1.5 --columns k
printf 'k,distance\n125,1\n105,1.4142135623730951\n145,1.4142135623730951\n' >want
same test_search_of_box_and_ball_orders_by_distance want out
expect test_index_create_succeeds 0 "$MOTE" index create a.img points near --columns p
expect test_search_explain_succeeds 0 "$MOTE" search a.img points --centre 6,6,0 --nearest 2 --columns k --explain
printf 'k,distance\n126,0\n106,1\n' >want
same test_search_explain_leaves_the_rows_alone want out
says test_search_explain_tells_the_index err 'term 1: nearest(p), ranks, index near'
says test_search_explain_tells_the_hits err 'hits: 2'
expect test_search_explain_json_succeeds 0 "$MOTE" search a.img points --box 0,1,0,2,2,0 --index near --json --explain
if python3 -c 'import json; a=[json.loads(x) for x in open("out")]; assert len(a)==7 and a[0]["k"]==20 and any(x.startswith("term 1: box(p)") for x in a[6]["explain"])' 2>err; then pass; else fail test_search_explain_json_is_json "$(tail -n 1 err)"; fi
expect test_search_for_nothing_is_usage 2 "$MOTE" search a.img points
expect test_search_radius_without_centre_is_usage 2 "$MOTE" search a.img points --radius 1
expect test_search_descending_without_order_is_usage 2 "$MOTE" search a.img points --descending
expect test_search_k_without_vector_is_usage 2 "$MOTE" search a.img points --k 3
expect test_search_any_word_without_words_is_usage 2 "$MOTE" search a.img points --any-word --from 1
expect test_search_where_without_sign_is_usage 2 "$MOTE" search a.img points --where 'k ~ 7'
expect test_search_where_of_unknown_column_is_refused 1 "$MOTE" search a.img points --where 'z = 7'
expect test_search_where_of_another_type_is_usage 2 "$MOTE" search a.img points --where 'k = seven'
expect test_search_where_with_open_quote_is_usage 2 "$MOTE" search a.img points --where "k = '7"
expect test_search_where_with_open_list_is_usage 2 "$MOTE" search a.img points --where 'k in (7'
expect test_search_where_with_more_behind_is_usage 2 "$MOTE" search a.img points --where 'k is null 7'
expect test_search_two_that_rank_is_usage 2 "$MOTE" search a.img points --centre 0,0,0 --nearest 2 --near-vector '[1,2]'
expect test_search_bad_vector_is_usage 2 "$MOTE" search a.img points --near-vector '[1,x]'
expect test_search_vector_from_no_file_is_refused 1 "$MOTE" search a.img points --near-vector @none
expect test_search_index_of_another_kind_is_usage 2 "$MOTE" search a.img points --from 1 --index near
finish
