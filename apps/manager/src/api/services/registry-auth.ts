/** Docker's `X-Registry-Auth`: base64url of a JSON document, sent with `--with-registry-auth`. */

const credentialFields = ['username', 'password', 'identitytoken', 'registrytoken', 'auth'];

/** What the client is told when it sends credentials: nodes pull without them in this version. */
export function registryAuthWarnings(header: string | undefined): string[] | null {
  if (header === undefined || !carriesCredentials(header)) return null;
  return [
    'registry credentials (--with-registry-auth) are not passed on to the nodes yet: images that need them must be loaded or pulled on a node',
  ];
}

function carriesCredentials(header: string): boolean {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'));
    if (typeof parsed !== 'object' || parsed === null) return false;
    const fields = new Map(Object.entries(parsed));
    return credentialFields.some((field) => Boolean(fields.get(field)));
  } catch {
    // What cannot be read cannot be used either; the client is told the same.
    return true;
  }
}
