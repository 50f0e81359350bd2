/** What a secret or a config must satisfy, in SwarmKit's words (`manager/controlapi/secret.go`, `config.go`). Pure. */
import { EnxameError, type PayloadSpec } from '#libs/model';

export type PayloadNoun = 'secret' | 'config';

const nameLengthMax = 64;
const namePattern = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$/;
const base64Pattern = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const dataBytesMax = { secret: 500 * 1024, config: 1000 * 1024 } as const satisfies Record<
  PayloadNoun,
  number
>;

export function checkPayload(noun: PayloadNoun, spec: PayloadSpec & { Driver?: unknown }): void {
  if (spec.Driver !== undefined) {
    throw new EnxameError('not-implemented', `a ${noun} that a plugin holds (Driver): not implemented yet`);
  }
  if (spec.Name === '') throw invalid('meta: name must be provided');
  if (spec.Name.length > nameLengthMax || !namePattern.test(spec.Name)) {
    throw invalid(
      `invalid name, only ${nameLengthMax} [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]`,
    );
  }
  const templating = spec.Templating?.Name ?? '';
  if (templating !== '' && templating !== 'golang') throw invalid(`invalid templating driver: ${templating}`);
  const data = spec.Data ?? '';
  if (!base64Pattern.test(data)) throw invalid('invalid Data: must be base64');
  const bytes = Buffer.byteLength(data, 'base64');
  if (bytes === 0 || bytes > dataBytesMax[noun]) {
    throw invalid(`${noun} data must be larger than 0 and less than ${dataBytesMax[noun]} bytes`);
  }
}

/** Tasks may hold what was there before: nothing but labels changes. */
export function checkPayloadUpdate(before: PayloadSpec, after: PayloadSpec): void {
  const changesData = after.Data !== undefined && after.Data !== '' && after.Data !== before.Data;
  if (after.Name !== before.Name || changesData) throw invalid('only updates to Labels are allowed');
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);
}
