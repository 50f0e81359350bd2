/*
 * A container between two commands: a folder ROOT/ID that holds
 *   plan    its launch plan as bytes: what the launcher does, and everything that the commands after it need to know
 *   pid     "PID START", its first process and when that was born; absent while it is being created
 *   start   a socket that its first process listens on, until it has been started
 */
#ifndef ENXAME_OCI_RECORD_H
#define ENXAME_OCI_RECORD_H

#include "../plan.h"

#include <sys/types.h>

enum status { STATUS_CREATING, STATUS_CREATED, STATUS_RUNNING, STATUS_PAUSED, STATUS_STOPPED };

struct record {
  char *id;
  int folder;
  struct buffer bytes;
  struct plan plan;
  /* 0 while it is being created. */
  pid_t pid;
  unsigned long long born;
};

extern const char *const status_names[];

int check_id(const char *id, struct error *err);
/* A new folder; fails when there is one. */
int make_record(const char *root, const char *id, struct record *record, struct error *err);
/* Takes over the bytes of the plan, and writes them. */
int write_plan(struct record *record, struct buffer *bytes, struct error *err);
int write_pid(struct record *record, pid_t pid, struct error *err);
int load_record(const char *root, const char *id, struct record *record, struct error *err);
enum status status_of(const struct record *record);
/* Its first process, or -1: it has ended. */
int open_first_process(const struct record *record);
/* ROOT/ID and what is in it. */
int remove_record(const char *root, struct record *record, struct error *err);
void close_record(struct record *record);

/* `start` as an address: a folder's name may be longer than an address. */
struct sockaddr_un;
void set_start_address(const struct record *record, struct sockaddr_un *address);

#endif
