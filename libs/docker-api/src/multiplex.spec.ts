import { expect } from 'chai';
import fc from 'fast-check';
import { Demultiplexer, multiplexFrame } from './multiplex.js';

describe('multiplexed streams', () => {
  it('writes stream, length and data', () => {
    expect(multiplexFrame(2, Buffer.from('hi')).toString('hex')).to.equal('02000000000000026869');
  });

  it('come back as written, however the bytes are cut', () => {
    const frame = fc.record({
      stream: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
      data: fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
    });
    fc.assert(
      fc.property(fc.array(frame), fc.integer({ min: 1, max: 40 }), (frames, step) => {
        const bytes = Buffer.concat(frames.map(({ stream, data }) => multiplexFrame(stream, data)));
        const reader = new Demultiplexer();
        const seen = [];
        for (let at = 0; at < bytes.length; at += step)
          seen.push(...reader.push(bytes.subarray(at, at + step)));
        expect(seen).to.deep.equal(frames);
      }),
    );
  });

  it('refuses what is no frame', () => {
    expect(() => new Demultiplexer().push(Buffer.from('HTTP/1.1 500'))).to.throw('not a multiplexed stream');
  });
});
