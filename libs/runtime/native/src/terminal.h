/* Pseudo terminals from a container's own devpts, always by descriptor. */
#ifndef ENXAME_TERMINAL_H
#define ENXAME_TERMINAL_H

#include "error.h"

#include <stdint.h>

/* O_PATH descriptor of the devpts at dev/pts below `root`, -1 when what is there is no devpts. */
int find_devpts(int root);
/* Both ends. `devpts` is what find_devpts gave. */
int make_terminal(int devpts, int64_t rows, int64_t columns, int *master, int *slave, struct error *err);
int resize_terminal(int master, int64_t rows, int64_t columns);

#endif
