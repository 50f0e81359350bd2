/** The numbers of HTTP/2 (RFC 7540, sections 4, 6 and 7), and its two kinds of bytes that are read by hand. */

export const frameKind = {
  data: 0,
  headers: 1,
  priority: 2,
  resetStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

export const errorCode = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  enhanceYourCalm: 11,
} as const;

export const setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
} as const;

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
export const frameHeadBytes = 9;
export const windowMax = 2 ** 31 - 1;
/** Until settings say otherwise (6.5.2). */
export const defaultWindow = 65_535;
export const defaultFrameBytesMax = 16_384;

/** The connection ends with this code. */
export class ConnectionError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

export function unpadded(flags: number, body: Buffer): Buffer {
  if ((flags & flag.padded) === 0) return body;
  const padding = body[0] ?? 0;
  if (padding >= body.length) throw new ConnectionError(errorCode.protocol, 'more padding than frame');
  return body.subarray(1, body.length - padding);
}
