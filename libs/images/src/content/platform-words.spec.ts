import { expect } from 'chai';
import { hostPlatform, platformText } from './platform.js';
import { platformOf } from './platform-words.js';

describe('a platform as clients write it', () => {
  const read = (text: string): string => {
    try {
      const platform = platformOf(text);
      return platform === undefined ? 'any' : platformText(platform);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };
  const cases: [text: string, meaning: string][] = [
    ['', 'any'],
    ['linux', platformText(hostPlatform())],
    ['LINUX', platformText(hostPlatform())],
    ['x86_64', 'linux/amd64'],
    ['linux/aarch64/v8', 'linux/arm64/v8'],
    ['linux/sparc64', 'linux/sparc64'],
    ['macos', 'operating system is not supported: darwin'],
    ['macos/arm64', 'operating system is not supported: darwin'],
    ['nintendo64', '"nintendo64": unknown operating system or architecture: invalid argument'],
    [
      '/',
      '"/": "" is an invalid component of "/": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument',
    ],
    ['a/b/c/d', '"a/b/c/d": cannot parse platform specifier: invalid argument'],
  ];
  for (const [text, meaning] of cases) it(JSON.stringify(text), () => expect(read(text)).to.equal(meaning));
});
