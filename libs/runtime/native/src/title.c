#include "title.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static char *title;
static size_t title_bytes;

void init_title(int argc, char **argv) {
  title = argv[0];
  char *end = argv[0];
  for (int i = 0; i < argc && argv[i] == end; i++) end = argv[i] + strlen(argv[i]) + 1;
  title_bytes = (size_t)(end - title);
}

void set_title(const char *name, const char *detail) {
  prctl(PR_SET_NAME, name, 0, 0, 0);
  if (title_bytes == 0) return;
  memset(title, 0, title_bytes);
  snprintf(title, title_bytes, "%s %s", name, detail);
}
