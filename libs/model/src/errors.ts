/**
 * The one catalogue of errors that cross a boundary. HTTP status, gRPC status and whether a retry can help are
 * facts of the code, never of the place that throws.
 */
export const errorCatalogue = {
  'invalid-argument': { http: 400, grpc: 3, retry: false },
  unauthorized: { http: 401, grpc: 16, retry: false },
  forbidden: { http: 403, grpc: 7, retry: false },
  'not-found': { http: 404, grpc: 5, retry: false },
  conflict: { http: 409, grpc: 6, retry: false },
  /** The object changed since the caller read it: "update out of sequence". */
  'version-mismatch': { http: 500, grpc: 9, retry: false },
  'failed-precondition': { http: 400, grpc: 9, retry: false },
  /** This node is not a manager, or the cluster has no leader now. */
  'not-manager': { http: 503, grpc: 14, retry: false },
  unavailable: { http: 503, grpc: 14, retry: true },
  'deadline-exceeded': { http: 504, grpc: 4, retry: true },
  'resource-exhausted': { http: 500, grpc: 8, retry: true },
  /** A part of Docker's API that this version does not have yet. The message names it. */
  'not-implemented': { http: 501, grpc: 12, retry: false },
  /** Stored data does not match its checksum. The message says which file and offset. */
  'data-damaged': { http: 500, grpc: 15, retry: false },
  internal: { http: 500, grpc: 13, retry: false },
} as const satisfies Record<string, { http: number; grpc: number; retry: boolean }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** An operating error: something outside the program's control, worth telling the caller in words. */
export class EnxameError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'EnxameError';
    this.code = code;
  }

  get httpStatus(): number {
    return errorCatalogue[this.code].http;
  }

  get grpcStatus(): number {
    return errorCatalogue[this.code].grpc;
  }
}

/** Tells an error that this project threw on purpose from every other one. */
export function isEnxameError(error: unknown): error is EnxameError {
  return error instanceof EnxameError;
}

/** One line that holds an error's message and those of its causes, for log records and task errors. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; current !== undefined && current !== null && depth < 8; depth++) {
    if (!(current instanceof Error)) {
      parts.push(String(current));
      break;
    }
    if (!parts.some((part) => part.includes(current instanceof Error ? current.message : ''))) {
      parts.push(current.message);
    }
    current = current.cause;
  }
  return parts.join(': ');
}

/** A branch that cannot be reached while the types are right. */
export function assertNever(value: never, what: string): never {
  throw new Error(`unexpected ${what}: ${JSON.stringify(value)}`);
}
