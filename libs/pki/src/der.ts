/**
 * The two fields of a certificate that node:crypto gives only as text or as a key object: its subject and its public
 * key, as the DER bytes that are in it (RFC 5280, 4.1). A whole X.509 library is a lot to load for that.
 */
import { X509Certificate } from 'node:crypto';

interface Element {
  tag: number;
  /** With its header. */
  raw: Buffer;
  content: Buffer;
}

const sequence = 0x30;
const explicitVersion = 0xa0;

/** Subject and SubjectPublicKeyInfo of the first certificate in the text. */
export function subjectAndKeyOf(certificatePem: string): { subject: Buffer; publicKey: Buffer } {
  const [certificate] = elementsOf(new X509Certificate(certificatePem).raw);
  const [body] = elementsOf(certificate?.content ?? Buffer.alloc(0));
  if (certificate?.tag !== sequence || body?.tag !== sequence) throw new Error('not a certificate');
  const fields = elementsOf(body.content);
  // version (absent in old ones), serial number, signature, issuer, validity, subject, key.
  const first = fields[0]?.tag === explicitVersion ? 1 : 0;
  const [subject, publicKey] = fields.slice(first + 4);
  if (subject === undefined || publicKey === undefined) throw new Error('a certificate without a key');
  return { subject: subject.raw, publicKey: publicKey.raw };
}

/** The elements that stand one after the other. OpenSSL has parsed them before: lengths are definite and true. */
function elementsOf(bytes: Buffer): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length; ) {
    const short = bytes[at + 1] ?? 0;
    const lengthBytes = short < 0x80 ? 0 : short & 0x7f;
    const length = lengthBytes === 0 ? short : bytes.readUIntBE(at + 2, lengthBytes);
    const begin = at + 2 + lengthBytes;
    elements.push({
      tag: bytes[at] ?? 0,
      raw: bytes.subarray(at, begin + length),
      content: bytes.subarray(begin, begin + length),
    });
    at = begin + length;
  }
  return elements;
}
