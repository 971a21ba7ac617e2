#!/usr/bin/env bash
# blob_test.sh: `mote blob put|get`: files of any size go in and come out as they were, from files and pipes, after other processes; what goes wrong is refused.
. "$(dirname "$0")/lib.sh"

head -c 5000000 /dev/urandom >large.bin
head -c 300 /dev/urandom >small.bin
: >empty.bin
volume a.img
expect test_put_without_table_is_refused 1 "$MOTE" blob put a.img frames data 1 --file large.bin
expect test_put_makes_the_table 0 "$MOTE" blob put a.img frames data left,1 --file large.bin --make-key camera:text,number:int64
expect test_put_small 0 "$MOTE" blob put a.img frames data left 2 --file small.bin
expect test_put_empty 0 "$MOTE" blob put a.img frames data left 3 --file empty.bin
expect test_put_from_pipe 0 sh -c "cat large.bin small.bin | '$MOTE' blob put a.img frames data right 1"
cat large.bin small.bin >both.bin
expect test_get_to_stdout 0 "$MOTE" blob get a.img frames data left 1
same test_get_large_is_the_same large.bin out
expect test_get_small 0 "$MOTE" blob get a.img frames data left 2
same test_get_small_is_the_same small.bin out
expect test_get_empty 0 "$MOTE" blob get a.img frames data left 3
same test_get_empty_is_the_same empty.bin out
expect test_get_to_file 0 "$MOTE" blob get a.img frames data right 1 --file back.bin
same test_get_of_pipe_is_the_same both.bin back.bin
expect test_get_of_no_row_is_refused 1 "$MOTE" blob get a.img frames data up 1
expect test_get_of_key_column_is_refused 2 "$MOTE" blob get a.img frames camera left 1
expect test_unknown_verb_is_usage 2 "$MOTE" blob turn a.img frames data left 1
expect test_key_of_wrong_length_is_usage 2 "$MOTE" blob get a.img frames data left
expect test_verify_succeeds 0 "$MOTE" verify a.img
expect test_dump_tells_blob_files 0 "$MOTE" dump a.img manifest
says test_dump_names_them out 'blob file'
expect test_replace 0 "$MOTE" blob put a.img frames data left 1 --file small.bin
expect test_get_replaced 0 "$MOTE" blob get a.img frames data left 1
same test_get_replaced_is_the_new_one small.bin out
finish
