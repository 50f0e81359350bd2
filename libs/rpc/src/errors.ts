/**
 * How an EnxameError crosses gRPC: its status by the catalogue, its exact code in a trailer, since several codes
 * share one status.
 */
import { EnxameError, errorCatalogue, isEnxameError, type ErrorCode } from '#libs/model';
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';

const codeTrailer = 'enxame-code';
/** Trailers must fit an HTTP/2 header block. */
const messageLengthMax = 4096;

/** What a server gives grpc-js for an error. Unexpected errors keep their words to themselves. */
export function toServiceError(error: unknown): Pick<ServiceError, 'code' | 'details' | 'metadata'> {
  const known = isEnxameError(error)
    ? error
    : new EnxameError('internal', 'internal error', { cause: error });
  const metadata = new Metadata();
  metadata.set(codeTrailer, known.code);
  return { code: known.grpcStatus, details: known.message.slice(0, messageLengthMax), metadata };
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

/** What a client makes of an error that came out of grpc-js. */
export function fromServiceError(error: unknown): EnxameError {
  if (isEnxameError(error)) return error;
  const service = error as Partial<ServiceError>;
  if (typeof service.code !== 'number') {
    return new EnxameError('internal', error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  }
  const named = service.metadata?.get(codeTrailer)[0];
  const code =
    typeof named === 'string' && named in errorCatalogue
      ? (named as ErrorCode)
      : (codeOfStatus.get(service.code) ?? 'internal');
  return new EnxameError(code, service.details || service.message || `gRPC status ${service.code}`, {
    cause: error,
  });
}
