#ifndef ENXAME_ERROR_H
#define ENXAME_ERROR_H

/* What a process that could not be started would have ended with: the words of POSIX shells and of Docker. */
enum { EXIT_BEFORE_EXEC = 128, EXIT_NOT_FOUND = 127, EXIT_CANNOT_RUN = 126 };

/* The step that failed, for a human; `code` is its errno, or 0 when the step was refused by this program itself. */
struct error {
  int code;
  int exit_code;
  char step[400];
};

/* Fills `err` and returns -1, so that a failing function can say `return fail(...)`. */
int fail(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
