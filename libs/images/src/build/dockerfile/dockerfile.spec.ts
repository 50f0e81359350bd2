import { expect } from 'chai';
import { parseDockerfile, readTrigger, stagesUpTo } from './stages.js';

/** Of the first stage. */
function instructions(...lines: string[]): unknown[] {
  const { stages } = parseDockerfile(['FROM base', ...lines].join('\n'));
  return (stages[0]?.instructions ?? []).map(({ line: _line, text: _text, ...rest }) => rest);
}

describe('Dockerfile', () => {
  const table: [line: string, instruction: object][] = [
    ['run echo  a', { kind: 'RUN', command: { kind: 'shell', line: 'echo  a' }, heredocs: [] }],
    ['RUN ["a", "b c"]', { kind: 'RUN', command: { kind: 'exec', words: ['a', 'b c'] }, heredocs: [] }],
    ['RUN [ -f x ]', { kind: 'RUN', command: { kind: 'shell', line: '[ -f x ]' }, heredocs: [] }],
    ['CMD []', { kind: 'CMD', command: { kind: 'exec', words: [] } }],
    [
      'ENV a=b c="d e" f=g\\ h',
      {
        kind: 'ENV',
        pairs: [
          { name: 'a', value: 'b' },
          { name: 'c', value: '"d e"' },
          { name: 'f', value: 'g\\ h' },
        ],
      },
    ],
    ['ENV key some value', { kind: 'ENV', pairs: [{ name: 'key', value: 'some value' }] }],
    ['ARG a b=c', { kind: 'ARG', args: [{ name: 'a' }, { name: 'b', value: 'c' }] }],
    ['COPY a b /c/', { kind: 'COPY', sources: ['a', 'b'], destination: '/c/', heredocs: [] }],
    [
      'COPY --from=x --chown=1:2 --chmod=755 ["a b", "/c"]',
      {
        kind: 'COPY',
        sources: ['a b'],
        destination: '/c',
        from: 'x',
        chown: '1:2',
        chmod: '755',
        heredocs: [],
      },
    ],
    ['EXPOSE 80 81/udp', { kind: 'EXPOSE', words: ['80', '81/udp'] }],
    ['VOLUME ["/a", "/b"]', { kind: 'VOLUME', words: ['/a', '/b'] }],
    ['HEALTHCHECK NONE', { kind: 'HEALTHCHECK', command: 'NONE', flags: {} }],
    ['SHELL ["bash", "-c"]', { kind: 'SHELL', words: ['bash', '-c'] }],
    ['ONBUILD run make', { kind: 'ONBUILD', trigger: 'run make' }],
    ['WORKDIR /a b', { kind: 'WORKDIR', argument: '/a b' }],
    ['MAINTAINER me', { kind: 'MAINTAINER', argument: 'me' }],
  ];
  for (const [line, instruction] of table) {
    it(`reads ${line}`, () => {
      expect(instructions(line)).to.deep.equal([instruction]);
    });
  }

  it('joins lines, leaving out comments and empty ones between them', () => {
    const { stages } = parseDockerfile(
      'FROM a\nRUN one \\\n  # no\n\n  two \\  \n three\nRUN four\\\\\nUSER x',
    );
    expect(stages[0]?.instructions.map(({ line, text }) => [line, text])).to.deep.equal([
      [2, 'RUN one   two  three'],
      [7, 'RUN four\\\\'],
      [8, 'USER x'],
    ]);
  });

  it('takes another escape from a directive at the top, and from nowhere else', () => {
    const top = parseDockerfile('# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN one `\n two \\\n');
    expect(top.escape).to.equal('`');
    expect(top.stages[0]?.instructions.map(({ text }) => text)).to.deep.equal(['RUN one  two \\']);
    expect(parseDockerfile('# a comment\n# escape=`\nFROM a').escape).to.equal('\\');
  });

  it('takes here-documents from the lines below', () => {
    const [copy, run] = instructions(
      'COPY <<EOF <<-"B" /to/',
      'one $x',
      'EOF',
      '\ttwo',
      '\tB',
      'RUN cat <<E | sh',
      'x',
      'E',
    );
    expect(copy).to.deep.include({
      heredocs: [
        { name: 'EOF', expand: true, content: 'one $x\n' },
        { name: 'B', expand: false, content: 'two\n' },
      ],
    });
    expect(run).to.deep.include({ heredocs: [{ name: 'E', expand: true, content: 'x\n' }] });
  });

  it('knows stages by name and number', () => {
    const { stages, globalArgs } = parseDockerfile(
      'ARG V=1\nFROM a:$V AS One\nRUN x\nFROM --platform=linux/amd64 b\nFROM one',
    );
    expect(globalArgs.map(({ args }) => args)).to.deep.equal([[{ name: 'V', value: '1' }]]);
    expect(
      stages.map(({ from: { image, stageName, platform } }) => [image, stageName, platform]),
    ).to.deep.equal([
      ['a:$V', 'one', undefined],
      ['b', undefined, 'linux/amd64'],
      ['one', undefined, undefined],
    ]);
    expect(stagesUpTo(stages, 'ONE').length).to.equal(1);
    expect(stagesUpTo(stages, '1').length).to.equal(2);
    expect(stagesUpTo(stages, '').length).to.equal(3);
    expect(() => stagesUpTo(stages, 'two')).to.throw('target stage "two" could not be found');
  });

  const mistakes: [text: string, message: string][] = [
    ['FROM a\nRUNN x', 'dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)'],
    ['FROM a\nNONSENSE', 'dockerfile parse error on line 2: unknown instruction: NONSENSE'],
    ['FROM a b', 'dockerfile parse error on line 1: FROM requires either one or three arguments'],
    [
      'FROM a AS 1x',
      `dockerfile parse error on line 1: invalid name for build stage: "1x", name can't start with a number or contain symbols`,
    ],
    ['FROM a\n\nENV x', 'dockerfile parse error on line 3: ENV must have two arguments'],
    [
      'FROM a\nENV a=b c',
      `dockerfile parse error on line 2: Syntax error - can't find = in "c". Must be of the form: name=value`,
    ],
    [
      'FROM a\nCOPY x',
      'dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined.',
    ],
    ['FROM a\nCOPY --what=1 x y', 'dockerfile parse error on line 2: unknown flag: --what'],
    ['FROM a\nCMD ["a", 1]', 'dockerfile parse error on line 2: only string type is supported in arrays'],
    [
      'FROM a\nSHELL bash',
      'dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form',
    ],
    ['FROM a\nONBUILD FROM b', "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger"],
    [
      'FROM a\nHEALTHCHECK RUN x',
      'dockerfile parse error on line 2: Unknown type "RUN" in HEALTHCHECK (try CMD)',
    ],
    ['FROM a\nRUN <<E\nx', 'dockerfile parse error on line 2: unterminated heredoc'],
    ['RUN x', 'dockerfile parse error on line 1: no build stage in current context'],
    ['# only this', 'file with no instructions'],
    ['', 'the Dockerfile (Dockerfile) cannot be empty'],
  ];
  for (const [text, message] of mistakes) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseDockerfile(text)).to.throw(message);
    });
  }

  it('reads a trigger as one instruction', () => {
    expect(readTrigger('RUN make')).to.deep.include({ kind: 'RUN', text: 'RUN make' });
    expect(() => readTrigger('RUN a\nRUN b')).to.throw('not one instruction');
  });
});
