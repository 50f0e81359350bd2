/**
 * The part of etcd's KV service that the bench uses, spoken by our members as well, so that one client loads both.
 * Field numbers are those of etcd 3.4's rpc.proto and kv.proto.
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

export interface Pair {
  key: Uint8Array;
  value: Uint8Array;
}

export const paths = {
  put: '/etcdserverpb.KV/Put',
  range: '/etcdserverpb.KV/Range',
  status: '/etcdserverpb.Maintenance/Status',
  /** Calls on a stream that stays open; etcd has no such methods, and not the next. */
  puts: '/enxame.bench.KV/Puts',
  ranges: '/enxame.bench.KV/Ranges',
  /** Answers nothing, and does nothing for it. */
  echo: '/enxame.bench.KV/Echo',
} as const;

/** Every field that is length-delimited, by number; the rest is passed over. */
function readBytesFields(bytes: Uint8Array): Map<number, Uint8Array> {
  const fields = new Map<number, Uint8Array>();
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) fields.set(field, reader.bytes());
    else reader.skip(wireType);
  }
  return fields;
}

const nothing = new Uint8Array(0);

function encodePair(pair: Pair, keyField: number, valueField: number): Uint8Array {
  return new BinaryWriter()
    .tag(keyField, WireType.LengthDelimited)
    .bytes(pair.key)
    .tag(valueField, WireType.LengthDelimited)
    .bytes(pair.value)
    .finish();
}

export const encodePut = (pair: Pair): Uint8Array => encodePair(pair, 1, 2);

export function decodePut(bytes: Uint8Array): Pair {
  const fields = readBytesFields(bytes);
  return { key: fields.get(1) ?? nothing, value: fields.get(2) ?? nothing };
}

export const encodeRange = (key: Uint8Array): Uint8Array =>
  new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(key).finish();

export const decodeRange = (bytes: Uint8Array): Uint8Array => readBytesFields(bytes).get(1) ?? nothing;

export function encodeFound(found: Pair | undefined): Uint8Array {
  if (found === undefined) return nothing;
  return new BinaryWriter()
    .tag(2, WireType.LengthDelimited)
    .bytes(encodePair(found, 1, 5))
    .finish();
}

/** Does the member that answers lead? header.member_id and leader of etcd's StatusResponse. */
export function decodeLeads(bytes: Uint8Array): boolean {
  let header: Uint8Array = nothing;
  let leader = 0n;
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) header = reader.bytes();
    else if (field === 4) leader = BigInt(reader.uint64());
    else reader.skip(wireType);
  }
  const inner = new BinaryReader(header);
  while (inner.pos < inner.len) {
    const [field, wireType] = inner.tag();
    if (field === 2) return BigInt(inner.uint64()) === leader && leader !== 0n;
    inner.skip(wireType);
  }
  return false;
}
