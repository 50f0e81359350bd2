/* What a folder holds, copied into a new filesystem that will cover it. */
#ifndef ENXAME_COPY_UP_H
#define ENXAME_COPY_UP_H

#include "error.h"

/* Both are descriptors of folders. Links are copied as links, never followed. */
int copy_folder(int from, int to, struct error *err);

#endif
