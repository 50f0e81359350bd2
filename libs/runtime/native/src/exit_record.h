/* How a container ended: the file that outlives its keeper. */
#ifndef ENXAME_EXIT_RECORD_H
#define ENXAME_EXIT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

struct exit_record {
  int32_t exit_code;
  /* 0: it ended by itself. */
  int32_t signal;
  bool oom_killed;
  int64_t finished_ms;
  /* "" unless the program never ran. */
  char error[512];
};

/* As JSON of the port's ContainerExit, complete or not at all. -1 with errno. */
int write_exit_record(const char *path, const struct exit_record *record);

#endif
