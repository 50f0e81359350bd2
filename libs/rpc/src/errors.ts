/**
 * How an EnxameError crosses gRPC: its status by the catalogue, its exact code in a trailer, since several codes
 * share one status.
 */
import { EnxameError, errorCatalogue, isEnxameError, type ErrorCode } from '#libs/model';
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { GrpcStatus } from './lean/messages.js';

const codeTrailer = 'enxame-code';
/** Trailers must fit an HTTP/2 header block. */
const messageLengthMax = 4096;

/** Unexpected errors keep their words to themselves. */
function toTell(error: unknown): { known: EnxameError; words: string } {
  const known = isEnxameError(error)
    ? error
    : new EnxameError('internal', 'internal error', { cause: error });
  return { known, words: known.message.slice(0, messageLengthMax) };
}

/** What a server gives grpc-js for an error. */
export function toServiceError(error: unknown): Pick<ServiceError, 'code' | 'details' | 'metadata'> {
  const { known, words } = toTell(error);
  const metadata = new Metadata();
  metadata.set(codeTrailer, known.code);
  return { code: known.grpcStatus, details: words, metadata };
}

/** The same for a lean call. */
export function toGrpcStatus(error: unknown): GrpcStatus {
  const { known, words } = toTell(error);
  return new GrpcStatus(String(known.grpcStatus), words, [[codeTrailer, known.code]]);
}

const codeOfStatus = new Map<number, ErrorCode>([
  [status.INVALID_ARGUMENT, 'invalid-argument'],
  [status.UNAUTHENTICATED, 'unauthorized'],
  [status.PERMISSION_DENIED, 'forbidden'],
  [status.NOT_FOUND, 'not-found'],
  [status.ALREADY_EXISTS, 'conflict'],
  [status.FAILED_PRECONDITION, 'failed-precondition'],
  [status.UNAVAILABLE, 'unavailable'],
  [status.CANCELLED, 'unavailable'],
  [status.DEADLINE_EXCEEDED, 'deadline-exceeded'],
  [status.RESOURCE_EXHAUSTED, 'resource-exhausted'],
  [status.UNIMPLEMENTED, 'not-implemented'],
  [status.DATA_LOSS, 'data-damaged'],
]);

/** What a client makes of an error that came out of a call. */
export function fromServiceError(error: unknown): EnxameError {
  if (isEnxameError(error)) return error;
  if (error instanceof GrpcStatus) {
    const named = error.more.find(([name]) => name === codeTrailer)?.[1];
    return new EnxameError(codeFor(named, Number(error.status)), error.message, { cause: error });
  }
  const service = error as Partial<ServiceError>;
  if (typeof service.code !== 'number') {
    return new EnxameError('internal', error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  }
  const code = codeFor(service.metadata?.get(codeTrailer)[0], service.code);
  return new EnxameError(code, service.details || service.message || `gRPC status ${service.code}`, {
    cause: error,
  });
}

function codeFor(named: unknown, grpcStatus: number): ErrorCode {
  if (typeof named === 'string' && named in errorCatalogue) return named as ErrorCode;
  return codeOfStatus.get(grpcStatus) ?? 'internal';
}
