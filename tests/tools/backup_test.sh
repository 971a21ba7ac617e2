#!/usr/bin/env bash
# backup_test.sh: `mote send`, `receive`, `clone` and `base`: through pipes and files, whole and incremental, cut and gone on with; what must not happen is refused.
. "$(dirname "$0")/lib.sh"

rows() { echo k,t,v; for i in $(seq "$1" "$2"); do echo "$i,$i,$((i * 3))"; done; }
ingest() { expect "test_ingest_$2" 0 "$MOTE" ingest --quiet "$1" rows "$2" --key k --time-column t --types k:int64,t:timestamp,v:int64; }
# contents IMAGE FILE
contents() { "$MOTE" scan "$1" rows >"$2" 2>err || fail "test_scan_$1" "$(tail -n 1 err)"; }
rows 1 5000 >first.csv
rows 4000 9000 >second.csv
volume a.img
ingest a.img first.csv
contents a.img first.txt

"$MOTE" send a.img --as monday 2>err >monday.stream && pass || fail test_send_to_stdout_succeeds "$(tail -n 1 err)"
expect test_receive_into_new_image_succeeds 0 "$MOTE" receive b.img --size 96M --sparse --input monday.stream
says test_receive_tells_the_state out 'received state '
contents b.img b.txt
same test_received_rows_are_those_sent first.txt b.txt
expect test_verify_of_received_succeeds 0 "$MOTE" verify b.img
expect test_receive_over_a_volume_is_refused 3 "$MOTE" receive b.img --input monday.stream
says test_refusal_names_it err 'holds "mote"'
expect test_receive_with_destroy_succeeds 0 "$MOTE" receive b.img --destroy mote --input monday.stream
expect test_token_is_told 0 "$MOTE" receive b.img --token
cp out token
expect test_send_of_taken_name_is_refused 1 "$MOTE" send a.img --as monday --output x.stream
expect test_base_list_succeeds 0 "$MOTE" base list a.img
says test_base_list_names_it out 'monday seq '

ingest a.img second.csv
contents a.img second.txt
rm -f x.stream
expect test_send_of_increment_succeeds 0 "$MOTE" send a.img --from monday --as tuesday --output tuesday.stream
says test_send_tells_the_increment out 'an increment'
expect test_send_over_a_file_is_refused 3 "$MOTE" send a.img --output tuesday.stream
expect test_send_since_token_succeeds 0 "$MOTE" send a.img --from "$(cat token)" --output token.stream
cp --sparse=always b.img c.img
expect test_receive_of_increment_succeeds 0 "$MOTE" receive b.img --input tuesday.stream --json
equal test_receive_json_is_incremental "$(json out incremental)" true
contents b.img b.txt
same test_rows_are_those_of_the_increment second.txt b.txt
expect test_receive_of_increment_again_is_refused 2 "$MOTE" receive b.img --input tuesday.stream
expect test_receive_of_tokens_increment_succeeds 0 "$MOTE" receive c.img --input token.stream
contents c.img c.txt
same test_rows_are_those_of_the_tokens_increment second.txt c.txt
expect test_verify_of_incremented_succeeds 0 "$MOTE" verify b.img

size=$(stat -c %s monday.stream)
head -c $((size * 2 / 3)) monday.stream >cut.stream
expect test_receive_of_cut_stream_is_refused 1 "$MOTE" receive d.img --size 96M --sparse --input cut.stream
says test_cut_stream_is_named err 'ends before its end'
expect test_cut_volume_does_not_open 3 "$MOTE" info d.img
says test_cut_volume_says_why err 'not complete'
expect test_token_of_cut_volume_is_told 0 "$MOTE" receive d.img --token
expect test_send_to_resume_succeeds 0 "$MOTE" send a.img --resume "$(cat out)" --output resume.stream
cp --sparse=always d.img e.img
expect test_receive_goes_on 0 "$MOTE" receive d.img --input monday.stream
contents d.img d.txt
same test_rows_after_going_on first.txt d.txt
expect test_receive_goes_on_by_token 0 "$MOTE" receive e.img --input resume.stream
contents e.img e.txt
same test_rows_after_going_on_by_token second.txt e.txt
expect test_receive_into_too_small_image_is_refused 2 "$MOTE" receive small.img --size 8M --extent 1M --sparse --input monday.stream
[ ! -e small.img ] && pass || fail test_refused_image_is_not_left
echo nonsense >nonsense.stream
expect test_receive_of_nonsense_is_refused 1 "$MOTE" receive f.img --size 64M --sparse --input nonsense.stream
[ ! -e f.img ] && pass || fail test_image_for_nonsense_is_not_left

expect test_clone_succeeds 0 "$MOTE" clone a.img g.img --size 256M --sparse
contents g.img g.txt
same test_cloned_rows_are_the_same second.txt g.txt
expect test_verify_of_clone_succeeds 0 "$MOTE" verify g.img
expect test_clone_over_a_volume_is_refused 3 "$MOTE" clone a.img g.img
expect test_ingest_into_clone 0 "$MOTE" ingest --quiet g.img rows first.csv --key k --time-column t
expect test_increment_onto_changed_copy_is_refused 2 "$MOTE" receive g.img --input tuesday.stream
"$MOTE" send a.img 2>err | "$MOTE" receive h.img --size 96M --sparse --quiet 2>err2 && pass || fail test_pipe_succeeds "$(cat err err2)"
contents h.img h.txt
same test_piped_rows_are_the_same second.txt h.txt
expect test_base_drop_succeeds 0 "$MOTE" base drop a.img monday
expect test_base_drop_again_is_refused 1 "$MOTE" base drop a.img monday
expect test_send_from_dropped_base_is_refused 1 "$MOTE" send a.img --from monday --output x.stream

expect test_resize_larger_succeeds 0 "$MOTE" resize h.img 200M --sparse
equal test_file_was_enlarged "$(stat -c %s h.img)" $((200 << 20))
expect test_resize_dry_run_succeeds 0 "$MOTE" resize h.img --dry-run --json
least=$(json out least_bytes)
expect test_resize_too_small_is_refused 3 "$MOTE" resize h.img $((least - 4096))
says test_refusal_tells_the_least err "$least is the least"
expect test_resize_to_the_least_succeeds 0 "$MOTE" resize h.img "$least"
equal test_file_was_cut "$(stat -c %s h.img)" "$least"
contents h.img h.txt
same test_rows_after_resizes_are_the_same second.txt h.txt
expect test_verify_after_resizes_succeeds 0 "$MOTE" verify h.img
expect test_resize_to_nonsense_is_usage 2 "$MOTE" resize h.img much
finish
