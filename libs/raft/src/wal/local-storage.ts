/** The storage in the caller's own thread, over any disk: a simulation decides when each request is carried out. */
import type { Disk } from './disk.js';
import { DiskStorage, readNewestSnapshot } from './disk-storage.js';
import { QueuedStorage } from './queued-storage.js';
import { EntryList } from './wal-content.js';
import type { OpenStorage, StorageChannel } from './storage.js';

/** `schedule` calls back later, in the order it was asked; what it never calls back was lost in a crash. */
export function localStorage(disk: Disk, schedule: (work: () => void) => void): OpenStorage {
  return async (options, events) => {
    const entries = new EntryList();
    const { storage, found } = DiskStorage.open(disk, options, (batch) => entries.add(batch));
    const channel: StorageChannel = {
      send: (request, done) => schedule(() => done(storage.handle(request))),
      end: async () => undefined,
    };
    return {
      storage: new QueuedStorage(channel, events, options, (now) => readNewestSnapshot(disk, now)),
      content: { ...found, entries: entries.take() },
    };
  };
}
