/*
 * The shim: keeper of one container. It outlives the launcher and the agent and ends with the container. One thread,
 * one poll loop, nothing in it waits for a slow client: output is always drained, so a container never blocks on it.
 */
#ifndef ENXAME_SHIM_H
#define ENXAME_SHIM_H

#include "exit_record.h"
#include "log.h"
#include "process.h"

enum { CONNECTIONS_MAX = 128, JOBS_MAX = 128 };

/* A process and where its output goes: the container's own (job 0), or an exec. */
struct job {
  struct process process;
  /* The client of an exec; NULL when it has gone, and for job 0. */
  struct connection *connection;
  bool kill_on_disconnect;
  bool open_stdin;
  bool exited;
  struct exit_record record;
  /* A terminal that nobody has open reports an end that is none: look again then. */
  int64_t paused_until_ms;
};

struct connection {
  int fd;
  struct buffer in;
  struct buffer out;
  /* Bytes of the STDIN frame at the start of `in` that are written already; the frame waits for room. */
  size_t stdin_written;
  bool stdin_blocked;
  bool attached;
  bool attached_stdin;
  bool waiting;
  /* Closed once `out` is sent. */
  bool closing;
  bool dead;
  struct job *job;
};

struct shim {
  struct job main;
  struct log log;
  char *socket_path;
  char *exit_path;
  char *oom_path;
  uint64_t oom_kills_before;
  bool stdin_once;
  bool recorded;
  int64_t leave_at_ms;
  int listener;
  struct connection *connections[CONNECTIONS_MAX];
  struct job *jobs[JOBS_MAX];
};

/* Starts the container of a LAUNCH frame and keeps it. Never returns. `result` takes the answer frame. */
void run_shim(struct reader *payload, uint32_t request, int result) __attribute__((noreturn));

/* The loop, until the container has ended and everybody knows. */
void keep_container(struct shim *shim);

#endif
