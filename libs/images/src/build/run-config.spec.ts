import { expect } from 'chai';
import { BuildArgs } from './build-args.js';
import { isIgnored, readIgnoreFile } from './ignore-file.js';
import { applyChanges, workdirOf } from './run-config.js';

describe('image configuration by instructions', () => {
  const base = { Cmd: ['sh'], Env: ['PATH=/bin', 'A=1'], WorkingDir: '/w' };
  const table: [change: string, config: object][] = [
    ['ENV A=2 B=$A', { Env: ['PATH=/bin', 'A=2', 'B=1'] }],
    ['ENV C $PATH and more', { Env: ['PATH=/bin', 'A=1', 'C=/bin and more'] }],
    ['CMD echo hi', { Cmd: ['/bin/sh', '-c', 'echo hi'] }],
    ['ENTRYPOINT ["/x"]', { Entrypoint: ['/x'] }],
    ['EXPOSE 80 7000-7001/udp', { ExposedPorts: { '80/tcp': {}, '7000/udp': {}, '7001/udp': {} } }],
    ['VOLUME /a /b', { Volumes: { '/a': {}, '/b': {} } }],
    ['LABEL x="y z"', { Labels: { x: 'y z' } }],
    ['WORKDIR ../other/./x', { WorkingDir: '/other/x' }],
    ['USER $A', { User: '1' }],
    ['STOPSIGNAL 9', { StopSignal: '9' }],
    ['STOPSIGNAL rtmin+3', { StopSignal: 'rtmin+3' }],
    ['CMD', { Cmd: [] }],
    ['ONBUILD RUN x', { OnBuild: ['RUN x'] }],
    [
      'HEALTHCHECK --interval=1m30s --timeout=500ms CMD ["a"]',
      { Healthcheck: { Test: ['CMD', 'a'], Interval: 90e9, Timeout: 0.5e9 } },
    ],
    ['HEALTHCHECK NONE', { Healthcheck: { Test: ['NONE'] } }],
  ];
  for (const [change, config] of table) {
    it(`applies ${change}`, () => {
      const changed = applyChanges(base, [change]);
      for (const [name, value] of Object.entries(config)) expect(changed).to.have.deep.property(name, value);
    });
  }

  it('drops an inherited command with the entrypoint it was made for', () => {
    expect(applyChanges(base, ['ENTRYPOINT ["/x"]'])).not.to.have.property('Cmd');
  });

  it('keeps a command that was given before the entrypoint', () => {
    expect(applyChanges(base, ['CMD ["a"]', 'ENTRYPOINT ["b"]'])).to.deep.include({
      Cmd: ['a'],
      Entrypoint: ['b'],
    });
  });

  const mistakes: [change: string, message: RegExp][] = [
    ['RUN x', /run is not a valid change command/],
    ['EXPOSE 70000', /invalid containerPort: 70000/],
    ['STOPSIGNAL SIG%', /invalid signal/],
    ['STOPSIGNAL FOO', /invalid signal: FOO/],
    ['HEALTHCHECK --interval=1 CMD x', /missing unit in duration "1"/],
    ['HEALTHCHECK --interval=soon CMD x', /invalid duration "soon"/],
    ['HEALTHCHECK --interval=1us CMD x', /cannot be less than 1ms/],
  ];
  for (const [change, message] of mistakes) {
    it(`refuses ${change}`, () => {
      expect(() => applyChanges(base, [change])).to.throw(message);
    });
  }

  it('goes on from a folder, and no higher than the root', () => {
    expect([
      workdirOf('/a', 'b'),
      workdirOf(undefined, 'b'),
      workdirOf('/a', '../../..'),
      workdirOf('/a', '/'),
    ]).to.deep.equal(['/a/b', '/b', '/', '/']);
  });
});

describe('arguments of a build', () => {
  it('come from the command line, else the ARG, else the global ARG; the environment wins over all', () => {
    const args = BuildArgs.forFile({
      A: 'given',
      G: 'global given',
      HTTP_PROXY: 'p',
      UNUSED: 'x',
      NULL: null,
    });
    args.addGlobal('G', 'default');
    args.addGlobal('H', 'h');
    expect([...args.globalVariables()]).to.deep.equal([
      ['G', 'global given'],
      ['H', 'h'],
    ]);
    const stage = args.forStage();
    for (const [name, value] of [
      ['A', 'a'],
      ['B', 'b'],
      ['H', undefined],
      ['E', 'e'],
      ['NULL', undefined],
    ] as const)
      stage.add(name, value);
    const env = new Map([['E', 'environment']]);
    expect([...stage.variables(env, { withPredefined: true })]).to.deep.equal([
      ['HTTP_PROXY', 'p'],
      ['A', 'given'],
      ['B', 'b'],
      ['H', 'h'],
    ]);
    expect([...args.forStage().variables(env, { withPredefined: false })]).to.deep.equal([]);
    expect(args.unused()).to.deep.equal(['UNUSED']);
  });
});

describe('.dockerignore', () => {
  const table: [rules: string, path: string, ignored: boolean][] = [
    ['Dockerfile', 'Dockerfile', true],
    ['*.md', 'a.md', true],
    ['*.md', 'b/a.md', false],
    ['**/*.md', 'b/c/a.md', true],
    ['**/*.md', 'a.md', true],
    ['b', 'b/c/d', true],
    ['b/**', 'b/c/d', true],
    ['b/*', 'b/c', true],
    ['*.md\n!README.md', 'README.md', false],
    ['*.md\n!README.md\nREADME*', 'README.md', true],
    ['# b', 'b', false],
    ['/b/', 'b', true],
    ['a?c', 'abc', true],
    ['a[b-d]c', 'acc', true],
    ['a[^b]c', 'abc', false],
    ['a\\*', 'a*', true],
    ['a\\*', 'ab', false],
    ['', 'a', false],
  ];
  for (const [rules, path, ignored] of table) {
    it(`${ignored ? 'leaves out' : 'keeps'} ${path} by ${JSON.stringify(rules)}`, () => {
      expect(isIgnored(readIgnoreFile(rules), path)).to.equal(ignored);
    });
  }
});
