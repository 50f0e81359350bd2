/** A replicated map, the smallest thing that is like etcd's store. */
import type { StateMachine } from '#libs/raft';
import type { Pair } from './kv.js';

const snapshotChunkBytes = 64 * 1024;

export class KeyValueMachine implements StateMachine {
  private values = new Map<string, Buffer>();

  encode({ key, value }: Pair): Uint8Array {
    const data = Buffer.allocUnsafe(2 + key.length + value.length);
    data.writeUInt16LE(key.length, 0);
    data.set(key, 2);
    data.set(value, 2 + key.length);
    return data;
  }

  find(key: Uint8Array): Pair | undefined {
    const value = this.values.get(Buffer.from(key).toString('latin1'));
    return value && { key, value };
  }

  apply({ data }: { data: Uint8Array }): undefined {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const keyEnd = 2 + bytes.readUInt16LE(0);
    // A copy: the entry's bytes are part of a larger message.
    this.values.set(bytes.toString('latin1', 2, keyEnd), Buffer.from(bytes.subarray(keyEnd)));
  }

  advance(): void {
    // Nothing here depends on the index.
  }

  snapshot(): Iterable<Uint8Array> {
    return chunksOf([...this.values]);
  }

  restore(chunks: Iterable<Uint8Array>): void {
    this.values = new Map();
    for (const chunk of chunks) {
      const bytes = Buffer.from(chunk);
      for (let at = 0; at < bytes.length; ) {
        const end = at + 4 + bytes.readUInt32LE(at);
        this.apply({ data: bytes.subarray(at + 4, end) });
        at = end;
      }
    }
  }
}

function* chunksOf(values: [string, Buffer][]): Iterable<Uint8Array> {
  let parts: Buffer[] = [];
  let size = 0;
  for (const [key, value] of values) {
    const head = Buffer.allocUnsafe(6);
    head.writeUInt32LE(2 + key.length + value.length, 0);
    head.writeUInt16LE(key.length, 4);
    parts.push(head, Buffer.from(key, 'latin1'), value);
    size += 6 + key.length + value.length;
    if (size < snapshotChunkBytes) continue;
    yield Buffer.concat(parts);
    parts = [];
    size = 0;
  }
  yield Buffer.concat(parts);
}
