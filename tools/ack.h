/* ack.h: acknowledgements of an ingest: learns from the library which batches are durable and appends to a file, after
 * each commit, one line with the total number of rows that are durable so far. What a line claims survives a power cut
 * of the device; the line itself is written without buffering.
 *
 * A thread waits on the handle's eventfd, so that it neither holds up the reader of the input nor makes commits happen
 * that the durability level would have put off. It never calls anything that writes. Bound: ACK_PENDING_MAX batches;
 * ack_push waits when they are all pending.
 */
#ifndef MOTE_TOOLS_ACK_H
#define MOTE_TOOLS_ACK_H

#include "include/mote.h"

enum { ACK_PENDING_MAX = 65536 };

struct ack;

/* file NULL: only counts. *ack NULL and false: the file cannot be opened, or the library has no eventfd (errno in
 * *system_errno, or the library's error with 0). */
bool ack_start(mote_db *db, const char *file, struct ack **ack, int *system_errno);
/* A batch was appended: with it, rows_total rows are durable when durable_seq reaches ticket. */
void ack_push(struct ack *ack, uint64_t ticket, uint64_t rows_total);
/* Rows known durable. */
uint64_t ack_rows(struct ack *ack);
/* Takes in what is durable now, writes the last line, stops the thread, frees. Returns the errno of a failed write to
 * the file, or 0. */
int ack_finish(struct ack *ack, uint64_t *rows);

#endif
