/**
 * Branded identifiers: a TaskId is not a NodeId, though both are strings on the wire.
 * Cluster objects carry SwarmKit's 25 base-36 characters; containers and images carry Docker's 64 hex digits.
 */
declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

export type ClusterId = Branded<'ClusterId'>;
export type NodeId = Branded<'NodeId'>;
export type ServiceId = Branded<'ServiceId'>;
export type RevisionId = Branded<'RevisionId'>;
export type TaskId = Branded<'TaskId'>;
export type NetworkId = Branded<'NetworkId'>;
export type SecretId = Branded<'SecretId'>;
export type ConfigId = Branded<'ConfigId'>;
/** 64 lower-case hex digits. */
export type ContainerId = Branded<'ContainerId'>;
/** `sha256:` and 64 hex digits: the digest of the image's config, as Docker's image ID. */
export type ImageId = Branded<'ImageId'>;
/** `sha256:` and 64 hex digits: the digest of any blob. */
export type Digest = Branded<'Digest'>;

export type ObjectId = ClusterId | NodeId | ServiceId | RevisionId | TaskId | NetworkId | SecretId | ConfigId;

const objectIdLength = 25;
const base36 = 36n;

/**
 * Turns 16 random bytes into an object id: 25 base-36 characters, as SwarmKit's `identity.NewID`.
 * The caller brings the randomness, so that pure code can be run again with the same ids.
 */
export function objectIdFromBytes<Id extends ObjectId>(random: Uint8Array): Id {
  let value = 0n;
  for (const byte of random.subarray(0, 16)) value = (value << 8n) | BigInt(byte);
  let text = '';
  for (let i = 0; i < objectIdLength; i++) {
    text = (value % base36).toString(36) + text;
    value /= base36;
  }
  return text as Id;
}

/** Makes a fresh id of the asked type. Pure code takes one of these as an argument. */
export type IdSource = <Id extends ObjectId>() => Id;
