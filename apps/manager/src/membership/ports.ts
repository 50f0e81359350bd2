/** What membership and sessions take from the world. */
export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number;
}

export interface Random {
  bytes(length: number): Uint8Array;
  /** In [0, 1). */
  fraction(): number;
}

export type { Log } from '#libs/log';
