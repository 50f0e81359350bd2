/** Ordinary use of a node through @docker/node-sdk. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { assert, runCases, statusOf } from './cases.mjs';

const require = createRequire(`${process.env.CLIENT_MODULES}/`);
const { DockerClient } = await import(pathToFileURL(require.resolve('@docker/node-sdk')).href);
const docker = await DockerClient.fromDockerHost(process.env.DOCKER_HOST);
const Image = process.env.TEST_IMAGE;

async function withContainer(options, use) {
  const { Id } = await docker.containerCreate({ Image, Cmd: ['sleep', '300'], ...options });
  try {
    await docker.containerStart(Id);
    await use(Id);
  } finally {
    await docker.containerDelete(Id, { force: true, volumes: true });
  }
}

await runCases({
  async 'ping, version and info'() {
    await docker.systemPing();
    assert((await docker.systemVersion()).ApiVersion);
    assert((await docker.systemInfo()).Driver);
  },
  async 'life of a container'() {
    await withContainer({ Labels: { suite: 'sdk' } }, async (id) => {
      assert((await docker.containerInspect(id)).State.Running);
      assert((await docker.containerList({ all: true })).some((found) => found.Id === id));
      await docker.containerPause(id);
      await docker.containerUnpause(id);
      await docker.containerRestart(id, { timeout: 0 });
      await docker.containerStop(id, { timeout: 0 });
      assert((await docker.containerWait(id)).StatusCode === 137);
    });
  },
  async 'what is not there is 404'() {
    const status = await statusOf(docker.containerInspect('nobody'));
    assert(status === 404 || /no such container|NotFound/i.test(String(status)), String(status));
  },
  async 'images, volumes and df'() {
    assert((await docker.imageList()).length > 0);
    assert((await docker.imageInspect(Image)).Id);
    const volume = await docker.volumeCreate({ Name: 'sdk-vol' });
    assert(volume.Mountpoint);
    await docker.volumeDelete('sdk-vol');
    assert((await docker.systemDataUsage()).Images.length > 0);
  },
});
