/** Ordinary use of a node through dockerode. */
import { createRequire } from 'node:module';
import { PassThrough } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { assert, eventually, runCases, statusOf } from './cases.mjs';

const Docker = createRequire(`${process.env.CLIENT_MODULES}/`)('dockerode');
const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace('unix://', '') });
const Image = process.env.TEST_IMAGE;

async function started(options = {}) {
  const container = await docker.createContainer({ Image, Cmd: ['sleep', '300'], ...options });
  await container.start();
  return container;
}

async function withContainer(options, use) {
  const container = await started(options);
  try {
    await use(container);
  } finally {
    await container.remove({ force: true, v: true }).catch(() => undefined);
  }
}

async function demuxed(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => [out, err].forEach((side) => side.end()));
  stream.on('close', () => [out, err].forEach((side) => side.end()));
  return Promise.all([text(out), text(err)]);
}

await runCases({
  async 'ping, version and info'() {
    assert((await docker.ping()).toString() === 'OK');
    assert((await docker.version()).ApiVersion);
    assert((await docker.info()).ServerVersion);
  },
  async 'run with a stream'() {
    const out = new PassThrough();
    const read = text(out);
    const [result, container] = await docker.run(Image, ['sh', '-c', 'echo hello; exit 3'], out);
    out.end();
    assert(result.StatusCode === 3, result);
    assert((await read).includes('hello'));
    await container.remove();
  },
  async 'lists and inspects'() {
    await withContainer({ name: 'node-one', Labels: { suite: 'node' } }, async (container) => {
      const listed = await docker.listContainers({ filters: { label: ['suite=node'] } });
      assert(listed.length === 1 && listed[0].Names[0] === '/node-one', listed);
      const shown = await container.inspect();
      assert(shown.State.Running && shown.Config.Labels.suite === 'node');
      assert(shown.HostConfig.Binds === null && Array.isArray(shown.Mounts));
    });
  },
  async 'start twice is 304, stop twice is 304, kill of a stopped one 409'() {
    await withContainer({}, async (container) => {
      assert((await statusOf(container.start())) === 304);
      await container.stop({ t: 0 });
      assert((await statusOf(container.stop())) === 304);
      assert((await statusOf(container.kill())) === 409);
    });
    assert((await statusOf(docker.getContainer('nobody').inspect())) === 404);
  },
  async 'attaches with stdin, and half-closes'() {
    const container = await docker.createContainer({
      Image,
      Cmd: ['cat'],
      OpenStdin: true,
      StdinOnce: true,
      AttachStdin: true,
      AttachStdout: true,
    });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
    const read = demuxed(stream);
    await container.start();
    stream.write('typed\n');
    stream.end();
    assert((await read)[0] === 'typed\n');
    assert((await container.wait()).StatusCode === 0);
    await container.remove();
  },
  async 'executes'() {
    await withContainer({}, async (container) => {
      const exec = await container.exec({
        Cmd: ['sh', '-c', 'echo out; echo err >&2; exit 4'],
        AttachStdout: true,
        AttachStderr: true,
      });
      const [out, err] = await demuxed(await exec.start({}));
      assert(out === 'out\n' && err === 'err\n', { out, err });
      assert((await exec.inspect()).ExitCode === 4);
      const terminal = await container.exec({ Cmd: ['sh'], AttachStdin: true, AttachStdout: true, Tty: true });
      const shell = await terminal.start({ hijack: true, stdin: true, Tty: true });
      await terminal.resize({ h: 30, w: 90 });
      shell.write('stty size; exit\n');
      assert((await text(shell)).includes('30 90'));
    });
  },
  async 'logs, followed'() {
    await withContainer({ Cmd: ['sh', '-c', 'echo a; sleep 0.2; echo b'] }, async (container) => {
      const [out] = await demuxed(await container.logs({ follow: true, stdout: true, stderr: true }));
      assert(out === 'a\nb\n', out);
      const tail = await container.logs({ stdout: true, tail: 1 });
      assert(tail.subarray(8).toString() === 'b\n');
    });
  },
  async 'archives both ways'() {
    await withContainer({}, async (container) => {
      const from = await container.getArchive({ path: '/etc/passwd' });
      const tar = await buffer(from);
      assert(tar.subarray(0, 6).toString() === 'passwd');
      await container.putArchive(tar, { path: '/tmp' });
      const info = await container.infoArchive({ path: '/tmp/passwd' });
      assert(info.headers === undefined || info.headers['x-docker-container-path-stat']);
      assert((await statusOf(container.getArchive({ path: '/nope' }))) === 404);
    });
  },
  async 'stats, top, update, rename, pause'() {
    await withContainer({}, async (container) => {
      const stats = await container.stats({ stream: false });
      assert(stats.memory_stats.usage > 0 && stats.cpu_stats.online_cpus > 0);
      assert((await container.top()).Processes.length === 1);
      await container.update({ Memory: 67_108_864, MemorySwap: 134_217_728 });
      await container.rename({ name: 'node-renamed' });
      await container.pause();
      assert((await container.inspect()).State.Paused);
      await container.unpause();
    });
  },
  async 'volumes'() {
    const volume = await docker.createVolume({ Name: 'node-vol' });
    assert((await docker.getVolume('node-vol').inspect()).Name === 'node-vol');
    const Volume = docker.getVolume(volume.name ?? 'node-vol');
    await withContainer({ HostConfig: { Binds: ['node-vol:/data'] } }, async (container) => {
      assert((await statusOf(Volume.remove())) === 409);
      assert((await container.inspect()).Mounts[0].Name === 'node-vol');
    });
    await Volume.remove();
    await docker.pruneVolumes();
  },
  async 'events'() {
    const stream = await docker.getEvents({ filters: { type: ['container'] } });
    const seen = [];
    stream.on('data', (chunk) => {
      for (const line of chunk.toString().split('\n').filter(Boolean)) seen.push(JSON.parse(line).Action);
    });
    await withContainer({ Cmd: ['true'] }, (container) => container.wait());
    await eventually(() => ['create', 'start', 'die', 'destroy'].every((action) => seen.includes(action)));
    stream.destroy();
  },
  async 'networks'() {
    const network = await docker.createNetwork({ Name: 'node-net', Driver: 'bridge' });
    try {
      await withContainer({ HostConfig: { NetworkMode: 'node-net' } }, async (container) => {
        const shown = await container.inspect();
        assert(shown.NetworkSettings.Networks['node-net'].IPAddress);
        assert(Object.keys((await network.inspect()).Containers).includes(container.id));
      });
    } finally {
      await network.remove();
    }
  },
});
