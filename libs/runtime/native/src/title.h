#ifndef ENXAME_TITLE_H
#define ENXAME_TITLE_H

/* Remembers where the command line of this process lies. Once, at the start. */
void init_title(int argc, char **argv);
/* What ps shows: `name` and `detail`, cut to the room there is. */
void set_title(const char *name, const char *detail);

#endif
