/** `docker build` with the stock CLI and the classic builder: every instruction, the cache, and what goes wrong. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { tarOfFile } from '#libs/images';
import { busyboxArchive, busyboxImage } from './harness/busybox-image.js';
import { eventually, run, TestCluster, type CommandResult } from './harness/cluster.js';

describe('docker build', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-build', 0);
  const folder = mkdtempSync(join(tmpdir(), 'enxame-build-'));
  let contexts = 0;

  before(async () => {
    await cluster.up();
    const archive = join(folder, 'busybox.tar');
    writeFileSync(archive, await busyboxArchive());
    await cluster.docker(['load', '-q', '-i', archive]);
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await cluster.end();
  });

  function context(files: Record<string, string | Buffer>): string {
    const path = join(folder, `context-${++contexts}`);
    mkdirSync(path);
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(path, name)), { recursive: true });
      writeFileSync(join(path, name), content);
    }
    return path;
  }
  const build = (path: string, ...args: string[]): Promise<CommandResult> =>
    run('docker', ['build', ...args, path], {
      env: { ...cluster.dockerEnvironment(), DOCKER_BUILDKIT: '0' },
      timeoutMs: 60_000,
    });
  async function built(path: string, ...args: string[]): Promise<string> {
    const result = await build(path, ...args);
    if (result.code !== 0) throw new Error(`docker build: ${result.stderr}${result.stdout}`);
    return result.stdout;
  }
  const sh = (image: string, script: string): Promise<string> =>
    cluster.docker(['run', '--rm', '--network', 'none', image, '/bin/sh', '-c', script]);
  async function configOf(image: string): Promise<Record<string, unknown>> {
    return JSON.parse(await cluster.docker(['image', 'inspect', '--format', '{{json .Config}}', image]));
  }

  it('runs commands, sets the configuration, and says so as Docker does', async () => {
    const path = context({
      Dockerfile: [
        `FROM ${busyboxImage}`,
        'ARG WORD=hello',
        'ENV GREETING="$WORD world" OTHER=${GREETING:-none}',
        'RUN echo "$GREETING" > /greeting && chmod 600 /greeting \\',
        '  # a comment inside',
        '  && mkdir -p /data/a && ln /greeting /data/link && rm /srv/of-the-image',
        'WORKDIR /data',
        'WORKDIR sub',
        'RUN ["/bin/sh", "-c", "pwd > where"]',
        'USER anna',
        'EXPOSE 80 53/udp',
        'VOLUME /var/lib/things',
        'LABEL a=b "c d"="e f"',
        'STOPSIGNAL SIGINT',
        'HEALTHCHECK --interval=5s --retries=2 CMD true',
        'SHELL ["/bin/sh", "-e", "-c"]',
        'ENTRYPOINT ["/bin/echo"]',
        'CMD ["x", "y"]',
      ].join('\n'),
    });
    const output = await built(path, '-t', 'first:1', '-t', 'first:2', '--build-arg', 'WORD=good');
    expect(output).to.match(
      /^Step 1\/16 : FROM enxame\/busybox:1\n ---> [0-9a-f]{12}\nStep 2\/16 : ARG WORD=hello\n/m,
    );
    expect(output).to.match(
      / ---> Running in [0-9a-f]{12}\n ---> Removed intermediate container [0-9a-f]{12}\n ---> /,
    );
    expect(output).to.match(
      /Successfully built [0-9a-f]{12}\nSuccessfully tagged first:1\nSuccessfully tagged first:2\n$/,
    );
    expect(await configOf('first:2')).to.deep.include({
      Env: ['PATH=/bin', 'GREETING=good world', 'OTHER=none'],
      WorkingDir: '/data/sub',
      User: 'anna',
      ExposedPorts: { '80/tcp': {}, '53/udp': {} },
      Volumes: { '/var/lib/things': {} },
      Labels: { a: 'b', 'c d': 'e f' },
      StopSignal: 'SIGINT',
      Shell: ['/bin/sh', '-e', '-c'],
      Entrypoint: ['/bin/echo'],
      Cmd: ['x', 'y'],
      Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 5_000_000_000, Retries: 2 },
    });
    expect(await cluster.docker(['run', '--rm', '--network', 'none', 'first:1'])).to.equal('x y');
    const seen = await cluster.docker([
      'run',
      '--rm',
      '--network',
      'none',
      '--user',
      '0',
      '--entrypoint',
      '/bin/sh',
      'first:1',
      '-c',
      'cat /greeting; cat where; stat -c "%a %h" /greeting; ls /srv; ls -a /',
    ]);
    expect(seen.split('\n').slice(0, 3)).to.deep.equal(['good world', '/data/sub', '600 2']);
    expect(seen).not.to.include('of-the-image');
    const history = await cluster.docker(['history', '--no-trunc', '--format', '{{.CreatedBy}}', 'first:1']);
    expect(history.split('\n').slice(0, 2)).to.deep.equal([
      '/bin/sh -e -c #(nop)  CMD ["x" "y"]',
      '/bin/sh -e -c #(nop)  ENTRYPOINT ["/bin/echo"]',
    ]);
    expect(history).to.include('|1 WORD=good /bin/sh -c echo "$GREETING" > /greeting');
    expect(await cluster.docker(['ps', '-aq'])).to.equal('');
  });

  it('copies with patterns, owners, modes, links and archives', async () => {
    const path = context({
      Dockerfile: [
        `FROM ${busyboxImage}`,
        'RUN mkdir -p /srv/app && chmod 700 /srv/app && ln -s /srv/app /app && chmod 1777 /tmp',
        'COPY one.txt /app/',
        'COPY --chown=anna:audio --chmod=640 one.txt /tmp/renamed',
        'COPY *.txt docs /all/',
        'COPY docs /docs',
        'ADD packed.tar.gz /unpacked/',
        'COPY packed.tar.gz /kept.tgz',
        'COPY <<EOF /from-here',
        'home is $HOME-',
        'EOF',
        'RUN <<EOF',
        'echo script > /script',
        'EOF',
      ].join('\n'),
      '.dockerignore': 'Dockerfile\n.dockerignore\nsecret*\n!secret-not',
      'one.txt': 'one',
      'two.txt': 'two',
      'secret.txt': 'no',
      'docs/deep/three': 'three',
    });
    chmodSync(join(path, 'two.txt'), 0o755);
    symlinkSync('deep/three', join(path, 'docs/link'));
    writeFileSync(join(path, 'inner'), 'inside');
    const packed = await run('tar', [
      '-C',
      path,
      '--owner=7',
      '--group=8',
      '-cf',
      join(path, 'packed.tar'),
      'inner',
    ]);
    expect(packed.code).to.equal(0);
    const { readFileSync } = await import('node:fs');
    writeFileSync(join(path, 'packed.tar.gz'), gzipSync(readFileSync(join(path, 'packed.tar'))));
    rmSync(join(path, 'packed.tar'));
    await built(path, '-t', 'copies:1');
    const seen = await sh(
      'copies:1',
      `stat -c '%n %a %u %g' /srv/app /srv/app/one.txt /tmp /tmp/renamed /all/two.txt /unpacked/inner
       ls /all /docs /; readlink /docs/link; cat /docs/link; cat /from-here /script; test -s /kept.tgz && echo kept`,
    );
    expect(seen).to.include(
      [
        '/srv/app 700 0 0',
        '/srv/app/one.txt 644 0 0',
        '/tmp 1777 0 0',
        '/tmp/renamed 640 1000 29',
        '/all/two.txt 755 0 0',
        '/unpacked/inner 644 7 8',
      ].join('\n'),
    );
    expect(seen).to.include('deep/three\nthree');
    expect(seen).to.include('home is -\nscript\nkept');
    expect(seen).not.to.include('secret');
  });

  it('builds in stages, copies between them, and stops at a target', async () => {
    const path = context({
      Dockerfile: [
        `ARG BASE=${busyboxImage}`,
        'FROM ${BASE} AS build',
        'RUN mkdir /out && echo made > /out/result && ln -s result /out/link',
        'FROM ${BASE} AS unused',
        'RUN false',
        'FROM scratch',
        'COPY --from=build /bin/busybox /bin/sh',
        'COPY --from=0 /out /result',
        `COPY --from=${busyboxImage} /etc/pass* /etc/`,
        'CMD ["/bin/sh", "-c", "echo *; echo /result/*; ls -l /bin/sh"]',
      ].join('\n'),
    });
    const failed = await build(path, '-t', 'stages:1');
    expect(failed.code).to.equal(1);
    expect(failed.stderr).to.include("The command '/bin/sh -c false' returned a non-zero code: 1");
    const output = await built(path, '--target', 'build', '-t', 'stages:build');
    expect(output).to.match(/Step 3\/3 : RUN mkdir/);
    writeFileSync(
      join(path, 'Dockerfile'),
      [
        `FROM ${busyboxImage} AS build`,
        'RUN mkdir /out && echo made > /out/result',
        'FROM scratch',
        'COPY --from=build /bin/sh /bin/sh',
        'COPY --from=build /out /result',
        `COPY --from=${busyboxImage} /etc/pass* /etc/`,
        'CMD ["/bin/sh", "-c", "echo /result/* /etc/passwd; read line < /result/result; echo $line"]',
      ].join('\n'),
    );
    await built(path, '-t', 'stages:2');
    expect(await cluster.docker(['run', '--rm', '--network', 'none', 'stages:2'])).to.equal(
      '/result/result /etc/passwd\nmade',
    );
  });

  it('takes from the cache what has not changed, and nothing after what has', async () => {
    const path = context({
      Dockerfile: `FROM ${busyboxImage}\nRUN cat /proc/sys/kernel/random/uuid > /first\nCOPY data /data\nRUN cat /proc/sys/kernel/random/uuid > /second\n`,
      data: 'one',
    });
    const idOf = (output: string): string => /Successfully built (\w+)/.exec(output)?.[1] ?? '';
    const first = await built(path, '-t', 'cached:1');
    const again = await built(path, '-t', 'cached:1');
    expect(idOf(again)).to.equal(idOf(first));
    expect(again.match(/ ---> Using cache/g)?.length).to.equal(3);
    const before = await sh('cached:1', 'cat /first /second');
    writeFileSync(join(path, 'data'), 'two');
    const changed = await built(path, '-t', 'cached:1');
    expect(changed.match(/ ---> Using cache/g)?.length).to.equal(1);
    const after = await sh('cached:1', 'cat /first /second');
    expect(after.split('\n')[0]).to.equal(before.split('\n')[0]);
    expect(after.split('\n')[1]).not.to.equal(before.split('\n')[1]);
    const fresh = await built(path, '--no-cache', '-t', 'cached:1');
    expect(fresh).not.to.include('Using cache');
    expect(await cluster.docker(['images', '-q', 'cached:1'])).to.match(/^[0-9a-f]{12}$/);
  });

  it('runs the triggers of a base image', async () => {
    const base = context({
      Dockerfile: `FROM ${busyboxImage}\nONBUILD RUN echo triggered > /triggered\nONBUILD ENV A=b`,
    });
    await built(base, '-t', 'trigger:1');
    const output = await built(
      context({ Dockerfile: 'FROM trigger:1\nRUN cat /triggered; echo $A' }),
      '-t',
      'trigger:2',
    );
    expect(output).to.include('# Executing 2 build triggers');
    expect(output).to.match(/triggered\nb\n/);
    expect(await configOf('trigger:2')).not.to.have.property('OnBuild');
  });

  it('is quiet when asked, labels, warns of arguments nobody took, and limits memory', async () => {
    const path = context({
      Dockerfile: `FROM ${busyboxImage}\nRUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null > /limit; true`,
    });
    const id = await built(path, '-q', '--label', "who=it's $me", '-t', 'quiet:1', '--memory', '64m');
    expect(id.trim()).to.match(/^sha256:[0-9a-f]{64}$/);
    expect(await configOf('quiet:1')).to.deep.include({ Labels: { who: "it's $me" } });
    const output = await built(path, '--build-arg', 'NOBODY=1');
    expect(output).to.include('[Warning] One or more build-args [NOBODY] were not consumed');
  });

  const mistakes: [what: string, dockerfile: string, words: RegExp][] = [
    [
      'an unknown instruction',
      'FROM x\n\nRUNN true',
      /dockerfile parse error on line 3: unknown instruction: RUNN/,
    ],
    ['no stage', 'RUN true', /no build stage in current context/],
    ['an empty file', '', /the Dockerfile \(Dockerfile\) cannot be empty/],
    [
      'a missing file',
      `FROM ${busyboxImage}\nCOPY nothing /`,
      /COPY failed: file not found in build context/,
    ],
    [
      'a way out',
      `FROM ${busyboxImage}\nCOPY ../../etc/passwd /`,
      /forbidden path outside the build context/,
    ],
    [
      'an unknown user',
      `FROM ${busyboxImage}\nCOPY --chown=nobodyhere Dockerfile /`,
      /no such user: nobodyhere/,
    ],
    ['a mount', `FROM ${busyboxImage}\nRUN --mount=type=cache,target=/x true`, /requires BuildKit/],
    ['a signal', `FROM ${busyboxImage}\nSTOPSIGNAL 99`, /invalid signal: 99/],
    ['a program of scratch', 'FROM scratch\nRUN true', /exec: "\/bin\/sh": stat \/bin\/sh: no such file/],
    [
      'an unknown stage',
      `FROM ${busyboxImage}\nCOPY --from=Nostage x /`,
      /invalid from flag value Nostage: /,
    ],
    ['a failing command', `FROM ${busyboxImage}\nRUN exit 3`, /returned a non-zero code: 3/],
    ['a missing program', `FROM ${busyboxImage}\nRUN ["/no/such"]`, /no such|not found/i],
  ];
  for (const [what, dockerfile, words] of mistakes) {
    it(`says what is wrong with ${what}`, async () => {
      const result = await build(context({ Dockerfile: dockerfile }), '--force-rm');
      expect(result.code).not.to.equal(0);
      expect(result.stderr + result.stdout).to.match(words);
    });
  }

  describe('with files from the web', () => {
    const dockerfile = `FROM ${busyboxImage}\nRUN echo of the context > /word\n`;
    const packed = gzipSync(tarOfFile('Dockerfile', Buffer.from(dockerfile)));
    let asked: string[];
    let hold: ((response: ServerResponse) => void) | undefined;
    const web = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      const files: Record<string, [type: string, content: string | Buffer]> = {
        '/files/one.txt': ['text/plain', 'first'],
        '/context.tar.gz': ['application/gzip', packed],
        '/Dockerfile': ['text/plain; charset=utf-8', `FROM ${busyboxImage}\nENV FROM=web\n`],
      };
      const [type, content] = files[new URL(request.url ?? '', 'http://web').pathname] ?? [];
      if (type !== undefined) {
        response.writeHead(200, { 'content-type': type, 'last-modified': 'Sat, 03 Jan 2026 00:00:00 GMT' });
        response.end(content);
      } else if (request.url === '/silent') hold?.(response);
      else response.writeHead(404).end('gone\n');
    });
    let url = '';

    before(async () => {
      web.listen(0, '127.0.0.1');
      await once(web, 'listening');
      url = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
    });
    beforeEach(() => (asked = []));
    after(() => {
      web.close();
      web.closeAllConnections();
    });

    it("adds files by their URL, as root's own and as old as they are there", async () => {
      const path = context({
        Dockerfile: [
          `FROM ${busyboxImage}`,
          `ADD ${url}/files/one.txt /into/`,
          `ADD ${url}/files/one.txt?x=1 /as/named`,
          `ADD ${url}/context.tar.gz /kept/`,
        ].join('\n'),
      });
      await built(path, '-t', 'web:1');
      expect(
        await sh('web:1', "cat /into/one.txt; stat -c ' %a %u %Y' /into/one.txt; cat /as/named; ls /kept"),
      ).to.equal('first 600 0 1767398400\nfirstcontext.tar.gz');
      expect((await built(path)).match(/ ---> Using cache/g)?.length).to.equal(3);
      const missing = await build(context({ Dockerfile: `FROM ${busyboxImage}\nADD ${url}/no /\n` }));
      expect(missing.code).not.to.equal(0);
      expect(missing.stderr).to.include(
        `ADD failed: failed to GET ${url}/no with status 404 Not Found: gone`,
      );
    });

    it('takes its context from a URL: an archive, or a Dockerfile alone', async () => {
      await built(`${url}/context.tar.gz`, '-t', 'web:2');
      expect(await sh('web:2', 'cat /word')).to.equal('of the context');
      await built(`${url}/Dockerfile`, '-t', 'web:3');
      expect((await configOf('web:3'))['Env']).to.include('FROM=web');
      const other = await cluster.api<{ message: string }>(
        'POST',
        `/build?remote=${encodeURIComponent(`${url}/none`)}`,
      );
      expect([other.status, other.body.message]).to.deep.equal([
        404,
        `error downloading remote context ${url}/none: failed to GET ${url}/none with status 404 Not Found: gone`,
      ]);
    });

    it('is cancelled by its id while it waits', async () => {
      const waits = new Promise<void>((resolve) => (hold = () => resolve()));
      const path = encodeURIComponent(`${url}/silent`);
      const building = cluster.api<{ message: string }>('POST', `/build?remote=${path}&buildid=mine`);
      await waits;
      expect((await cluster.api('POST', '/build/cancel?id=mine')).status).to.equal(200);
      expect((await building).body.message).to.equal('the build was cancelled');
      expect((await cluster.api('POST', '/build/cancel')).status).to.equal(400);
    });
  });

  it('is cancelled while a command runs, and leaves no container', async () => {
    const path = context({ Dockerfile: `FROM ${busyboxImage}\nRUN echo runs; sleep 300\n` });
    const archive = join(folder, 'cancelled.tar');
    await run('tar', ['-C', path, '-cf', archive, '.']);
    const building = run('curl', [
      '-sN',
      '--unix-socket',
      cluster.socket,
      '-X',
      'POST',
      '-H',
      'Content-Type: application/x-tar',
      '--data-binary',
      `@${archive}`,
      'http://node/build?buildid=long',
    ]);
    await eventually('the command', 20_000, async () => (await cluster.docker(['ps', '-q'])) !== '');
    await cluster.api('POST', '/build/cancel?id=long');
    expect((await building).stdout).to.include('the build was cancelled');
    await eventually('its container’s end', 20_000, async () => (await cluster.docker(['ps', '-q'])) === '');
  });

  it('takes steps from an image that --cache-from names, and from no other', async () => {
    const path = context({
      Dockerfile: `FROM ${busyboxImage}\nRUN cat /proc/sys/kernel/random/uuid > /first\nENV A=b\n`,
    });
    await built(path, '-t', 'source:1');
    const first = await sh('source:1', 'cat /first');
    const archive = join(folder, 'source.tar');
    await cluster.docker(['save', '-o', archive, 'source:1']);
    // Removed with the steps it was made of: what comes back is an image like one from elsewhere.
    await cluster.docker(['rmi', 'source:1']);
    await cluster.docker(['load', '-q', '-i', archive]);
    const cached = await built(path, '--cache-from', 'source:1', '-t', 'taken:1');
    expect(cached.match(/ ---> Using cache/g)?.length).to.equal(2);
    expect(await sh('taken:1', 'cat /first')).to.equal(first);
    await built(path, '--cache-from', 'no/such:1', '--no-cache', '-t', 'fresh:1');
    expect(await sh('fresh:1', 'cat /first')).not.to.equal(first);
  });

  it('answers BuildKit with the way out', async () => {
    const answer = await cluster.api<{ message: string }>('POST', '/build?version=2&session=x');
    expect([answer.status, answer.body.message]).to.deep.equal([
      501,
      'BuildKit is not available in this version: set DOCKER_BUILDKIT=0 to use the classic builder',
    ]);
  });

  it('prunes the steps of builds that lead nowhere', async () => {
    await built(context({ Dockerfile: `FROM ${busyboxImage}\nENV LEADS=nowhere` }));
    const pruned = await cluster.api<{ CachesDeleted: string[] }>('POST', '/build/prune');
    expect(pruned.body.CachesDeleted.length).to.be.greaterThan(0);
    expect(
      await cluster.docker(['run', '--rm', '--network', 'none', 'cached:1', '/bin/cat', '/data']),
    ).to.equal('two');
  });
});
