#ifndef ENXAME_LAUNCHER_H
#define ENXAME_LAUNCHER_H

#include "error.h"

/* Serves until it is told to end. */
int run_launcher(const char *socket_path, struct error *err);

#endif
