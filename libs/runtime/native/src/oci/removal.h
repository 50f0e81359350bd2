/* The end of a container's traces. */
#ifndef ENXAME_OCI_REMOVAL_H
#define ENXAME_OCI_REMOVAL_H

#include "record.h"

/* A creation that failed: as good as it goes. */
void undo_creation(const char *root, struct record *record);
/* `force`: kills it first. Else it must have stopped. */
int delete_container(const char *root, struct record *record, bool force, struct error *err);

#endif
