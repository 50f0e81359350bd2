/** The range of Engine API versions this server speaks, and the rules of the `/v1.NN` path prefix. */
import { EnxameError } from '#libs/model';

export const apiVersion = '1.50';
export const apiVersionMin = '1.24';
/**
 * What skopeo, buildah and podman of Debian 12 ask with (containers/image before 5.30): they load and save images, which
 * is as it was then.
 */
const stillSpoken = '1.22';

type Version = readonly [number, number];

const newest: Version = parseVersion(apiVersion);
const oldest: Version = parseVersion(apiVersionMin);
const prefixPattern = /^\/v(\d{1,4})\.(\d{1,4})(?=\/|$)/;

/** Splits `/v1.45/containers/json` into its version and `/containers/json`; without a prefix the newest is meant. */
export function splitVersion(path: string): { version: Version; path: string } {
  const match = prefixPattern.exec(path);
  if (match === null) return { version: newest, path };
  const version: Version = [Number(match[1]), Number(match[2])];
  const text = `${version[0]}.${version[1]}`;
  if (compare(version, oldest) < 0 && text !== stillSpoken) {
    throw new EnxameError(
      'invalid-argument',
      `client version ${text} is too old. Minimum supported API version is ${apiVersionMin}, please upgrade your client to a newer version`,
    );
  }
  if (compare(version, newest) > 0) {
    throw new EnxameError(
      'invalid-argument',
      `client version ${text} is too new. Maximum supported API version is ${apiVersion}`,
    );
  }
  return { version, path: path.slice(match[0].length) || '/' };
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1];
}

function parseVersion(text: string): Version {
  const [major = 0, minor = 0] = text.split('.').map(Number);
  return [major, minor];
}
