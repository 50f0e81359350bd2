import { expect } from 'chai';
import fc from 'fast-check';
import { encodeHeaders, type Header, HpackDecoder, HpackError } from './hpack.js';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('header compression', () => {
  // RFC 7541, C.4: requests with Huffman codes, each block standing on the table that the one before left.
  it("reads the RFC's requests", () => {
    const decoder = new HpackDecoder();
    const first: Header[] = [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':path', '/'],
      [':authority', 'www.example.com'],
    ];
    expect(decoder.decode(hex('8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff'))).to.deep.equal(first);
    const second = decoder.decode(hex('8286 84be 5886 a8eb 1064 9cbf'));
    expect(second).to.deep.equal([...first, ['cache-control', 'no-cache']]);
    const third = decoder.decode(hex('8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf'));
    expect(third).to.deep.equal([
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/index.html'],
      [':authority', 'www.example.com'],
      ['custom-key', 'custom-value'],
    ]);
  });

  it('forgets what does not fit the table, and all of it when the table is emptied', () => {
    const decoder = new HpackDecoder();
    const remembered = (name: string, value: string): Buffer => {
      const block = encodeHeaders([[name, value]]);
      // The same literal with the bit that puts it into the table.
      block[0] = 0x40;
      return block;
    };
    decoder.decode(remembered('a', '1'));
    decoder.decode(remembered('b', 'x'.repeat(4_000)));
    expect(decoder.decode(hex('be bf'))).to.have.length(2);
    decoder.decode(remembered('c', 'x'.repeat(100)));
    // Index 63 was a, then b: both had to go.
    expect(() => decoder.decode(hex('bf'))).to.throw(HpackError);
    decoder.decode(hex('20'));
    expect(() => decoder.decode(hex('be'))).to.throw(HpackError);
  });

  it('reads what it writes', () => {
    const text = fc.string({
      unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)),
    });
    const headers = fc.array(
      fc.tuple(fc.oneof(fc.constantFrom(':status', 'content-type', 'te'), text), text),
    );
    fc.assert(
      fc.property(headers, (all) => {
        expect(new HpackDecoder().decode(encodeHeaders(all))).to.deep.equal(all);
      }),
    );
  });

  it('refuses everything else with an error of its own', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        try {
          new HpackDecoder().decode(Buffer.from(bytes));
        } catch (error) {
          expect(error).to.be.instanceOf(HpackError);
        }
      }),
      { numRuns: 2_000 },
    );
    for (const block of [
      '80',
      'be',
      '3fff ffff ff0f',
      '0f ffff ffff ff7f',
      '41 8c',
      '40 83ff ffff',
      '82 3f',
    ]) {
      expect(() => new HpackDecoder().decode(hex(block)), block).to.throw(HpackError);
    }
  });
});
