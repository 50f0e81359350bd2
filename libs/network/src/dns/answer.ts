/** One DNS question, answered from the zone or left to others. Pure: the order of addresses is the caller's. */
import dnsPacket from 'dns-packet';
import type { Answer, DecodedPacket, Packet } from 'dns-packet';
import type { Zone } from './zone.js';

/** Short, so that a program that asks again follows the cluster closely. */
export const recordTtlSeconds = 5;
/** What fits any path without fragments; larger answers go over TCP. */
const datagramBytesMax = 1232;
const plainDatagramBytes = 512;

const responseCode = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
} as const;
export type ResponseCode = keyof typeof responseCode;

/** `dns-packet` types flags as one number; these are the bits of RFC 1035 section 4.1.1. */
const recursionAvailable = 1 << 7;

export function respond(query: DecodedPacket, code: ResponseCode, answers: Answer[] = []): Packet {
  const recursionDesired = (query.flags ?? 0) & dnsPacket.RECURSION_DESIRED;
  const authoritative = code === 'noError' || code === 'nameError' ? dnsPacket.AUTHORITATIVE_ANSWER : 0;
  return {
    type: 'response',
    id: query.id ?? 0,
    flags: responseCode[code] | recursionDesired | recursionAvailable | authoritative,
    questions: query.questions ?? [],
    answers,
    additionals: hasEdns(query)
      ? [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: datagramBytesMax,
            flags: 0,
            options: [],
          } as unknown as Answer,
        ]
      : [],
  };
}

interface OptRecord {
  type: string;
  udpPayloadSize?: number;
}

function edns(query: DecodedPacket): OptRecord | undefined {
  return ((query.additionals ?? []) as OptRecord[]).find((record) => record.type === 'OPT');
}

function hasEdns(query: DecodedPacket): boolean {
  return edns(query) !== undefined;
}

/** The largest datagram this client takes. */
export function datagramLimitBytes(query: DecodedPacket): number {
  const offered = edns(query)?.udpPayloadSize ?? plainDatagramBytes;
  return Math.min(datagramBytesMax, Math.max(plainDatagramBytes, offered));
}

function addressOfPointer(name: string): string | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/i.exec(name);
  return match ? `${match[4]}.${match[3]}.${match[2]}.${match[1]}` : undefined;
}

/** The response, or `forward` when the name is none of the cluster's. */
export function answerFromZone(
  zone: Zone,
  query: DecodedPacket,
  networkIds: readonly string[],
  order: (addresses: string[]) => string[],
): Packet | 'forward' {
  // Bits 11 to 14 are the opcode; only 0, a standard query, is served.
  if (((query.flags ?? 0) >>> 11) & 15) return respond(query, 'notImplemented');
  const questions = query.questions ?? [];
  const question = questions[0];
  if (!question || questions.length !== 1) return respond(query, 'formatError');
  const name = question.name.replace(/\.$/, '');
  if (question.class !== undefined && question.class !== 'IN') return 'forward';
  const pointer = addressOfPointer(name);
  if (pointer !== undefined && question.type === 'PTR') {
    const names = zone.reverse(pointer, networkIds);
    if (names === 'foreign') return 'forward';
    if (names.length === 0) return respond(query, 'nameError');
    return respond(
      query,
      'noError',
      names.map((data): Answer => ({ type: 'PTR', name: question.name, ttl: recordTtlSeconds, data })),
    );
  }
  const addresses = zone.lookup(name, networkIds);
  if (addresses === undefined) return 'forward';
  // The name exists: for every other type there is no data, which is not the same as no such name.
  if (question.type !== 'A' && String(question.type) !== 'ANY') return respond(query, 'noError');
  return respond(
    query,
    'noError',
    order(addresses).map((data): Answer => ({ type: 'A', name: question.name, ttl: recordTtlSeconds, data })),
  );
}

/** Encodes for one datagram: what does not fit is left out and the truncation bit says so. */
export function encodeDatagram(response: Packet, limitBytes: number): Buffer {
  const whole = dnsPacket.encode(response);
  if (whole.length <= limitBytes) return whole;
  const answers = response.answers ?? [];
  let low = 0;
  let high = answers.length;
  const cut = (count: number): Packet => ({
    ...response,
    flags: (response.flags ?? 0) | dnsPacket.TRUNCATED_RESPONSE,
    answers: answers.slice(0, count),
  });
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (dnsPacket.encodingLength(cut(middle)) <= limitBytes) low = middle;
    else high = middle - 1;
  }
  return dnsPacket.encode(cut(low));
}
