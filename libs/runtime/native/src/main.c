#include "answers.h"
#include "kernel.h"
#include "launcher.h"
#include "sealed.h"
#include "title.h"

#include <stdio.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

int main(int argc, char **argv) {
  struct error error = {0};
  if (argc != 2) {
    fprintf(stderr, "usage: enxame-launcher SOCKET\n");
    return EXIT_USAGE;
  }
  if (fill_stdio() == 0 && become_sealed(argv, &error) == 0) {
    sys_close_range(3, ~0U, 0);
    char *socket_path = strdup(argv[1]);
    init_title(argc, argv);
    set_title("enxame-launcher", socket_path ? socket_path : "");
    if (chdir("/") == 0 && socket_path && run_launcher(socket_path, &error) == 0) return 0;
  }
  char words[512];
  describe_error(&error, words, sizeof words);
  fprintf(stderr, "enxame-launcher: %s\n", words);
  return 1;
}
