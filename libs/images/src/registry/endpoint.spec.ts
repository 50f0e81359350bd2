import { expect } from 'chai';
import { isInsecureHost } from './endpoint.js';
import { transportError } from './errors.js';

describe('registry hosts', () => {
  const named = ['registry.test', 'other.test:5000', '10.98.5.0/24', '10.0.0.0/not', 'not/8', '10.1.2.3/33'];
  const cases: [string, boolean][] = [
    ['localhost', true],
    ['localhost:5000', true],
    ['127.0.0.1:5000', true],
    ['127.9.8.7', true],
    ['[::1]:5000', true],
    ['127.0.0.1.test', false],
    ['registry.test', true],
    ['registry.test:5000', true],
    ['other.test:5000', true],
    ['other.test', false],
    ['10.98.5.1:5000', true],
    ['10.98.5.255', true],
    ['10.98.6.1', false],
    ['10.1.2.3', false],
    ['docker.io', false],
  ];
  for (const [host, insecure] of cases) {
    it(`speaks ${insecure ? 'http' : 'https'} to ${host}`, () => {
      expect(isInsecureHost(host, named)).to.equal(insecure);
    });
  }

  it('says what is wrong when a registry speaks http where https was meant', () => {
    const opensslWords = '803C:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:ssl.c:350:\n';
    const error = transportError('GET', 'https://registry.test/v2/', new Error(opensslWords));
    expect(error.message).to.equal(
      'Get "https://registry.test/v2/": http: server gave HTTP response to HTTPS client',
    );
  });
});
