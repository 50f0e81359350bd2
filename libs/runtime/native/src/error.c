#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int fail(struct error *err, int code, const char *format, ...) {
  va_list arguments;
  err->code = code;
  err->exit_code = EXIT_BEFORE_EXEC;
  va_start(arguments, format);
  vsnprintf(err->step, sizeof err->step, format, arguments);
  va_end(arguments);
  return -1;
}
