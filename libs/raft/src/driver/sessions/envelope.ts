/**
 * What surrounds a proposal's data in its log entry, so that every member can tell a repeated proposal from a new one:
 *
 *     format     u8   1
 *     session    u48  drawn by the proposer
 *     born at    u48  index the proposer had applied when its session began
 *     sequence   u48  from 1, one for each proposal of the session
 *     settled    u48  the proposer waits for nothing up to this sequence any more
 *     data
 */
export interface SessionHeader {
  session: number;
  bornAt: number;
  sequence: number;
  settled: number;
}

export const envelopeBytes = 25;
const format = 1;

export function wrapProposal(header: SessionHeader, data: Uint8Array): Uint8Array {
  const entry = Buffer.allocUnsafe(envelopeBytes + data.length);
  entry.writeUInt8(format, 0);
  entry.writeUIntLE(header.session, 1, 6);
  entry.writeUIntLE(header.bornAt, 7, 6);
  entry.writeUIntLE(header.sequence, 13, 6);
  entry.writeUIntLE(header.settled, 19, 6);
  entry.set(data, envelopeBytes);
  return entry;
}

/** Undefined for bytes that no proposer wrote. The data are a view. */
export function unwrapProposal(entry: Uint8Array): { header: SessionHeader; data: Uint8Array } | undefined {
  if (entry.length < envelopeBytes || entry[0] !== format) return undefined;
  const bytes = Buffer.from(entry.buffer, entry.byteOffset, entry.byteLength);
  const header = {
    session: bytes.readUIntLE(1, 6),
    bornAt: bytes.readUIntLE(7, 6),
    sequence: bytes.readUIntLE(13, 6),
    settled: bytes.readUIntLE(19, 6),
  };
  return { header, data: bytes.subarray(envelopeBytes) };
}
